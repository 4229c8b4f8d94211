"""Results out of a store and into another: JSON lines (lossless), CSV and Parquet (flat)."""

from __future__ import annotations

import csv
import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, TextIO

import msgspec

from bench.errors import BenchError, Unavailable, UsageError
from bench.public import encode, result_id, to_public
from bench.records import Check, Failure, Published, Reported
from bench.store import decode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.records import Result
    from bench.store import Store

Format = Literal["jsonl", "csv", "parquet"]


#: What is in the keys that hold an object, or null where there is none: so a table has the same
#: columns whatever is in it (but for accuracy_metrics_*, which depend on the task).
_NESTED = {
    "latency": (
        *("window", "p50_ms", "ci95_ms", "mean_ms", "min_ms", "p90_ms", "p99_ms", "max_ms"),
        *("samples", "processes", "stopped_by", "canary_ratio"),
    ),
    "reported": tuple(field.name for field in fields(Reported)),
    "calibration": ("recipe", "method", "images", "kept", "source", "sha256"),
    "accuracy": (
        *("task", "metric", "value", "ci95", "n", "dataset", "fingerprint", "reference"),
        *("change", "change_ci95", "agreement", "subset", "skipped"),
    ),
    "published": tuple(field.name for field in fields(Published)),
    "check": tuple(field.name for field in fields(Check)),
    "failure": tuple(field.name for field in fields(Failure)),
}


def flat(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """One public result as columns: nested keys joined by "_", lists as JSON text."""
    columns: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict) and key not in ("versions", "flags", "options"):
            columns |= flat(value, f"{prefix}{key}_")
        elif isinstance(value, list | tuple | dict):
            columns[prefix + key] = json.dumps(value)
        elif value is None and key in _NESTED:
            columns |= dict.fromkeys(f"{prefix}{key}_{each}" for each in _NESTED[key])
        else:
            columns[prefix + key] = value
    return columns


def write(results: Sequence[Result], form: Format, out: TextIO | Path) -> None:
    """Export to an open text file, or (Parquet, which is binary) to a path."""
    if form == "parquet":
        _write_parquet(results, out)
    elif form == "csv":
        _write_csv(results, out)
    else:
        for result in results:
            print(to_line(result), file=out)  # type: ignore[arg-type]


def write_file(results: Sequence[Result], form: Format, path: Path) -> None:
    """Export to a file. Raises UsageError when it cannot be written."""
    try:
        if form == "parquet":
            write(results, form, path)
        else:
            with path.open("w", newline="", encoding="utf-8") as out:
                write(results, form, out)
    except OSError as error:
        kind = BenchError if path.parent.is_dir() and not path.is_dir() else UsageError
        raise kind(f"{path} cannot be written: {error.strerror or error}") from error


def to_line(result: Result) -> str:
    """The public keys, and under "record" all that it takes to import the result again."""
    row = {**to_public(result), "record": msgspec.Raw(encode(result))}
    return msgspec.json.encode(row).decode()


def _columns(results: Sequence[Result]) -> tuple[list[str], list[dict[str, Any]]]:
    rows = [flat(to_public(result)) for result in results]
    return list(dict.fromkeys(key for row in rows for key in row)), rows


def _write_csv(results: Sequence[Result], out: Any) -> None:
    columns, rows = _columns(results)
    writer = csv.DictWriter(out, columns)  # with "\n" as its end, a bare "\r" is not quoted
    writer.writeheader()
    writer.writerows(rows)


def _write_parquet(results: Sequence[Result], out: Any) -> None:
    try:
        import pandas as pd
        import pyarrow  # noqa: F401  (what pandas writes Parquet with)
    except ImportError as error:
        raise Unavailable(
            f"Parquet needs {error.name}: pip install 'frontier-bench[parquet]'"
        ) from error
    columns, rows = _columns(results)
    pd.DataFrame(rows, columns=columns).to_parquet(out, index=False)


def read(path: Path) -> list[Result]:
    """Results from a JSON-lines export. Raises UsageError naming the first bad line."""
    results = []
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    results.append(_result(path, number, line))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    return results


def _result(path: Path, number: int, line: bytes) -> Result:
    try:
        parsed = msgspec.json.decode(line)
        if not isinstance(parsed, dict) or "record" not in parsed:
            raise ValueError(
                'it has no "record": only `bench export --format jsonl` can be imported'
            )
        result = decode(parsed["record"])
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise UsageError(f"{path}, line {number}: {error}; nothing was imported") from error
    try:
        to_public(result)
    except (ArithmeticError, LookupError, ValueError) as error:  # no samples; some of 0 ns
        raise UsageError(
            f"{path}, line {number}: its samples cannot be read ({error}); nothing was imported"
        ) from error
    if parsed.get("id") not in (None, result_id(result)):
        raise UsageError(
            f"{path}, line {number}: the record does not hash to its id {parsed['id']!r}, so it "
            "was changed after it was exported; nothing was imported"
        )
    return result


def copy(results: Sequence[Result], store: Store) -> tuple[int, int]:
    """Append results that the store lacks; how many were new and how many it had."""
    new = 0
    for result in results:
        if result_id(result) not in store:
            store.append(result)
            new += 1
    return new, len(results) - new
