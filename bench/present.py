"""What a person sees in the terminal: tables, one line of progress, a summary of a failure."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.timing import lap

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.comparison import Comparison
    from bench.gate.night import Outcome
    from bench.records import Job, Stage

Row = dict[str, Any]

#: Up to so many doubtful results have their reasons printed.
_SPELLED_OUT = 3


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Iterable[str] = (),
    fold: int = 0,
) -> None:
    """Print a table to standard output, the column `fold` folded to fit the terminal's width."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        side: Literal["left", "right"] = "right" if column in set(right) else "left"
        grid.add_column(column, justify=side, overflow="fold", no_wrap=column != columns[fold])
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(grid)


def results(rows: Sequence[Row]) -> None:
    """A table of public results; the source and the weights that all share are said once."""
    shared = {(row["source"], row["weights"]) for row in rows}
    short = len(shared) == 1 and len(rows) > 1
    table(
        ["model", "target", "p50 ms", "±%", "top-1", "MB", "verdict"],
        [
            [
                Path(row["model"]).name if short else _model(row),
                row["target"],
                *_latency(row),
                _accuracy(row),
                _number(row["artifact_mb"]),
                "failed" if row["failure"] else row["verdict"],
            ]
            for row in rows
        ],
        right={"p50 ms", "±%", "top-1", "MB"},
    )
    if short:
        source, weights = shared.pop()
        print(f"all models {source}:, weights {weights}")
    sys.stdout.flush()


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


def listing(rows: Sequence[Row]) -> None:
    """A short table of public results with their ids, to pick one by."""
    table(
        ["id", "date", "model", "target", "p50 ms", "top-1"],
        [
            [
                row["id"],
                row["started_at"][5:10],
                _model(row),
                row["target"],
                _latency(row)[0] if row["latency"] else "failed",
                _accuracy(row),
            ]
            for row in rows
        ],
        right={"p50 ms", "top-1"},
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


def say(text: str) -> None:
    """A line for a person, on standard error: standard output belongs to the results."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """One line a job on standard error: which stage, and in the end how long each took.

    Nothing is drawn while a stage lasts: the parent sleeps while its child measures.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._done = 0
        self._live = sys.stderr.isatty()
        self._head = ""
        self._stages: dict[str, float] = {}
        self._clock: Any = None

    def start(self, job: Job) -> None:
        self._done += 1
        self._head = f"[{self._done}/{self._jobs}] {job.model} @ {job.target.name}"
        self._stages = {}
        if self._live:
            _draw(self._head)

    def at(self, stage: Stage) -> None:
        """A stage begins, and the one before it ends."""
        self._end_stage()
        self._clock = lap()
        self._lap = self._clock.__enter__()
        self._stage: str = stage
        if self._live:
            _draw(f"{self._head}: {self._spent(least=0.1)}{stage} ...")

    def finish(self, row: Row) -> None:
        self._end_stage()
        if self._live:
            _draw("")
        outcome = f"{row['failure']['kind']}" if row["failure"] else _outcome(row)
        say(f"{self._head}: {outcome} ({self._spent(least=0.05).rstrip(', ') or 'at once'})")

    def _end_stage(self) -> None:
        if self._clock is not None:
            self._clock.__exit__(None, None, None)
            self._stages[self._stage] = self._stages.get(self._stage, 0.0) + self._lap.seconds
            self._clock = None

    def _spent(self, least: float) -> str:
        return "".join(
            f"{stage} {seconds:.1f} s, "
            for stage, seconds in self._stages.items()
            if seconds >= least
        )


class Pairs:
    """One live line on standard error: how far a comparison has come."""

    def __init__(self, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._live = sys.stderr.isatty()

    def show(self, found: Comparison) -> None:
        if self._live:
            _draw(
                f"pair {len(found.pairs)}, {found.seconds:.0f} of {self._max_seconds:.0f} s: "
                f"{_change(found.ratio)}"
            )

    def end(self) -> None:
        if self._live:
            _draw("")


def comparison(public: Row) -> None:
    """The answer of a comparison in words, and what it rests on."""
    a, b = public["a"], public["b"]
    table(
        ["", "side", "p50 ms", "artifact"],
        [
            [
                letter,
                side["name"] + (f" ({side['python']})" if side["python"] else ""),
                _number(side["p50_ms"]),
                side["artifact_sha256"][:12],
            ]
            for letter, side in (("A", a), ("B", b))
        ],
        right={"p50 ms"},
        fold=1,
    )
    said = public["verdict"]
    if public["ratio"] is not None:
        said += f": B takes {public['ratio']:.4f} of A's time ({_change(public['ratio'])}"
        if public["ci95"]:
            low, high = public["ci95"]
            said += f"; 95 %: {_change(low)} to {_change(high)}"
        said += f"; margin {100 * public['margin']:g} %)"
    print(f"{said}, {public['pairs']} pairs in {public['seconds']:.0f} s")
    sys.stdout.flush()
    for reason in public["reasons"]:
        say(f"bench: {reason}")


def gate(outcomes: Sequence[Outcome]) -> None:
    """Every job's outcome, then the notes, then the headline."""
    from bench.gate import outputs

    table(
        ["", "model", "target", "p50 ms", "change", "top-1"],
        [
            [
                outcome.status,
                outputs.name(outcome),
                outcome.job.target.name,
                *(_latency(outcome.result)[:1] if outcome.result else ("-",)),
                outputs.change(outcome) or "-",
                _accuracy(outcome.result) if outcome.result else "-",
            ]
            for outcome in outcomes
        ],
        right={"p50 ms", "change", "top-1"},
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


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.2f} %"


def _draw(text: str) -> None:
    """Write the live line anew."""
    from shutil import get_terminal_size

    width = get_terminal_size().columns - 1
    print(f"\r\033[K{text[:width]}", end="", file=sys.stderr, flush=True)


def _outcome(row: Row) -> str:
    accuracy = f", {_accuracy(row)} %" if row["accuracy"] else ""
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
    return _number(latency["p50_ms"]), f"{100 * half_width:.1f}"


def _accuracy(row: Row) -> str:
    found = row["accuracy"]
    return f"{found['value']:.1f}" if found else "-"


def _number(value: float | None) -> str:
    """Three significant digits, never in powers of ten."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.4f}"
