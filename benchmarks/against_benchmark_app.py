"""Our p50 against that of OpenVINO's own benchmark_app, on the same IR and threads, in turns.

Asked: within 3 % for torchvision's mobilenet_v2 in fp32. The order within each pair is drawn at
random; the figure is the median of the pairs' ratios, with its bootstrap interval.

    python benchmarks/against_benchmark_app.py [PAIRS]
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from machine import heading

from bench.machine import usable_threads

BENCH = (sys.executable, "-c", "from bench.cli import main; main()")
SECONDS = 3
THREADS = usable_threads()


def ours(folder: Path) -> tuple[float, str]:
    """p50 in ms of one fresh process, and the IR it ran."""
    environment = {
        **os.environ,
        "BENCH_STORE": str(folder / "results.db"),
        "BENCH_CACHE": str(folder / "cache"),
    }
    job = ["-m", "torchvision:mobilenet_v2", "--weights", "random", "-t", "cpu-openvino-fp32"]
    how = ["--threads", THREADS, "--processes", 1, "--min-seconds", SECONDS, "--max-seconds", 1]
    done = subprocess.run(
        [*BENCH, "run", *job, *map(str, how), "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    row = json.loads(done.stdout)
    return row["latency"]["p50_ms"], row["artifacts"][-1]["path"]


def theirs(ir: str) -> float:
    """p50 in ms as benchmark_app reports it. It does not take a number of threads beside a hint, so
    that it used as many as we did is read from what it prints."""
    tool = shutil.which("benchmark_app") or str(Path(sys.executable).parent / "benchmark_app")
    shape = ["-shape", "input[1,3,224,224]"]
    how = ["-hint", "latency", "-api", "sync", "-infer_precision", "f32", "-t", str(SECONDS)]
    done = subprocess.run(
        [tool, "-m", ir, "-d", "CPU", *shape, *how],
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(rf"INFERENCE_NUM_THREADS: {THREADS}\b", done.stdout), done.stdout
    found = re.search(r"Median:\s+([\d.]+) ms", done.stdout)
    assert found, done.stdout
    return float(found[1])


pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
heading("p50 against benchmark_app")
with tempfile.TemporaryDirectory() as scratch:
    _, ir = ours(Path(scratch))
    ratios, latencies = [], []
    for _ in range(pairs):
        if random.random() < 0.5:
            a, b = ours(Path(scratch))[0], theirs(ir)
        else:
            b = theirs(ir)
            a = ours(Path(scratch))[0]
        ratios.append(a / b)
        latencies.append((a, b))
rng = np.random.default_rng(0)
medians = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
low, high = np.quantile(medians, [0.025, 0.975])
centre = float(np.median(ratios))
a, b = np.median(np.array(latencies), axis=0)
print(
    f"torchvision:mobilenet_v2, random weights, batch 1, {THREADS} threads, {pairs} pairs of fresh "
    f"processes, {SECONDS} s each\n\n"
    "| | |\n|---|---|\n"
    f"| bench, median of p50s | {a:.3f} ms |\n"
    f"| benchmark_app, median of p50s | {b:.3f} ms |\n"
    f"| ratio, median of pairs | {centre:.4f} |\n"
    f"| 95 % interval of that median | {low:.4f} to {high:.4f} |\n"
    f"| single pairs | {min(ratios):.3f} to {max(ratios):.3f} |\n"
    f"| asked | within 3 %: {'yes' if abs(centre - 1) <= 0.03 else 'NO'} |"
)
