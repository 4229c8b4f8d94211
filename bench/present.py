"""What a person sees of results: their tables, and what speaks against them, in words."""

from __future__ import annotations

import re
import sys
from collections import Counter
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from bench import cells
from bench.terminal import counted, number, say, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.cells import Row

#: Digits of an id that are shown: as many as tell results apart; commands take the start of one.
_ID = 8
_WINDOWS = {"device": "window device", "io": "window io (copies in and out included)"}
#: From so many columns on, a table of results has room for two spaces between its own.
_WIDE = 100
#: Up to so many doubtful results have their reasons printed.
_SPELLED_OUT = 3


def results(rows: Sequence[Row]) -> None:
    """A table of public results; the source and the weights that all share are said once."""
    # What failed before its model was described has no weights to differ in.
    shared = {(row["source"], row["weights"]) for row in rows if row["weights"] or row["latency"]}
    sources = {row["source"] for row in rows}
    short = len(shared) == 1 == len(sources) and len(rows) > 1 and sources != {"onnx"}
    metric = cells.metric(rows)
    many = any(row["batch"] * row["streams"] > 1 for row in rows)
    made = recipes_differ(rows)
    lost = any(row["accuracy"] and row["accuracy"]["change"] for row in rows)
    metric += " (Δ)" if lost else ""
    last = ["images/s"] if many else ["MB"]
    table(
        [
            "id",
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
                row["id"][:_ID],
                row["model"] if short else name,
                row["target"],
                *([cells.made_by(row)] if made else []),
                *([cells.batch(row)] if many else []),
                *cells.latency(row),
                (cells.change if lost else cells.accuracy)(row),
                cells.throughput(row) if many else number(row["artifact_mb"]),
                "failed" if row["failure"] else row["verdict"],
            ]
            for row, name in zip(rows, cells.models(rows), strict=True)
        ],
        right={"batch", "p50 ms", "±%", *([] if lost else [metric]), *last},
        fold=(1, 3) if made else 1,
        tight=get_terminal_size().columns < _WIDE,
    )
    if measured := [row for row in rows if row["latency"]]:
        print(_conditions(measured))
    if short:
        source, weights = shared.pop()
        print(f"source {source}" + (f" · weights {weights}" if weights else ""))
    if lost:
        print("Δ: points against fp32, on the same images")
    for row in rows:
        if len(row["tried"]) > 1 or (row["tried"] and row["failure"]):
            tried(row)
    sys.stdout.flush()


def _conditions(rows: Sequence[Row]) -> str:
    """Under which conditions the latencies of these rows hold; all that there were, of several."""
    said = {
        "hardware": [row["hardware"] for row in rows],
        "threads": [counted(row["threads"], "thread") for row in rows if row["threads"]],
        "window": [_WINDOWS[row["latency"]["window"]] for row in rows],
        "processes": [counted(row["latency"]["processes"], "process", "processes") for row in rows],
    }
    return " · ".join(" and ".join(dict.fromkeys(values)) for values in said.values() if values)


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
        kinds = Counter(_kind(reason) for row in doubtful for reason in row["reasons"])
        often = "; ".join(f"{kind} ({n})" for kind, n in kinds.most_common(_SPELLED_OUT))
        say(f"of {len(rows)} results {listed}: {often}; all reasons: bench show ID")


def _kind(reason: str) -> str:
    """A reason without its figures and its remedy, so that those of several rows can be counted."""
    return re.sub(r"[+±-]?\d[\d.]*%?(?![\d.%]| % interval)", "…", re.split(r":| \(", reason)[0])


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
        ["id", "date", "model", "target", "p50 ms", cells.metric(rows), "verdict"],
        [
            [
                row["id"][:_ID],
                row["started_at"][5:10],
                name,
                target,
                cells.median(row),
                cells.accuracy(row),
                row["verdict"] or "",
            ]
            for row, name, target in zip(rows, cells.models(rows), cells.targets(rows), strict=True)
        ],
        right={"p50 ms", cells.metric(rows)},
        fold=(2, 3),
    )


def notes(rows: Sequence[Row]) -> None:
    """Each distinct note once, with how many results it concerns."""
    counted: dict[str, int] = {}
    for row in rows:
        for note in row["notes"]:
            counted[note] = counted.get(note, 0) + 1
    for note, n in counted.items():
        say(f"note{f' ({n} results)' if n > 1 else ''}: {note}")
