"""What a second, fully cached `bench run` spends outside of warm-up and measurement.

Asked: at most 3 s. Warm-up and measurement last from the first load to the last block; the loads
themselves are not counted as part of it. Each process has its own start and load, so this is told
for five of them, the default, and for three.

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
PROCESSES = (5, 3)
JOBS = [
    ("builtin:digits-resnet", "cpu-ort-int8", "pretrained"),
    ("builtin:digits-resnet", "cpu-openvino-int8", "pretrained"),
    ("torchvision:mobilenet_v2", "cpu-openvino-fp32", "random"),
    ("timm:resnet50", "cpu-openvino-int8", "random"),
    ("timm:resnet50", "cpu-ort-fp32", "random"),
]


def run(model: str, target: str, weights: str, folder: Path, processes: int) -> float:
    """Wall seconds of one run outside of warm-up and measurement."""
    store = folder / "results.db"
    store.unlink(missing_ok=True)
    environment = {**os.environ, "BENCH_STORE": str(store), "BENCH_CACHE": str(folder / "cache")}
    bench = [sys.executable, "-c", "from bench.cli import main; main()"]
    job = ["-m", model, "-t", target, "--weights", weights, "--processes", str(processes)]
    command = [*bench, "run", *job, "--min-seconds", "1", "--max-seconds", "1"]
    start = perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall = perf_counter() - start
    if done.returncode not in (0, 6):
        sys.exit(done.stderr)
    exported = subprocess.run(
        [*bench, "export"], env=environment, capture_output=True, text=True, check=True
    )
    measurement = json.loads(exported.stdout)["record"]["measurement"]
    loading = sum(process["load_ns"] for process in measurement["processes"])
    return wall - (measurement["wall_ns"] - loading) / 1e9


heading("A second, cached run")
print(
    f"Seconds outside of warm-up and measurement; medians of {RUNS} runs (and their range) after "
    "one that fills the cache.\n"
)
columns = " | ".join(f"{n} processes" for n in PROCESSES)
print(f"| job | {columns} | asked |\n|---|{'---|' * len(PROCESSES)}---|")
with tempfile.TemporaryDirectory() as scratch:
    for job in JOBS:
        run(*job, Path(scratch), 1)
        cells = []
        for processes in PROCESSES:
            outside = [run(*job, Path(scratch), processes) for _ in range(RUNS)]
            cells.append(f"{median(outside):.1f} ({min(outside):.1f} to {max(outside):.1f})")
        print(f"| {job[0]} @ {job[1]} | {' | '.join(cells)} | 3 |", flush=True)
