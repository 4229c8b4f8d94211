"""Does `bench compare` tell real slowdowns, and stay silent where there is none?

Networks are compared with themselves, and with themselves made slower by extra nodes
(`slowdown.py`), one thread, in random order. Asked of at least 200 comparisons each: A against A,
false alarms at most 1 %; 3 % slower found in 99 %, 2 % in 95 %, within 60 s; 1 % in 80 %, within
180 s and with a margin of 1 %.

Eight hundred comparisons take some ten hours of a machine that does nothing else, so they are
added to a ledger over several runs, on whatever machines there were; each calibrates its own
slowdowns, or goes on with those that an earlier one on the same machine has kept in a folder.

    python benchmarks/comparisons.py run --minutes 60       # goes on where the ledger ends
    python benchmarks/comparisons.py report
"""

from __future__ import annotations

import json
import sys
import tempfile
from argparse import ArgumentParser
from collections import defaultdict
from dataclasses import replace
from datetime import date
from math import log
from pathlib import Path
from random import Random

import numpy as np
from machine import circumstances
from scipy import stats as tests
from slowdown import slowed

from bench import comparison, sides, targets
from bench.cache import Cache, default_root
from bench.launch import call
from bench.messages import Prepare, Prepared
from bench.records import Job
from bench.store import Store
from bench.timing import Deadline

LEDGER = Path(__file__).with_name("records") / "comparisons.jsonl"
NETWORKS = [
    ("torchvision:mobilenet_v2", "cpu-openvino-fp32"),
    ("torchvision:squeezenet1_1", "cpu-ort-fp32"),
    ("torchvision:shufflenet_v2_x0_5", "cpu-openvino-fp32"),
    ("torchvision:mobilenet_v3_small", "cpu-ort-int8"),
]
#: Slowdown in percent: (margin, seconds allowed, share asked).
CONDITIONS = {0: (0.02, 60, 0.01), 3: (0.02, 60, 0.99), 2: (0.02, 60, 0.95), 1: (0.01, 180, 0.80)}
#: The branch of the calibration, which both sides of a comparison have in a small form.
SMALL, LARGE = 64, 24_000
#: The CPU time of the other core of two, and its interrupts on this one.
OTHER_CORE = 1.05
#: Comparisons that tell a true ratio, at least.
FEW = 5
PROCEDURE = replace(comparison.PROCEDURE, threads=1)


def side(path: Path, target: str) -> sides.Side:
    scratch = Store(":memory:")
    cache = Cache(default_root())
    asked = sides.parse(
        str(path),
        target=target,
        weights="pretrained",
        options={},
        procedure=PROCEDURE,
        store=scratch,
        cache=cache,
    )
    return sides.prepare(asked, cache.root, Deadline.after(3600), anyway=False)


def calibrated(model: str, target: str, folder: Path) -> dict[int, sides.Side]:
    """The network, and its slower versions by percent: those in the folder, which is made where it
    is missing."""
    paths = {percent: folder / f"{percent}.onnx" for percent in CONDITIONS}
    if not folder.exists():
        half = folder.with_suffix(".half")
        half.mkdir(parents=True, exist_ok=True)
        _calibrate(model, target, half)
        half.rename(folder)
    return {percent: side(path, target) for percent, path in paths.items()}


def _calibrate(model: str, target: str, folder: Path) -> None:
    job = Job(model, targets.select([target], {})[0], weights="random")
    request = Prepare(job, str(default_root()), fresh=False)
    exported = Path(call(request, Prepared, Deadline.after(3600)).exported.path)
    base = side(slowed(exported, folder / "0.onnx", SMALL), target)
    columns, ratio = LARGE, 0.0
    for next_aim, seconds in ((0.08, 20), (0.03, 40), (0.02, 60)):  # nearer and nearer
        large = side(slowed(exported, folder / "large.onnx", columns), target)
        rules = comparison.Rules(max_seconds=seconds, early=False)
        ratio = comparison.compare(base, large, rules).ratio
        per_column = max(ratio - 1, 0.005) / (columns - SMALL)
        columns = SMALL + round(next_aim / per_column)
    for percent in (1, 2, 3):
        columns = SMALL + round(percent / 100 / per_column)
        slowed(exported, folder / f"{percent}.onnx", columns)
    print(f"{model} @ {target}: calibrated at {ratio:.3f}", file=sys.stderr)


def others(a: np.ndarray, b: np.ndarray, a_one: np.ndarray, b_one: np.ndarray) -> dict[str, bool]:
    """Which of the rules of others call B slower, on block medians and (one) on one process."""
    return {
        "median +5 %": bool(np.median(b) > 1.05 * np.median(a)),
        "one point +7 %": bool(np.median(b_one) > 1.07 * np.median(a_one)),
        "factor 1.1, Mann-Whitney p < 0.002": bool(
            np.median(b) > 1.1 * np.median(a)
            and tests.mannwhitneyu(a, b, alternative="two-sided").pvalue < 0.002
        ),
        "t-test p < 0.05": bool(
            b.mean() > a.mean() and tests.ttest_ind(a, b, equal_var=False).pvalue < 0.05
        ),
    }


def neighbours(found: comparison.Comparison) -> float:
    """What other processes used meanwhile, as a share of one CPU."""
    loads = [load for pair in found.pairs for load in pair.loads]
    return sum(load.other_cpu_ns or 0 for load in loads) / sum(load.wall_ns for load in loads)


def medians(blocks: list) -> np.ndarray:
    return np.array([np.median(block) for block in blocks])


def run(into: Path, n: int, percents: list[int], minutes: float, kept: Path | None) -> None:
    done = defaultdict(int)
    for row in read([into] if into.exists() else []):
        done[row["percent"]] += 1
    started = f"{date.today()}, {sum(done.values())} before"
    deadline = Deadline.after(60 * minutes)
    with tempfile.TemporaryDirectory() as scratch:
        made = {}
        for i, (model, target) in enumerate(NETWORKS):
            made[model, target] = calibrated(model, target, (kept or Path(scratch)) / str(i))
        random = Random(started)
        before: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        while left := [percent for percent in percents if done[percent] < n]:
            if not deadline.left():
                break
            percent = random.choice(left)
            network = random.choice(NETWORKS)
            margin, seconds, _ = CONDITIONS[percent]
            rules = comparison.Rules(margin, seconds, seed=random.randrange(2**32))
            found = comparison.compare(made[network][0], made[network][percent], rules)
            if found.failure:
                print(found.failure, file=sys.stderr)
                continue
            a, b = (
                medians([block for pair in found.pairs for block in getattr(pair, name)])
                for name in ("a_ns", "b_ns")
            )
            a_one, b_one = medians(found.pairs[0].a_ns), medians(found.pairs[0].b_ns)
            nights = None
            if network in before:
                earlier, earlier_one = before[network]
                nights = others(earlier, a, earlier_one, a_one)
            row = {
                "run": started,
                "machine": circumstances(),
                "percent": percent,
                "network": " @ ".join(network),
                "block_ms": round(1e3 * comparison.BLOCK_SECONDS),
                "turns_s": comparison.TURNS_SECONDS,
                "call_ms": 1e3 * comparison.CALL_SECONDS,
                "together": True,
                "verdict": found.verdict,
                "ratio": found.ratio,
                "ci95": found.ci95,
                "pairs": len(found.pairs),
                "seconds": found.seconds,
                "spread": float(np.std([pair.log_ratio for pair in found.pairs], ddof=1)),
                "p50_ms": float(np.median(a)) / 1e6,
                "neighbours": neighbours(found),
                "others": others(a, b, a_one, b_one),
                "nights": nights,
            }
            before[network] = a, a_one
            with into.open("a") as file:
                print(json.dumps(row), file=file)
            done[percent] += 1


def read(paths: list[Path]) -> list[dict]:
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def report(paths: list[Path]) -> None:
    rows = read(paths)
    print("## Comparisons\n")
    for started in dict.fromkeys(row["run"] for row in rows):
        some = [row for row in rows if row["run"] == started]
        busy = np.median([row["neighbours"] for row in some])
        print(
            f"- {started.partition(',')[0]}, {len(some)} comparisons, beside other processes that "
            f"used {busy:.0%} of a CPU (median): {some[0]['machine']}"
        )
    print()
    plans = sorted({plan(row) for row in rows}, reverse=True)
    for wanted in ([plans] if len(plans) > 1 else []) + [[each] for each in plans]:
        some = [row for row in rows if plan(row) in wanted]
        print(f"With {' and '.join(wanted)}:\n")
        answers(some, rows)
        alone = [row for row in some if row["neighbours"] <= OTHER_CORE]
        if 0 < len(alone) < len(some):
            print(
                "\nThose of them that had their core to themselves (others used up to "
                f"{OTHER_CORE:.0%} of a CPU: the other core):\n"
            )
            answers(alone, rows)
        print()
    print("Share that the rules of others call slower, on the samples of these comparisons; and on")
    print("two measurements of the same network minutes apart, as a nightly has them.\n")
    names = list(rows[0]["others"])
    line("slower by", *names, head=True)
    kinds = by_percent(rows)
    asked_of = {f"{percent} %": [row["others"] for row in some] for percent, some in kinds.items()}
    nights = [row["nights"] for row in rows if row["nights"]]
    for label, said in {**asked_of, f"0 %, minutes apart ({len(nights)})": nights}.items():
        line(label, *(f"{np.mean([one[name] for one in said]):.1%}" for name in names))
    print()
    line("network", "pairs of", "p50 ms", "scatter of one pair", "ratio at 1, 2, 3 %", head=True)
    for network, planned in sorted({(row["network"], plan(row)) for row in rows}):
        some = [row for row in rows if (row["network"], plan(row)) == (network, planned)]
        percents = sorted({row["percent"] for row in some} - {0})
        line(
            network,
            planned,
            f"{np.median([row['p50_ms'] for row in some]):.2f}",
            f"{np.median([row['spread'] for row in some]):.2%}",
            ", ".join(ratio(some, p, network) for p in percents),
        )


def plan(row: dict) -> str:
    """How its pairs were measured. When they took turns for 1.5 s, networks of half a block or more
    a call were compared call by call; twins are since `call_ms` is."""
    said = f"{row.get('turns_s', 3):g} s of turns of {row['block_ms']} ms"
    if "call_ms" in row:
        said += f" (single calls from {row['call_ms']:g} ms on) of twins"
        said += ", which open at the same time" if "together" in row else " in spells of 0.2 s"
    return said


def by_percent(rows: list[dict]) -> dict[int, list[dict]]:
    kinds = {percent: [row for row in rows if row["percent"] == percent] for percent in CONDITIONS}
    return {percent: some for percent, some in kinds.items() if some}


def answers(rows: list[dict], every: list[dict]) -> None:
    """The table of what was answered."""
    verdicts = ("SLOWER", "SAME", "FASTER", "UNSURE")
    rest = ("found in time", "asked", "", "ratio", "seconds (90 %)", "ci95 holds")
    line("slower by", "n", *verdicts, *rest, head=True)
    for percent, some in by_percent(rows).items():
        margin, seconds, asked = CONDITIONS[percent]
        counts = {v: sum(row["verdict"] == v for row in some) for v in verdicts}
        told = counts["SLOWER"] + (0 if percent else counts["FASTER"])
        in_time = sum(row["verdict"] == "SLOWER" and row["seconds"] <= seconds for row in some)
        fine = told <= asked * len(some) if percent == 0 else in_time >= asked * len(some)
        usual, long = np.quantile([row["seconds"] for row in some], [0.5, 0.9])
        true = [
            (row["ci95"], truth([each for each in every if each is not row], row)) for row in some
        ]
        inside = [low <= ratio <= high for (low, high), ratio in true if ratio is not None]
        line(
            f"{percent} %",
            len(some),
            *(f"{n} ({n / len(some):.1%})" for n in counts.values()),
            f"{in_time / len(some):.1%}" if percent else "-",
            f"{'<=' if percent == 0 else '>='} {asked:.0%} (margin {margin:.0%}, {seconds} s)",
            "met" if fine else "NOT MET",
            f"{np.exp(np.median([log(row['ratio']) for row in some])):.4f}",
            f"{usual:.0f} ({long:.0f})",
            f"{np.mean(inside):.1%} of {len(inside)}" if inside else "-",
        )


def line(*cells: object, head: bool = False) -> None:
    """A row of a Markdown table."""
    print("|", " | ".join(map(str, cells)), "|")
    if head:
        print("|" + "---|" * len(cells))


def ratio(rows: list[dict], percent: int, network: str) -> str:
    found = truth(rows, {"percent": percent, "network": network})
    return f"{found:.4f}" if found else "?"


def truth(rows: list[dict], row: dict) -> float | None:
    """The true ratio, as well as the rows tell it: 1 for A against A, else the median over all
    comparisons of its kind in its run; None where there are too few to tell."""
    if row["percent"] == 0:
        return 1.0
    kind = [key for key in ("run", "percent", "network") if key in row]
    alike = [log(r["ratio"]) for r in rows if all(r[key] == row[key] for key in kind)]
    return float(np.exp(np.median(alike))) if len(alike) >= FEW else None


parser = ArgumentParser(description=__doc__)
commands = parser.add_subparsers(dest="command", required=True)
running = commands.add_parser("run")
running.add_argument("--into", type=Path, default=LEDGER)
running.add_argument("--n", type=int, default=200)
running.add_argument("--percent", type=int, nargs="*", default=[0, 3, 2, 1])
running.add_argument("--minutes", type=float, default=600.0)
running.add_argument("--kept", type=Path, help="folder of slowed networks, made if it is missing")
reporting = commands.add_parser("report")
reporting.add_argument("files", type=Path, nargs="*", default=[LEDGER])
given = parser.parse_args()
if given.command == "run":
    run(given.into, given.n, given.percent, given.minutes, given.kept)
else:
    report(given.files)
