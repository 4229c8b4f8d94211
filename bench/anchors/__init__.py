"""Can a published number be reproduced? Results beside figures that others have published.

A figure is compared with a result of the same network, hardware as observed, runtime, precision,
batch and window, and with nothing else. Published and measured stay in columns of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bench import targets, toml_file
from bench.errors import UsageError, unknown
from bench.public import to_public
from bench.records import Option, Precision, Window

if TYPE_CHECKING:
    from bench.records import Result

#: Three hosts with the same GPU and the same TensorRT were 14 % apart (MLPerf v0.7, T4).
TOLERANCE = 0.20
#: Fewer inferences say nothing of a network.
LEAST = 10
#: Of the published figures.
BATCH, SIZE = 1, 224

Verdict = Literal["WITHIN", "FASTER", "SLOWER", "UNDECIDED", "NOT MEASURED"]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    statistic: str
    unstated: tuple[str, ...]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    hardware: str
    runner: str
    precision: Precision
    windows: tuple[Window, ...]
    ms: dict[str, float | tuple[float, float]]
    version: str | None = None
    options: dict[str, Option] = {}


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: dict[str, Source]
    models: dict[str, tuple[str, ...]]
    table: tuple[_Table, ...]


@dataclass(frozen=True)
class Anchor:
    """One published figure. `names` are what zoos call the network."""

    model: str
    names: tuple[str, ...]
    table: _Table
    source: Source
    least_ms: float
    most_ms: float

    @property
    def target(self) -> str:
        return f"{self.table.hardware}-{self.table.precision}"


@dataclass(frozen=True)
class Finding:
    """An anchor, the public row it was compared with, and what came of it. `ratio` is measured over
    published, 1 between the least and the most of several logs, and None without a verdict."""

    anchor: Anchor
    verdict: Verdict
    row: Mapping[str, Any] | None = None
    measured_ms: float | None = None
    ratio: float | None = None
    causes: tuple[str, ...] = ()


@cache
def published() -> tuple[Anchor, ...]:
    """Every figure of the data file."""
    read = toml_file.read(Path(__file__).parent / "published.toml", _File, "data file")
    made = []
    for table in read.table:
        for model, value in table.ms.items():
            least, most = value if isinstance(value, tuple) else (value, value)
            source = read.source[table.source]
            made.append(Anchor(model, read.models[model], table, source, least, most))
    return tuple(made)


def select(models: Sequence[str], wanted: Sequence[str]) -> list[Anchor]:
    """The figures whose network (by any of its names) and target the globs name; all without any.
    Raises UsageError for a glob that names none."""
    every = published()

    def names(anchor: Anchor) -> tuple[str, ...]:
        bare = (anchor.model, *anchor.names)
        return (*bare, *(f"{zoo}:{name}" for zoo in ("timm", "torchvision") for name in bare))

    for pattern in models:
        if not any(fnmatchcase(name, pattern) for anchor in every for name in names(anchor)):
            known = sorted({name for anchor in every for name in names(anchor)})
            raise unknown("published model", pattern, known, "bench anchors")
    for pattern in wanted:
        if not any(fnmatchcase(anchor.target, pattern) for anchor in every):
            known = sorted({anchor.target for anchor in every})
            raise UsageError(
                f"nothing published is of target {pattern!r}: there is {', '.join(known)}"
            )
    return [
        anchor
        for anchor in every
        if (not models or any(fnmatchcase(n, p) for n in names(anchor) for p in models))
        and (not wanted or any(fnmatchcase(anchor.target, pattern) for pattern in wanted))
    ]


def compare(anchors: Iterable[Anchor], results: Sequence[Result]) -> list[Finding]:
    """Each figure beside the result that is to be believed most of those that it may be compared
    with, the newest of equals."""
    ran = [result for result in results if result.measurement or result.reported]
    rows: dict[int, Mapping[str, Any]] = {}

    def public(i: int) -> Mapping[str, Any]:
        if i not in rows:
            rows[i] = to_public(ran[i])
        return rows[i]

    found = []
    for anchor in anchors:
        fit = [i for i, result in enumerate(ran) if _may_be(anchor, result)]
        fit = [i for i in fit if public(i)["verdict"] != "INVALID"]
        best = max(fit, key=lambda i: _worth(anchor, public(i)), default=None)
        found.append(
            Finding(anchor, "NOT MEASURED") if best is None else _judge(anchor, public(best))
        )
    return found


def _worth(anchor: Anchor, row: Mapping[str, Any]) -> tuple[object, ...]:
    """What makes a result the better one to compare: enough samples at all, the likelier window, no
    doubt, ten times the samples, its date."""
    figures = _figures(row)
    return (
        _samples(row) >= LEAST,
        -anchor.table.windows.index(figures["window"]),
        row["verdict"] == "VALID",
        len(str(_samples(row))),
        row["started_at"],
    )


def _may_be(anchor: Anchor, result: Result) -> bool:
    job, model, table = result.job, result.model, anchor.table
    how, seen = job.procedure, result.environment
    measured = result.measurement or result.reported
    return bool(
        model
        and measured
        and model.name in anchor.names
        and (job.target.runner, job.target.precision) == (table.runner, table.precision)
        and table.options.items() <= job.target.options.items()
        and (how.batch, how.streams) == (BATCH, 1)
        and measured.window in table.windows
        and targets.hardware(table.hardware).is_observed(seen.hardware, seen.flags.get("cpuid"))
        and _size(result) in (None, (SIZE, SIZE))
    )


def _size(result: Result) -> tuple[int | None, ...] | None:
    """Height and width of what was fed; None where it is not known."""
    if result.model and result.model.inputs:
        return result.model.inputs[0].shape[-2:]
    said = str(result.environment.flags.get("inputs", "")).split("x")
    if len(said) < 3 or not all(part.isdigit() for part in said[-2:]):
        return None
    return tuple(map(int, said[-2:]))


def _figures(row: Mapping[str, Any]) -> Mapping[str, Any]:
    figures: Mapping[str, Any] = row["latency"] or row["reported"]
    return figures


def _samples(row: Mapping[str, Any]) -> int:
    return int(row["latency"]["samples"] if row["latency"] else row["reported"]["n"])


def _judge(anchor: Anchor, row: Mapping[str, Any]) -> Finding:
    measured: float = _figures(row)["p50_ms"]
    if (n := _samples(row)) < LEAST:
        why = f"inferences timed here: {n}; fewer than {LEAST} say nothing"
        return Finding(anchor, "UNDECIDED", row, measured, None, (why,))
    nearest = min(max(measured, anchor.least_ms), anchor.most_ms)
    ratio = measured / nearest
    verdict: Verdict = "WITHIN"
    if ratio > 1 + TOLERANCE:
        verdict = "SLOWER"
    elif ratio < 1 - TOLERANCE:
        verdict = "FASTER"
    causes = () if verdict == "WITHIN" else tuple(_causes(anchor, row, verdict))
    return Finding(anchor, verdict, row, measured, ratio, causes)


def _causes(anchor: Anchor, row: Mapping[str, Any], verdict: Verdict) -> Iterable[str]:
    """What may make the difference, the likelier first: what is known to differ, then what the
    source leaves open."""
    table, seen = anchor.table, row["environment"]
    flags, window = seen["flags"], _figures(row)["window"]
    slower = verdict == "SLOWER"
    yield from row["reasons"]
    if len(table.windows) > 1:
        yield f"window {window} here, and the source does not say what it timed (copies or not)"
    if row["measured_by"] != "bench":
        yield f"{row['measured_by']} measured here, with a stopwatch of its own{_stopwatch(row)}"
    yield from _clocks(anchor, flags)
    if table.runner == "tensorrt":
        yield _graph(flags.get("cuda_graph"), slower)
        here = seen["versions"].get("tensorrt") or "unknown"
        yield f"TensorRT {here} here, {table.version or 'unstated'} there"
    if table.runner != "tensorrt":
        yield f"{row['hardware']} here: compare cores and clocks before anything else"
    if anchor.source.statistic != "p50":
        yield f"a median here; there: {anchor.source.statistic}"
    if _unsized(row):
        yield f"the input's size is not known here, there it is {SIZE} x {SIZE}"
    left = [what for what in anchor.source.unstated if what not in ("clocks", "CUDA graph")]
    if left:
        yield f"the source leaves open: {', '.join(left)}"


def _stopwatch(row: Mapping[str, Any]) -> str:
    if not row["measured_by"].startswith("trtexec "):
        return ""
    return " (events on the GPU; bench takes the host's time, launching and waiting included)"


def _clocks(anchor: Anchor, flags: Mapping[str, Option]) -> Iterable[str]:
    if "gpu_clocks" in flags:
        yield f"clocks here: {flags['gpu_clocks']}"
        return
    if flags.get("max_clock"):
        yield f"clock here: {flags['max_clock']} at most; what it really was the log leaves open"
    if flags.get("idle_time", "0ms") not in ("", "0ms"):
        yield f"{flags['idle_time']} of idling between inferences here, in which clocks may fall"
    if "clocks" in anchor.source.unstated:
        yield (
            "clocks: lock them to what the source had (nvidia-smi -lgc, nvpmodel, jetson_clocks); "
            "it does not say to what"
        )


def _graph(on: object, slower: bool) -> str:
    if on is None:
        return "CUDA graph: not known here"
    here, there = ("on", "off") if on else ("off", "on")
    if slower is bool(on):
        return f"CUDA graph is {here} here, which cannot be the cause"
    return (
        f"CUDA graph is {here} here and may be {there} in the source: small networks gain from it"
    )


def _unsized(row: Mapping[str, Any]) -> bool:
    return row["measured_by"] != "bench" and "inputs" not in row["environment"]["flags"]


def to_json(finding: Finding) -> dict[str, Any]:
    """One comparison as scripts see it."""
    anchor, row = finding.anchor, finding.row
    return {
        "model": anchor.model,
        "target": anchor.target,
        "runner": anchor.table.runner,
        "windows": list(anchor.table.windows),
        "batch": BATCH,
        "verdict": finding.verdict,
        "ratio": finding.ratio,
        "tolerance": TOLERANCE,
        "published": {
            "ms": [anchor.least_ms, anchor.most_ms],
            "statistic": anchor.source.statistic,
            "version": anchor.table.version,
            "source": anchor.source.title,
        },
        "measured": row
        and {
            "p50_ms": finding.measured_ms,
            "window": _figures(row)["window"],
            "hardware": row["hardware"],
            "measured_by": row["measured_by"],
            "samples": _samples(row),
            "verdict": row["verdict"],
            "notes": row["notes"],
            "result": row["id"],
        },
        "causes": list(finding.causes),
    }
