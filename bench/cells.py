"""What a table's cell says of a result: a row of `bench.public`, in a few words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.terminal import number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = dict[str, Any]


def outcome(row: Row) -> str:
    """One result in a few words."""
    if row.get("compiled"):
        return f"{number(row['artifact_mb'])} MB by {row['compiled']['made_by']}"
    percent = f", {accuracy(row)} %" if row["accuracy"] else ""
    return f"{latency(row)[0]} ms{percent}, {row['verdict']}"


def model(row: Mapping[str, Any]) -> str:
    """Its source, name and weights; a file's name."""
    if row["source"] == "onnx":
        return Path(row["model"]).name
    weights = f".{row['weights']}" if row["weights"] else ""
    return f"{row['source']}:{row['model']}{weights}"


def latency(row: Row) -> tuple[str, str]:
    """p50 in ms, and half its interval in percent, where there is one."""
    found = row["latency"]
    if found is None:
        return "-", "-"
    if found["ci95_ms"] is None:
        return number(found["p50_ms"]), "-"
    from bench.stats import relative_half_width

    half_width = relative_half_width(tuple(found["ci95_ms"]))
    return number(found["p50_ms"]), f"{100 * half_width:.1f}"


def median(row: Row) -> str:
    """The measured one, or, marked, what another tool says and kept no samples of. What failed or
    is INVALID is no number that somebody could quote."""
    if row["status"] != "ok":
        return "failed"
    if row["reported"]:
        return f"({number(row['reported']['p50_ms'])})"
    if not row["latency"]:  # an import may bring what no run of ours leaves
        return "-"
    if row["verdict"] == "INVALID":
        return "invalid"
    window = row["latency"]["window"]
    return latency(row)[0] + ("" if window == "device" else f" {window}")


def slowest(row: Row) -> str:
    """The 99th percentile, or the maximum, marked as such, where there are too few samples."""
    found = row["latency"]
    if found is None:
        return "-"
    return number(found["p99_ms"]) if found["p99_ms"] else f"max {number(found['max_ms'])}"


def batch(row: Row) -> str:
    """Batch size, times streams where there are several."""
    return f"{row['batch']}" + (f" x {row['streams']}" if row["streams"] > 1 else "")


def metric(rows: Sequence[Row]) -> str:
    """What the accuracies of these rows are called, where they are all one metric."""
    found = {row["accuracy"]["metric"] for row in rows if row["accuracy"]}
    return found.pop().replace("top1", "top-1") if len(found) == 1 else "accuracy"


def accuracy(row: Row) -> str:
    """The headline figure in percent."""
    found = row["accuracy"]
    return f"{found['value']:.1f}" if found else "-"


def change(row: Row) -> str:
    """The same, and the points that it differs by from fp32 on the same images."""
    found = row["accuracy"]
    if not found or found["change"] is None or row["precision"] == "fp32":
        return accuracy(row)
    return f"{found['value']:.1f} {found['change']:+.1f}"
