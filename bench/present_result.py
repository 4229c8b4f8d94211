"""What a person sees of one result: all that matters of it, on a page."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bench import cells
from bench.terminal import amount, counted, number, say, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.cells import Row


def sheet(row: Row) -> None:
    """The result as a table of two columns, then its reasons and notes."""
    lines = [*_what(row), *_latency(row), *_accuracy(row), *_artifact(row), *_machine(row)]
    state = "failed" if row["failure"] else row["verdict"] or "reported"
    table([row["id"], state], [line for line in lines if line[1]], fold=1)
    sys.stdout.flush()
    if failure := row["failure"]:
        say(f"failed at {failure['stage']} ({failure['kind']}): {failure['message']}")
    for reason in row["reasons"]:
        say(f"{row['verdict']}: {reason}")
    for note in row["notes"]:
        say(f"note: {note}")
    say(f"everything, as JSON: bench show {row['id']} --json")


def _what(row: Row) -> Iterator[list[str]]:
    of_file = row["source"] == "onnx" and row["weights"]  # its name, and the start of its hash
    yield ["model", row["weights"] if of_file else cells.model(row)]
    yield ["target", *cells.targets([row])]
    yield ["measured", f"{row['started_at'][:16].replace('T', ' ')} UTC by {row['measured_by']}"]
    if row["options"]:
        yield ["options", " ".join(f"{key}={value}" for key, value in row["options"].items())]


def _latency(row: Row) -> Iterator[list[str]]:
    if told := row["reported"]:
        yield ["p50, as reported", f"{number(told['p50_ms'])} ms over {told['n']} inferences"]
    if not (found := row["latency"]):
        return
    interval = ""
    if found["ci95_ms"]:
        low, high = found["ci95_ms"]
        interval = f", 95 %: {low:.4g} to {high:.4g} ms (±{cells.latency(row)[1]} %)"
    invalid = row["verdict"] == "INVALID"
    yield ["p50", "invalid" if invalid else f"{found['p50_ms']:.4g} ms{interval}"]
    if not invalid:
        named = (("mean", "mean_ms"), ("min", "min_ms"), ("p90", "p90_ms"), ("p99", "p99_ms"))
        spread = [f"{name} {number(found[key])}" for name, key in named if found[key] is not None]
        yield ["", f"{', '.join(spread)}, max {number(found['max_ms'])} ms"]
        yield ["throughput", f"{cells.throughput(row)} images/s"]
        if found["canary_ratio"]:
            yield ["in canaries", number(found["canary_ratio"])]
        if row["energy_mj"]:
            yield ["energy", f"{number(row['energy_mj'])} mJ an image"]
    conditions = [
        f"window {found['window']}",
        *([counted(row["threads"], "thread")] if row["threads"] else []),
        f"{found['samples']:,} samples of {counted(found['processes'], 'process', 'processes')}",
    ]
    if row["measured_by"] == "bench":
        ends = {"interval": "narrow enough", "cap": "stopped at the limit of time"}
        conditions.append(ends[found["stopped_by"]])
    yield ["sampled", ", ".join(conditions)]
    if row["load_ms"] is not None and row["first_ms"] is not None:
        yield ["load, first call", f"{number(row['load_ms'])} ms, {number(row['first_ms'])} ms"]
    if row["peak_rss_mb"]:
        yield ["peak memory", f"{number(row['peak_rss_mb'])} MB resident"]


def _accuracy(row: Row) -> Iterator[list[str]]:
    if not (found := row["accuracy"]):
        return
    low, high = found["ci95"]
    metric = found["metric"].replace("top1", "top-1")
    yield [
        metric,
        f"{found['value']:.2f} %, 95 %: {low:.2f} to {high:.2f}, on {found['n']:,} images of "
        f"{found['dataset']}",
    ]
    if found["change"] is not None and row["precision"] != "fp32":
        change = f"{found['change']:+.2f} points against fp32 ({found['reference']:.2f} %)"
        if found["change_ci95"]:
            change += " (95 %: {:+.2f} to {:+.2f})".format(*found["change_ci95"])
        yield ["", change]
    if row["published"] and row["published"]["metric"] == found["metric"]:
        yield ["published", f"{row['published']['value']:g} % ({row['published']['source']})"]


def _artifact(row: Row) -> Iterator[list[str]]:
    if made := row["calibration"]:
        kept = f", {len(made['kept'])} layers kept in fp32" if made["kept"] else ""
        yield ["int8 by", f"{made['recipe']}{kept}"]
    if row["params_m"] is not None:
        macs = "" if row["gmacs"] is None else f", {amount(1e9 * row['gmacs'])} MACs an image"
        yield ["network", f"{amount(1e6 * row['params_m'])} parameters{macs}"]
    if found := row["check"]:
        yield ["check", f"cosine {found['cosine']:.5f} with the fp32 ONNX, {found['n']} inputs"]
    if row["artifacts"]:
        last = row["artifacts"][-1]
        yield [
            "artifact",
            f"{last['format']}, {number(row['artifact_mb'])} MB, built in "
            f"{number(row['build_s'])} s, sha256 {last['sha256'][:12]}",
        ]
        yield ["", last["path"]]


def _machine(row: Row) -> Iterator[list[str]]:
    seen = row["environment"]
    yield ["hardware", row["hardware"]]
    yield ["system", ", Python ".join(filter(None, (seen["os"], seen["python"])))]
    yield ["versions", ", ".join(f"{name} {which}" for name, which in seen["versions"].items())]
    if seen["flags"]:
        told = " ".join(f"{key}={value}" for key, value in seen["flags"].items())
        yield ["the runtime says", told]
