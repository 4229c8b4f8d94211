"""What a person sees of results: their tables, and what speaks against them, in words."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.terminal import change, number, say, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.gate.night import Outcome

Row = dict[str, Any]

#: Up to so many doubtful results have their reasons printed.
_SPELLED_OUT = 3


def results(rows: Sequence[Row]) -> None:
    """A table of public results; the source and the weights that all share are said once."""
    shared = {(row["source"], row["weights"]) for row in rows}
    short = len(shared) == 1 and len(rows) > 1
    metric = metric_of(rows)
    many = any(row["batch"] * row["streams"] > 1 for row in rows)
    made = recipes_differ(rows)
    last = ["images/s"] if many else ["MB"]
    table(
        [
            "model",
            "target",
            *(["int8 by"] if made else []),
            *(["batch"] if many else []),
            "p50 ms",
            "±%",
            metric,
            *last,
            "verdict",
        ],
        [
            [
                Path(row["model"]).name if short else _model(row),
                row["target"],
                *([_recipe(row)] if made else []),
                *([batch_of(row)] if many else []),
                *_latency(row),
                accuracy_of(row),
                number(row["throughput_ips" if many else "artifact_mb"]),
                "failed" if row["failure"] else row["verdict"],
            ]
            for row in rows
        ],
        right={"batch", "p50 ms", "±%", metric, *last},
    )
    if short:
        source, weights = shared.pop()
        print(f"all models {source}:, weights {weights}")
    for row in rows:
        if len(row["tried"]) > 1 or (row["tried"] and row["failure"]):
            tried(row)
    sys.stdout.flush()


def tried(row: Row) -> None:
    """What was done to keep the accuracy of one job, and what came of it."""
    found = next((trial["accuracy"] for trial in row["tried"] if trial["accuracy"]), None)
    name = f"{found['metric'].replace('top1', 'top-1')} %" if found else "accuracy"
    print(f"\n{_model(row)} @ {row['target']}, at most {row['max_drop']:g} points lost:")
    table(
        ["", "method", "images", "fp32 layers", name, "change (95 %)"],
        [
            [
                "★" if trial is row["tried"][-1] and not row["failure"] else "",
                trial["method"] or "-",
                str(trial["images"] or "-"),
                str(len(trial["kept"])),
                f"{trial['accuracy']['value']:.2f}" if trial["accuracy"] else "-",
                _lost(trial),
            ]
            for trial in row["tried"]
        ],
        right={"images", "fp32 layers", name},
        fold=5,
    )


def _lost(trial: Row) -> str:
    found = trial["accuracy"]
    if not found:
        return f"failed at {trial['failure']['stage']}: {trial['failure']['message']}"
    low, high = found["change_ci95"]
    return f"{found['change']:+.2f} ({low:+.2f} to {high:+.2f})"


def recipes_differ(rows: Sequence[Row]) -> bool:
    """Whether something was made int8 in more ways than one, or not as a whole."""
    made: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if found := row["calibration"]:
            made.setdefault((row["model"], row["target"]), set()).add(found["recipe"])
            if found["kept"]:
                return True
    return any(len(ways) > 1 for ways in made.values())


def _recipe(row: Row) -> str:
    return row["calibration"]["recipe"] if row["calibration"] else ""


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
                _latency(row)[0],
                _slowest(row),
                number(row["throughput_ips"]),
                "failed" if row["failure"] else row["verdict"],
            ]
            for row in tried
        ],
        right={"streams", "threads", "batch", "p50 ms", "p99 ms", "images/s"},
    )
    what = f"{_model(tried[-1])} @ {tried[-1]['target']}"
    limit = "" if bound is None else f" within {bound:g} ms"
    if best:
        print(
            f"{what}: {number(best['throughput_ips'])} images/s{limit}, at batch {best['batch']}, "
            f"{best['streams']} stream{'s' if best['streams'] > 1 else ''}"
        )
    else:
        print(f"{what}: no valid measurement{limit}")
    sys.stdout.flush()
    for row in tried:
        if failure := row["failure"]:
            say(f"batch {row['batch']}: failed at {failure['stage']}: {failure['message']}")


def builds(rows: Sequence[Row]) -> None:
    """What was compiled: how large, in which types, and whether it was checked; by whom, and where
    it lies."""
    made = [row for row in rows if row["compiled"]]
    table(
        ["model", "target", "MB", "s", "compute layers", "cosine"],
        [
            [
                _model(row),
                row["target"],
                number(row["artifact_mb"]) if row["compiled"] else "failed",
                number(row["build_s"]) if row["compiled"] else "-",
                " ".join(f"{n} {kind}" for kind, n in row["layers"].items()) or "-",
                f"{row['check']['cosine']:.4f}" if row["check"] else "-",
            ]
            for row in rows
        ],
        right={"MB", "s", "cosine"},
    )
    for row in made:
        what = row["compiled"]
        print(f"{_model(row)} @ {row['target']}: {what['format']} by {what['made_by']}")
        print(f"  {what['path']}")
    sys.stdout.flush()


def build_problems(rows: Sequence[Row]) -> None:
    """Why there is no artifact, in words, and how far it came."""
    for row in rows:
        if failure := row["failure"]:
            what = f"{_model(row)} @ {row['target']}"
            say(f"{what}: failed at {failure['stage']}: {failure['message']}")
            if len(row["artifacts"]) > 1:
                lowered = row["artifacts"][-1]
                say(f"  what it was to be compiled from ({lowered['format']}): {lowered['path']}")


def problems(rows: Sequence[Row]) -> None:
    """What speaks against the results, in words; past a few, counted."""
    doubtful = [row for row in rows if row["reasons"]]
    for row in rows:
        what = f"{_model(row)} @ {row['target']}"
        if failure := row["failure"]:
            say(f"{what}: failed at {failure['stage']}: {failure['message']}")
        if row["reasons"] and (len(doubtful) <= _SPELLED_OUT or row["verdict"] == "INVALID"):
            say(f"{what}: {row['verdict']}: {'; '.join(row['reasons'])}")
    if len(doubtful) > _SPELLED_OUT:
        counts = Counter(row["verdict"] for row in doubtful)
        listed = " and ".join(f"{n} {verdict}" for verdict, n in counts.most_common())
        say(
            f"of {len(rows)} results {listed}: the machine was not quiet enough for the interval "
            "asked; --max-seconds and --rel-error change that, `bench show ID` gives the reasons"
        )


def imported(row: Row) -> None:
    """What was read from another tool's files, and what is to be known of it."""
    found, what = row["latency"] or row["reported"], f"{_model(row)} @ {row['target']}"
    n = found.get("samples") or found["n"]
    print(
        f"{what} on {row['hardware']}: p50 {number(found['p50_ms'])} ms, window "
        f"{found['window']}, batch {row['batch']}, {n} inferences, {row['measured_by']}"
    )
    sys.stdout.flush()
    if row["reported"]:
        say("figures as that tool printed them: without samples no interval, and no verdict")
    for note in (*row["reasons"], *row["notes"]):
        say(f"note: {note}")


def listing(rows: Sequence[Row]) -> None:
    """A short table of public results with their ids, to pick one by."""
    table(
        ["id", "date", "model", "target", "p50 ms", metric_of(rows)],
        [
            [
                row["id"],
                row["started_at"][5:10],
                _model(row),
                row["target"],
                _median(row),
                accuracy_of(row),
            ]
            for row in rows
        ],
        right={"p50 ms", metric_of(rows)},
        fold=2,
    )


def notes(rows: Sequence[Row]) -> None:
    """Each distinct note once, with how many results it concerns."""
    counted: dict[str, int] = {}
    for row in rows:
        for note in row["notes"]:
            counted[note] = counted.get(note, 0) + 1
    for note, n in counted.items():
        say(f"note{f' ({n} results)' if n > 1 else ''}: {note}")


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
    print(f"{said}, {public['pairs']} pairs in {public['seconds']:.0f} s")
    sys.stdout.flush()
    for reason in public["reasons"]:
        say(f"bench: {reason}")


def gate(outcomes: Sequence[Outcome]) -> None:
    """Every job's outcome, then the notes, then the headline."""
    from bench.gate import outputs

    metric = metric_of([outcome.result for outcome in outcomes if outcome.result])
    table(
        ["", "model", "target", "p50 ms", "change", metric],
        [
            [
                outcome.status,
                outputs.name(outcome),
                outcome.job.target.name,
                *(_latency(outcome.result)[:1] if outcome.result else ("-",)),
                outputs.change(outcome) or "-",
                accuracy_of(outcome.result) if outcome.result else "-",
            ]
            for outcome in outcomes
        ],
        right={"p50 ms", "change", metric},
        fold=1,
    )
    sys.stdout.flush()
    for outcome in outcomes:
        for note in outcome.notes:
            say(f"{outputs.name(outcome)} @ {outcome.job.target.name}: {note}")
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
                [f"a comparison of {limit} s", f"expect ±{half:.2g} %: tells {2 * half:.2g} %"]
                for limit, half in found["comparison_half_width_percent"].items()
            ),
            *(["to mend", reason] for reason in found["reasons"]),
        ],
        fold=1,
    )
    threads = f"{found['threads']} thread{'s' if found['threads'] != 1 else ''}"
    say(f"the canary against itself, {threads}, {found['pairs']} pairs in {found['seconds']:.0f} s")


def outcome(row: Row) -> str:
    """One result in a few words."""
    if row.get("compiled"):
        return f"{number(row['artifact_mb'])} MB by {row['compiled']['made_by']}"
    accuracy = f", {accuracy_of(row)} %" if row["accuracy"] else ""
    return f"{_latency(row)[0]} ms{accuracy}, {row['verdict']}"


def _model(row: Mapping[str, Any]) -> str:
    if row["source"] == "onnx":
        return Path(row["model"]).name
    weights = f".{row['weights']}" if row["weights"] else ""
    return f"{row['source']}:{row['model']}{weights}"


def _latency(row: Row) -> tuple[str, str]:
    latency = row["latency"]
    if latency is None:
        return "-", "-"
    from bench.stats import relative_half_width

    half_width = relative_half_width(tuple(latency["ci95_ms"]))
    return number(latency["p50_ms"]), f"{100 * half_width:.1f}"


def _median(row: Row) -> str:
    """The measured one, or, marked, what another tool says and kept no samples of."""
    if row["latency"]:
        return _latency(row)[0]
    return f"({number(row['reported']['p50_ms'])})" if row["reported"] else "failed"


def _slowest(row: Row) -> str:
    """The 99th percentile, or the maximum, marked as such, where there are too few samples."""
    latency = row["latency"]
    if latency is None:
        return "-"
    return number(latency["p99_ms"]) if latency["p99_ms"] else f"max {number(latency['max_ms'])}"


def batch_of(row: Row) -> str:
    """Batch size, times streams where there are several."""
    return f"{row['batch']}" + (f" x {row['streams']}" if row["streams"] > 1 else "")


def metric_of(rows: Sequence[Row]) -> str:
    """What the accuracies of these rows are called, where they are all one metric."""
    found = {row["accuracy"]["metric"] for row in rows if row["accuracy"]}
    return found.pop().replace("top1", "top-1") if len(found) == 1 else "accuracy"


def accuracy_of(row: Row) -> str:
    found = row["accuracy"]
    return f"{found['value']:.1f}" if found else "-"
