"""What a second, fully cached `bench run` spends outside of warm-up and measurement.

Asked: at most 3 s. Warm-up and measurement last from the first load to the last block; the loads
themselves are not counted as part of it. "Not a sample" is stricter: all wall time in which no
call of the network ran, so also the pauses in which one process rests before the next one's turn.

    python benchmarks/cached_run.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from machine import heading

RUNS = 5
JOBS = [
    ("builtin:digits-resnet", "cpu-ort-int8", "pretrained"),
    ("builtin:digits-resnet", "cpu-openvino-int8", "pretrained"),
    ("torchvision:mobilenet_v2", "cpu-openvino-fp32", "random"),
    ("timm:resnet50", "cpu-openvino-int8", "random"),
    ("timm:resnet50", "cpu-ort-fp32", "random"),
]


def run(model: str, target: str, weights: str, folder: Path) -> tuple[float, float, float]:
    """Wall seconds of one run, those outside of warm-up and measurement, and those in which no
    call of the network ran."""
    store = folder / "results.db"
    store.unlink(missing_ok=True)
    environment = {**os.environ, "BENCH_STORE": str(store), "BENCH_CACHE": str(folder / "cache")}
    bench = [sys.executable, "-c", "from bench.cli import main; main()"]
    command = [*bench, "run", "-m", model, "-t", target, "--weights", weights, "--json"]
    start = perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall = perf_counter() - start
    if done.returncode not in (0, 6):
        sys.exit(done.stderr)
    exported = subprocess.run(
        [*bench, "export"], env=environment, capture_output=True, text=True, check=True
    )
    measurement = json.loads(exported.stdout)["record"]["measurement"]
    processes = measurement["processes"]
    loading = sum(process["load_ns"] for process in processes)
    calls = sum(
        sum(map(sum, process["blocks_ns"])) + sum(process["warmup_ns"]) for process in processes
    )
    return wall, wall - (measurement["wall_ns"] - loading) / 1e9, wall - calls / 1e9


heading("A second, cached run")
print(f"Seconds; medians of {RUNS} runs after one that fills the cache.\n")
print("| job | wall | outside | min to max | not a sample | |\n|---|---|---|---|---|---|")
with tempfile.TemporaryDirectory() as scratch:
    for job in JOBS:
        run(*job, Path(scratch))
        walls, outside, idle = zip(*(run(*job, Path(scratch)) for _ in range(RUNS)), strict=True)
        print(
            f"| {job[0]} @ {job[1]} | {median(walls):.1f} | {median(outside):.1f} | "
            f"{min(outside):.1f} to {max(outside):.1f} | {median(idle):.1f} | "
            f"{'within 3 s' if median(outside) <= 3 else 'OVER 3 s'} |",
            flush=True,
        )
