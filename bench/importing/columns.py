"""A CSV file with a header, one row an inference: anybody's samples.

    latency_ms | latency_us | latency_ns    the time of one batch; exactly one of them
    window                                  device or io
    tool                                    who measured
    hardware                                on what, as it calls itself
    version, batch, streams, threads        of the tool; 1, 1 and unknown where absent
    process, block                          groups of samples that belong together; blocks of 0.1 s
                                            where absent
    started_at                              ISO 8601; else when the file was written

All but latency, process and block say the same in every row. Other columns are refused: one that
is misspelt would be lost in silence.
"""

from __future__ import annotations

import csv
from datetime import datetime, timezone
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any

from bench import targets
from bench.errors import UsageError, unknown
from bench.importing import foreign
from bench.importing.foreign import Asked, Foreign
from bench.records import Procedure

if TYPE_CHECKING:
    from pathlib import Path

    from bench.records import Target

_UNITS = {"latency_ms": 1e6, "latency_us": 1e3, "latency_ns": 1.0}
_CONSTANT = {
    *("window", "tool", "hardware", "version"),
    *("batch", "streams", "threads", "started_at"),
}
_COLUMNS = {*_UNITS, *_CONSTANT, "process", "block"}
_BLOCK_NS = Procedure().block_seconds * 1e9
_HOW = "docs/importing.md lists the columns"


def read(asked: Asked, target: Target) -> Foreign:
    """Raises UsageError for a column or a value that is missing, unknown or impossible."""
    if asked.log is not None:
        raise UsageError("--log is for trtexec and benchmark_app: a CSV file says all itself")
    rows, unit = _rows(asked.file)
    said = {key: _constant(asked.file, rows, key) for key in _CONSTANT}
    window = foreign.agreed(asked.window, said["window"], "--window", asked.file)
    if window not in ("device", "io"):
        raise UsageError(f"{asked.file}: window is {window!r}, and neither device nor io")
    hardware = foreign.agreed(asked.hardware, said["hardware"], "--hardware", asked.file)
    wanted = targets.hardware_of(target)
    if not wanted.is_stated(hardware):
        raise UsageError(
            f"target {target.name} needs {wanted.name}, and {asked.file} is of {hardware}"
        )
    tool = said["tool"]
    if tool is None:
        raise UsageError(f"{asked.file} does not say which tool measured: {_HOW}")
    if tool == "bench":  # it would pass for a measurement of our own
        raise UsageError(
            f"{asked.file}: tool is 'bench': import what `bench export` writes instead"
        )
    threads = _count(asked.file, "threads", said["threads"])
    batch = _count(asked.file, "batch", said["batch"])
    if batch is None and asked.batch is None:
        batch = 1
    return Foreign(
        tool=tool,
        version=said["version"],
        hardware=hardware,
        window=window,
        batch=foreign.agreed(asked.batch, batch, "--batch", asked.file),
        streams=_count(asked.file, "streams", said["streams"]) or 1,
        threads=threads,
        started_at=_moment(asked.file, said["started_at"]),
        processes=_grouped(asked.file, rows, unit),
        flags={"threads": threads} if threads else {},
        notes=(f"the hardware is as the file says: {hardware}",),
    )


def _rows(path: Path) -> tuple[list[dict[str, str]], str]:
    text = foreign.text(path, "CSV file")
    reader = csv.DictReader(text.splitlines(keepends=True), strict=True)
    try:
        names = [(name or "").strip() for name in reader.fieldnames or []]
        reader.fieldnames = names
        rows: list[Any] = list(reader)
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num} is no CSV: {error}") from error
    units = [name for name in names if name in _UNITS]
    if not units:
        raise UsageError(
            f"{path} has no column latency_ms, latency_us or latency_ns in its first line: {_HOW}"
        )
    for name in names:
        if name not in _COLUMNS:
            raise unknown(f"column in {path}", name, _COLUMNS, "docs/importing.md")
    if len(units) > 1 or len(set(names)) < len(names):
        raise UsageError(f"{path} has a column twice, or latencies in two units")
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise UsageError(f"{path}, line {number} has not as many columns as its first line")
        if any(len(value.splitlines()) > 1 for value in row.values()):
            raise UsageError(f"{path}, line {number} has a value of several lines")
    if not rows:
        raise UsageError(f"{path} has a header and no samples")
    return rows, units[0]


def _constant(path: Path, rows: list[dict[str, str]], key: str) -> str | None:
    """The one value of a column; None where it is absent or empty."""
    values = {row.get(key, "").strip() for row in rows}
    if len(values) > 1:
        raise UsageError(f"{path}: {key} differs between rows, so they are not one measurement")
    return values.pop() or None


def _count(path: Path, key: str, value: str | None) -> int | None:
    if value is None:
        return None
    found = foreign.count(value)
    if not found or found > 10**6:
        raise UsageError(f"{path}: {key} is {value[:40]!r}, and no count")
    return found


def _grouped(
    path: Path, rows: list[dict[str, str]], unit: str
) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """The samples by process and block, both in the order in which they come first. Where the file
    has no blocks, stretches of as long as our own take: one block would say nothing of how the
    latency wandered."""
    found: dict[str, dict[str, list[int]]] = {}
    for number, row in enumerate(rows, 2):
        where = f"{path}, line {number}: {unit}"
        try:
            value = float(row[unit])
        except ValueError as error:
            raise UsageError(f"{where} is {row[unit][:40]!r}, and not a time") from error
        sample = foreign.ns(value, _UNITS[unit], where)
        blocks = found.setdefault(row.get("process", ""), {})
        blocks.setdefault(row.get("block", ""), []).append(sample)
    if "block" not in rows[0]:
        return tuple(_stretches(samples) for [samples] in map(dict.values, found.values()))
    return tuple(tuple(map(tuple, blocks.values())) for blocks in found.values())


def _stretches(samples: list[int]) -> tuple[tuple[int, ...], ...]:
    """The samples in blocks of `_BLOCK_NS`, one after the other; the last may be shorter."""
    ends = accumulate(samples)
    numbered = [(int((end - ns) // _BLOCK_NS), ns) for end, ns in zip(ends, samples, strict=True)]
    blocks = groupby(numbered, key=lambda each: each[0])
    return tuple(tuple(ns for _, ns in block) for _, block in blocks)


def _moment(path: Path, text: str | None) -> str:
    if text is None:
        return foreign.written_at(path)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        moment = moment.astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:  # in UTC it may be after the year 9999
        raise UsageError(f"{path}: started_at is {text[:40]!r}, and not ISO 8601") from error
    return moment.isoformat(timespec="milliseconds")
