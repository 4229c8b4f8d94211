"""Which results belong in one chart, and which of them lie on its frontier.

Everything here is a pure function of public rows (`bench.public.to_public`), shared by all reports
so that a chart and a table never mark different points.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from bench import public

#: One result as `bench.public.to_public` gives it.
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Conditions:
    """What two latencies must share to be compared. `hardware` is the observed one; `threads` is 0
    where the runtime states none."""

    hardware: str
    window: str
    batch: int
    streams: int
    threads: int

    @classmethod
    def of(cls, row: Row) -> Conditions:
        """Those of a row with a latency, ours or another tool's."""
        figures = row["latency"] or row["reported"]
        inside = one_line(figures["window"])
        return cls(hardware(row), inside, row["batch"], row["streams"], threads(row))


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """What two points must share to be compared: the conditions of their latencies, and the images
    of their accuracies, how many they are and the hash that they have (`subset`)."""

    conditions: Conditions
    metric: str
    dataset: str
    images: int
    subset: str


def hardware(row: Row) -> str:
    """What the result was measured on, as observed; its target may ask for something else."""
    return one_line(row["hardware"])


def threads(row: Row) -> int:
    """CPU threads that the runtime used, 0 where it states none."""
    return row["threads"] or 0


def bare_name(row: Row) -> str:
    """source:name, or the name alone where no source was found; of a file, without its folder."""
    if row["source"] == "onnx":
        return one_line(PurePath(row["model"]).name)
    return one_line(f"{row['source']}:{row['model']}" if row["source"] else row["model"])


def full_name(row: Row) -> str:
    """source:name.weights; of a file, its name and the start of its hash: file.onnx#hash."""
    if row["source"] == "onnx" and row["weights"]:
        return one_line(row["weights"])
    return f"{bare_name(row)}.{one_line(row['weights'])}" if row["weights"] else bare_name(row)


def recipe(row: Row) -> str:
    """How it became int8, as `bench run --calibration` takes it; empty where it is not int8."""
    made = row["calibration"]
    return one_line(made["recipe"]) if made else ""


def many_recipes(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """Which networks (in full) on which targets were made int8 in more ways than one, or keep some
    of their layers from it."""
    found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        found[full_name(row), row["target"]].add(recipe(row))
    kept = {
        (full_name(row), row["target"])
        for row in rows
        if row["calibration"] and row["calibration"]["kept"]
    }
    return kept | {key for key, recipes in found.items() if len(recipes) > 1}


def differing_options(rows: Iterable[Row]) -> Callable[[Row], str]:
    """What tells the options of the runtime of a row, as `bench run -o` takes them, in so far as
    rows of the same network (in full) on the same target differ in them; else nothing."""
    found: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[full_name(row), row["target"]].append(row)

    def told(row: Row) -> str:
        alike = found[full_name(row), row["target"]]
        return one_line(" ".join(public.differing_options(row, alike)))

    return told


def one_line(text: object) -> str:
    """The text fit for one line of a page: names come from files and may hold anything."""
    words = " ".join(str(text).split())
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in words)


def why_not_drawn(row: Row) -> str | None:
    """In a word or two, why the row is no point of a chart; None when it is one."""
    if row["status"] != "ok":
        return "failed"
    if row["reported"]:
        return "without samples"
    latency = row["latency"]
    if row["verdict"] not in ("VALID", "NOISY") or not latency or not latency["p50_ms"] > 0:
        return "invalid"
    return None if row["accuracy"] else "without accuracy"


def group_of(row: Row) -> Group:
    """The chart of a row that can be drawn."""
    accuracy = row["accuracy"]
    metric, dataset = one_line(accuracy["metric"]), one_line(accuracy["dataset"])
    return Group(Conditions.of(row), metric, dataset, accuracy["n"], accuracy["subset"])


def identity(row: Row) -> tuple[Hashable, ...]:
    """What a newer row replaces, where all else (`Group`, `Conditions`) is the same."""
    options = tuple(sorted(row["options"].items()))
    named = row["model"], row["source"], row["weights"], row["target"]
    return *named, options, recipe(row), row["measured_by"]


def newest(rows: Iterable[Row]) -> list[Row]:
    """The newest row of each identity; of two started at once, the later in `rows`."""
    latest: dict[tuple[Hashable, ...], Row] = {}
    for row in rows:
        held = latest.get(identity(row))
        if held is None or row["started_at"] >= held["started_at"]:
            latest[identity(row)] = row
    return list(latest.values())


def groups(rows: Iterable[Row]) -> dict[Group, list[Row]]:
    """The rows that can be drawn, chart by chart, the newest of each identity, by latency."""
    found: defaultdict[Group, list[Row]] = defaultdict(list)
    for row in rows:
        if why_not_drawn(row) is None:
            found[group_of(row)].append(row)
    return {group: sorted(newest(found[group]), key=by_latency) for group in sorted(found)}


def by_latency(row: Row) -> tuple[Any, ...]:
    """Sort key: fast first, then accurate, then by name. Rows without a latency come last."""
    latency, accuracy = row["latency"], row["accuracy"]
    return (
        latency["p50_ms"] if latency else float("inf"),
        -accuracy["value"] if accuracy else 0.0,
        full_name(row),
        row["target"],
    )


def undrawn(rows: Iterable[Row], group: Group, drawn: Sequence[Row]) -> dict[str, int]:
    """How many networks on targets are missing from a chart, by reason.

    A row counts when it could have stood there (same hardware, batch and streams; same window,
    threads, metric and images where it got so far) and nothing of the same network and target
    stands there.
    """
    where = group.conditions

    def could(row: Row) -> bool:
        if row["latency"] and row["accuracy"]:
            return group_of(row) == group
        if row["latency"] or row["reported"]:
            return Conditions.of(row) == where
        asked = hardware(row), row["batch"], row["streams"]
        return asked == (where.hardware, where.batch, where.streams)

    missing = [row for row in rows if why_not_drawn(row) and could(row)]
    counts: defaultdict[str, int] = defaultdict(int)
    for row in newest(missing):
        if not any(same_request(row, other) for other in drawn):
            counts[why_not_drawn(row) or ""] += 1
    return dict(sorted(counts.items()))


def same_request(row: Row, other: Row) -> bool:
    """Whether both are the same network on the same target. A job that failed before its model
    was described has no weights tag, and holds the name as it was asked for."""
    if row["target"] != other["target"]:
        return False
    asked = {full_name(other)}
    if not row["weights"]:
        bare = one_line(other["model"])
        asked |= {bare_name(other), bare, f"{bare}.{one_line(other['weights'])}"}
    return full_name(row) in asked


def frontier(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the Pareto frontier of (latency, accuracy) points, fast first.

    A point is dominated when another is at least as accurate and at most as slow, and strictly
    better in one of the two. The frontier holds the points that nothing dominates; so of points
    equal in both, either all are on it or none.
    """
    fast_first = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    kept: list[int] = []
    for i in fast_first:
        # Sorted so, every point that could dominate i was seen before it, and the last one kept
        # is the most accurate of those.
        if not kept or points[i][1] > points[kept[-1]][1] or points[i] == points[kept[-1]]:
            kept.append(i)
    return kept


def frontier_rows(drawn: Sequence[Row]) -> list[Row]:
    """The rows of one chart that lie on its frontier, fast first."""
    points = [(row["latency"]["p50_ms"], row["accuracy"]["value"]) for row in drawn]
    return [drawn[i] for i in frontier(points)]
