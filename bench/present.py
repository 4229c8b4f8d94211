"""What a person sees of results: their tables, and what speaks against them, in words."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cells
from bench.terminal import number, say, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.cells import Row

#: Up to so many doubtful results have their reasons printed.
_SPELLED_OUT = 3


def results(rows: Sequence[Row]) -> None:
    """A table of public results; the source and the weights that all share are said once."""
    shared = {(row["source"], row["weights"]) for row in rows}
    short = len(shared) == 1 and len(rows) > 1
    metric = cells.metric(rows)
    many = any(row["batch"] * row["streams"] > 1 for row in rows)
    made = recipes_differ(rows)
    lost = any(row["accuracy"] and row["accuracy"]["change"] for row in rows)
    metric += " (Δ)" if lost else ""
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
                Path(row["model"]).name if short else cells.model(row),
                row["target"],
                *([_recipe(row)] if made else []),
                *([cells.batch(row)] if many else []),
                *cells.latency(row),
                (cells.change if lost else cells.accuracy)(row),
                number(row["throughput_ips" if many else "artifact_mb"]),
                "failed" if row["failure"] else row["verdict"],
            ]
            for row in rows
        ],
        right={"batch", "p50 ms", "±%", *([] if lost else [metric]), *last},
    )
    if short:
        source, weights = shared.pop()
        print(f"all models {source}:" + (f", weights {weights}" if weights else ""))
    if lost:
        print("Δ: points against fp32, on the same images")
    if any(row["latency"] and row["latency"]["window"] != "device" for row in rows):
        print("window io: copies of inputs and outputs are in the latency")
    for row in rows:
        if len(row["tried"]) > 1 or (row["tried"] and row["failure"]):
            tried(row)
    sys.stdout.flush()


def tried(row: Row) -> None:
    """What was done to keep the accuracy of one job, and what came of it."""
    found = next((trial["accuracy"] for trial in row["tried"] if trial["accuracy"]), None)
    name = f"{found['metric'].replace('top1', 'top-1')} %" if found else "accuracy"
    print(f"\n{cells.model(row)} @ {row['target']}, at most {row['max_drop']:g} points lost:")
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
    """How it became int8; of what failed before, how it was to."""
    return row["calibration"]["recipe"] if row["calibration"] else row["recipe"] or ""


def builds(rows: Sequence[Row]) -> None:
    """What was compiled: how large, in which types, and whether it was checked; by whom, and where
    it lies."""
    made = [row for row in rows if row["compiled"]]
    table(
        ["model", "target", "MB", "s", "compute layers", "cosine"],
        [
            [
                cells.model(row),
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
        print(f"{cells.model(row)} @ {row['target']}: {what['format']} by {what['made_by']}")
        print(f"  {what['path']}")
    sys.stdout.flush()


def build_problems(rows: Sequence[Row]) -> None:
    """Why there is no artifact, in words, and how far it came."""
    for row in rows:
        if failure := row["failure"]:
            what = f"{cells.model(row)} @ {row['target']}"
            say(f"{what}: failed at {failure['stage']}: {failure['message']}")
            if len(row["artifacts"]) > 1:
                lowered = row["artifacts"][-1]
                say(f"  what it was to be compiled from ({lowered['format']}): {lowered['path']}")


def problems(rows: Sequence[Row]) -> None:
    """What speaks against the results, in words; past a few, counted."""
    doubtful = [row for row in rows if row["reasons"]]
    for row in rows:
        what = f"{cells.model(row)} @ {row['target']}"
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
    found, what = row["latency"] or row["reported"], f"{cells.model(row)} @ {row['target']}"
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
        ["id", "date", "model", "target", "p50 ms", cells.metric(rows)],
        [
            [
                row["id"],
                row["started_at"][5:10],
                cells.model(row),
                row["target"],
                cells.median(row),
                cells.accuracy(row),
            ]
            for row in rows
        ],
        right={"p50 ms", cells.metric(rows)},
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
