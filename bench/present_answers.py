"""What a person sees of measurements that answer a question: which is faster, how many images a
second, did it get worse, what to expect of this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bench import cells
from bench.terminal import change, counted, number, say, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.cells import Row
    from bench.gate.judge import Outcome


def throughput(found: Row) -> None:
    """The tries of a search, and the best of them."""
    tried, best, bound = found["tried"], found["best"], found["max_latency_ms"]
    table(
        ["", "streams", "threads", "batch", "p50 ms", "p99 ms", "images/s", "verdict"],
        [
            [
                "★" if row is best else "",
                str(row["streams"]),
                str(row["threads"] or "-"),
                str(row["batch"]),
                cells.latency(row)[0],
                cells.slowest(row),
                cells.throughput(row),
                "failed" if row["failure"] else row["verdict"],
            ]
            for row in tried
        ],
        right={"streams", "threads", "batch", "p50 ms", "p99 ms", "images/s"},
    )
    what = f"{cells.model(tried[-1])} @ {tried[-1]['target']}"
    limit = "" if bound is None else f" within {bound:g} ms"
    if best:
        print(
            f"{what}: {number(best['throughput_ips'])} images/s{limit}, at batch {best['batch']}, "
            f"{counted(best['streams'], 'stream')}"
        )
    else:
        print(f"{what}: no valid measurement{limit}")
    sys.stdout.flush()
    for row in tried:
        if failure := row["failure"]:
            say(f"batch {row['batch']}: failed at {failure['stage']}: {failure['message']}")


def comparison(public: Row) -> None:
    """The answer of a comparison in words, and what it rests on."""
    a, b = public["a"], public["b"]
    table(
        ["", "side", "p50 ms", "artifact"],
        [
            [
                letter,
                side["name"] + (f" ({side['python']})" if side["python"] else ""),
                number(side["p50_ms"]),
                side["artifact_sha256"][:12],
            ]
            for letter, side in (("A", a), ("B", b))
        ],
        right={"p50 ms"},
        fold=1,
    )
    said = public["verdict"]
    if public["ratio"] is not None:
        said += f": B takes {public['ratio']:.4f} of A's time ({change(public['ratio'])}"
        if public["ci95"]:
            low, high = public["ci95"]
            said += f"; 95 %: {change(low)} to {change(high)}"
        said += f"; margin {100 * public['margin']:g} %)"
    print(f"{said}, {counted(public['pairs'], 'pair')} in {public['seconds']:.0f} s")
    sys.stdout.flush()
    for reason in public["reasons"]:
        say(f"bench: {reason}")


def gate(outcomes: Sequence[Outcome]) -> None:
    """Every job's outcome, then the notes, then the headline."""
    from bench.gate import outputs

    named = outputs.names(outcomes)
    metric = cells.metric([outcome.result for outcome in outcomes if outcome.result])
    table(
        ["", "model", "target", "p50 ms", "change", metric],
        [
            [
                outcome.status,
                model,
                target,
                *(cells.latency(outcome.result)[:1] if outcome.result else ("-",)),
                outputs.change(outcome) or "-",
                cells.accuracy(outcome.result) if outcome.result else "-",
            ]
            for outcome, (model, target) in zip(outcomes, named, strict=True)
        ],
        right={"p50 ms", "change", metric},
        fold=1,
    )
    sys.stdout.flush()
    for outcome, (model, target) in zip(outcomes, named, strict=True):
        for note in outcome.notes:
            say(f"{model} @ {target}: {note}")
    say(f"bench gate: {outputs.headline(outcomes)}")


def noise(found: Row) -> None:
    """What to expect of this machine."""
    low, high = (f"{bound:.3g}" for bound in found["blocks_ms"])
    table(
        ["this machine now", ""],
        [
            [
                "its speed",
                f"blocks of the canary took {low} to {high} ms (10th to 90th percentile): "
                f"{found['block_spread_percent']:.0f} % apart",
            ],
            ["a run", f"expect ±{found['run_half_width_percent']:.1f} % (95 %)"],
            *(
                [
                    f"a comparison of {limit} s",
                    f"expect ±{half:.2g} %: finds {found['comparison_finds_percent'][limit]:.2g} % "
                    "in 95 of 100 cases, if that is its margin",
                ]
                for limit, half in found["comparison_half_width_percent"].items()
            ),
            *(["to mend", reason] for reason in found["reasons"]),
        ],
        fold=1,
    )
    threads = counted(found["threads"], "thread")
    say(f"the canary against itself, {threads}, {found['pairs']} pairs in {found['seconds']:.0f} s")
