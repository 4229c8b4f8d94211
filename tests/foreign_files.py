"""Files as other tools write them, in their forms and with numbers of our own."""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

#: What the CUDA runtime says: (name, compute capability, SMs).
T4 = ("Tesla T4", "7.5", 40)
XAVIER_NX = ("Xavier", "7.2", 6)
AGX_XAVIER = ("Xavier", "7.2", 8)

_LOG = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] # trtexec {command}
{stamp} [I] === Model Options ===
{stamp} [I] Format: {form}
{stamp} [I] Model: net.onnx
{stamp} [I] === Build Options ===
{stamp} [I] Precision: {precision}
{stamp} [I] Load engine: {engine}
{stamp} [I] === System Options ===
{stamp} [I] Device: 0
{stamp} [I] DLACore: {dla}
{stamp} [I] === Inference Options ===
{stamp} [I] Batch: {batch}
{stamp} [I] Iterations: 10
{stamp} [I] Duration: 3s (+ 200ms warm up)
{stamp} [I] Sleep time: 0ms
{stamp} [I] Idle time: 0ms
{stamp} [I] {streams_key}: {streams}
{stamp} [I] ExposeDMA: Disabled
{stamp} [I] Data transfers: {transfers}
{stamp} [I] Spin-wait: {spin}
{stamp} [I] Multithreading: Disabled
{stamp} [I] CUDA Graph: {graph}
{stamp} [I] Inputs:
{stamp} [I] === Reporting Options ===
{stamp} [I] Verbose: Disabled
{stamp} [I] === Device Information ===
{stamp} [I] Selected Device: {device[0]}
{stamp} [I] Compute Capability: {device[1]}
{stamp} [I] SMs: {device[2]}
{stamp} [I] Application Compute Clock Rate: 1.59 GHz
{stamp} [I]
{stamp} [I] TensorRT version: {version}
{stamp} [I] Engine built in 12.5 sec.
{stamp} [I] {binding}
{stamp} [I] Starting inference
{stamp} [I] Warmup completed {warmups} queries over 200 ms
{stamp} [I] Timing trace has {queries} queries over 3.00 s
{stamp} [I] === Performance summary ===
{stamp} [I] Throughput: 900.0 qps
{stamp} [I] GPU Compute Time: min = 0.9 ms, max = 1.2 ms, mean = 1 ms, median = {median} ms
{stamp} [W] * GPU compute time is unstable, with coefficient of variance = 3.1%.
{stamp} [W]   If not already in use, locking GPU clock frequency may improve the stability.
&&&& PASSED TensorRT.trtexec [TensorRT v{number}] # trtexec {command}
"""


def times(n: int = 600, *, transfers: bool = True, seed: int = 0) -> list[dict[str, float]]:
    """What --exportTimes writes: an inference a millisecond or so."""
    compute = 1.0 + 0.005 * np.random.default_rng(seed).standard_normal(n)
    h2d, d2h = (0.05, 0.01) if transfers else (0.0, 0.0)
    made = []
    for i, ms in enumerate(map(float, compute)):
        start = 200 + 1.1 * i
        made.append(
            {
                "startEnqMs": start - 0.1,
                "endEnqMs": start,
                "startH2dMs": start - h2d,
                "endH2dMs": start,
                "startComputeMs": start,
                "endComputeMs": start + ms,
                "startD2hMs": start + ms,
                "endD2hMs": start + ms + d2h,
                "h2dMs": h2d,
                "computeMs": round(ms, 6),
                "d2hMs": d2h,
                "latencyMs": round(h2d + ms + d2h, 6),
            }
        )
    return made


def trtexec(
    folder: Path, *, entries: list[dict[str, float]] | None = None, **changed: Any
) -> tuple[Path, Path]:
    """The JSON and the log of one run of trtexec 8.5.2 on a T4, or of what `changed` says."""
    entries = times() if entries is None else entries
    said: dict[str, Any] = {
        "version": "8.5.2",
        "command": "--onnx=net.onnx --fp16 --exportTimes=times.json",
        "precision": "FP32+FP16",
        "engine": "",
        "dla": "",
        "form": "ONNX",
        "batch": "Explicit",
        "streams": 1,
        "transfers": "Enabled",
        "spin": "Disabled",
        "graph": "Disabled",
        "device": T4,
        "shape": "1x3x224x224",
        "warmups": 20,
        "queries": len(entries),
        "median": round(median(entry["computeMs"] for entry in entries), 4) if entries else 1.0,
    } | changed
    parts = list(map(int, said["version"].split(".")))
    old = parts[0] < 10
    said["number"] = (
        f"{parts[0]}{parts[1]}{parts[2]:02}"
        if old
        else (f"{parts[0]}{parts[1]:02}{parts[2]:02}] [b34")
    )
    said["streams_key"] = "Streams" if old else "Inference Streams"
    said["binding"] = (
        f"Created input binding for input with dimensions {said['shape']}"
        if old
        else f"Input binding for input with dimensions {said['shape']} is created."
    )
    json_file, log = folder / "times.json", folder / "trtexec.log"
    json_file.write_text(json.dumps(entries))
    log.write_text(_LOG.format(stamp="[11/20/2026-10:11:12]", **said))
    return json_file, log


RESULTS = {
    "first inference time (ms)": "1.10",
    "total execution time (ms)": "1000.01",
    "total number of iterations": "728",
    "latency (ms)": "1.31",
    "avg latency": "1.37",
    "min latency": "1.26",
    "max latency": "8.20",
    "throughput": "727.37",
}
SETUP = {
    "topology": "net",
    "target device": "CPU",
    "API": "sync",
    "inference_only": True,
    "precision": "UNSPECIFIED",
    "batch size": "1",
    "number of iterations": "None",
    "number of parallel infer requests": "1",
    "duration (ms)": "1000",
}
_APP_LOG = """\
[Step 2/11] Loading OpenVINO Runtime
[ INFO ] OpenVINO:
[ INFO ] Build ................................. 2026.4.1-22982-e213a147257-releases/2026/4
[Step 6/11] Configuring input of the model
[ INFO ] Model inputs:
[ INFO ]     input (node: input) : {input} / [N,C,H,W] / [1,3,16,16]
[Step 8/11] Querying optimal runtime parameters
[ INFO ]   NUM_STREAMS: 1
[ INFO ]   INFERENCE_NUM_THREADS: 2
[ INFO ]   INFERENCE_PRECISION_HINT: {hint}
[ INFO ]   PERFORMANCE_HINT: LATENCY
[Step 11/11] Dumping statistics report
[ INFO ] Count:            728 iterations
[ INFO ] Throughput:   727.37 FPS
"""


def benchmark_app(
    folder: Path,
    *,
    form: str = "json",
    hint: str = "<Type: 'float32'>",
    feed: str = "f32",
    setup: dict[str, Any] | None = None,
    results: dict[str, Any] | None = None,
) -> tuple[Path, Path]:
    """The report and the log of one run of benchmark_app; a value of None leaves its key out."""
    parts = {
        "cmd_options": {"-m": "net.onnx", "-d": "CPU"},
        "configuration_setup": {**SETUP, **(setup or {})},
        "execution_results": {**RESULTS, **(results or {})},
    }
    parts = {k: {a: b for a, b in v.items() if b is not None} for k, v in parts.items()}
    report, log = folder / f"benchmark_report.{form}", folder / "benchmark_app.log"
    if form == "json":
        report.write_text(json.dumps(parts))
    else:
        titles = ("Command line parameters", "Configuration setup", "Execution results")
        lines = []
        for title, part in zip(titles, parts.values(), strict=True):
            lines += [title, *(f"{key};{value}" for key, value in part.items()), ""]
        report.write_text("\n".join(lines) + "\n")
    log.write_text(_APP_LOG.format(hint=hint, input=feed))
    return report, log
