"""What a table's cell says of a result: a row of `bench.public`, in a few words."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.public import differing_options
from bench.terminal import number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = dict[str, Any]


def outcome(row: Row) -> str:
    """One result in a few words."""
    if row.get("compiled"):
        return f"{number(row['artifact_mb'])} MB by {row['compiled']['made_by']}"
    percent = f", {accuracy(row)} %" if row["accuracy"] else ""
    taken = "" if row["verdict"] == "INVALID" else f"{latency(row)[0]} ms{percent}, "
    return f"{taken}{row['verdict']}"


def models(rows: Sequence[Row]) -> list[str]:
    """The name of each row's model; of files that share one, with the start of their hash."""
    contents: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["source"] == "onnx" and row["weights"]:
            contents[model(row)].add(row["weights"])
    named = [(row, model(row)) for row in rows]
    return [row["weights"] or name if len(contents[name]) > 1 else name for row, name in named]


def model(row: Mapping[str, Any]) -> str:
    """Its source, name and weights; a file's name."""
    if row["source"] == "onnx":
        return Path(row["model"]).name
    weights = f".{row['weights']}" if row["weights"] else ""
    return f"{row['source']}:{row['model']}{weights}"


def latency(row: Row) -> tuple[str, str]:
    """p50 in ms, and half its interval in percent, where there is one. An INVALID one is no number
    that somebody could quote."""
    found = row["latency"]
    if found is None:
        return "-", "-"
    if row["verdict"] == "INVALID":
        return "invalid", "-"
    if found["ci95_ms"] is None:
        return number(found["p50_ms"]), "-"
    from bench.stats import relative_half_width

    half_width = relative_half_width(tuple(found["ci95_ms"]))
    return number(found["p50_ms"]), f"{100 * half_width:.1f}"


def median(row: Row) -> str:
    """The measured one, or, marked, what another tool says and kept no samples of."""
    if row["status"] != "ok":
        return "failed"
    if row["reported"]:
        return f"({number(row['reported']['p50_ms'])})"
    return latency(row)[0]


def throughput(row: Row) -> str:
    """Images a second, where the latency that they follow from is not INVALID."""
    return "-" if row["verdict"] == "INVALID" else number(row["throughput_ips"])


def slowest(row: Row) -> str:
    """The 99th percentile, or the maximum, marked as such, where there are too few samples."""
    found = row["latency"]
    if found is None:
        return "-"
    return number(found["p99_ms"]) if found["p99_ms"] else f"max {number(found['max_ms'])}"


def targets(rows: Sequence[Row]) -> list[str]:
    """The target of each row, and what is unusual about how it was measured there. The recipe of
    int8, the options of the runtime and the threads are told where rows of a target differ in them.
    """
    on: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        on[row["target"]].append(row)
    return [_target(row, on[row["target"]]) for row in rows]


def _target(row: Row, alike: Sequence[Row]) -> str:
    recipes = {made_by(other) for other in alike} - {""}  # of what failed they are not known
    threads = {other["threads"] for other in alike} - {None}
    figures = row["latency"] or row["reported"]
    window = figures["window"] if figures else "device"
    return ", ".join(
        [
            row["target"],
            *([made_by(row)] if made_by(row) and len(recipes) > 1 else []),
            *differing_options(row, alike),
            *([f"{row['threads']} threads"] if row["threads"] and len(threads) > 1 else []),
            *([f"batch {batch(row)}"] if batch(row) != "1" else []),
            *([f"window {window}"] if window != "device" else []),
            *([f"by {row['measured_by']}"] if row["measured_by"] != "bench" else []),
        ]
    )


def made_by(row: Row) -> str:
    """How it became int8; of what failed before, how it was to."""
    return row["calibration"]["recipe"] if row["calibration"] else row["recipe"] or ""


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
