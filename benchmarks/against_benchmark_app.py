"""Our p50 against that of OpenVINO's own benchmark_app, on the same IR, core and threads, in turns.

Asked: within 2 % over six models (3 % for torchvision's mobilenet_v2 in fp32). All on one core, for
which core a process gets makes more of a difference here than which tool it is. The speed of this
machine changes within seconds, so a fresh benchmark_app of a third of a second runs between two
blocks of ours, as long, whose geometric mean it is compared with; our process is fresh every few
rounds. The figure is the Hodges-Lehmann estimate over the rounds, with its interval.

benchmark_app reports what OpenVINO's own clock says, inside the C++ call; ours is around the Python
call, which a user of Python waits for. What lies between the two is measured too, on one request.

    python benchmarks/against_benchmark_app.py [ROUNDS]
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from machine import heading

from bench import plugins, sides, stats, targets, timing
from bench.cache import default_root
from bench.launch import Child, call
from bench.machine import pin
from bench.messages import Block, Finish, Observed, Prepare, Prepared, Sampled, Warmed, WarmUp
from bench.pool import read
from bench.records import Job, Procedure
from bench.timing import Deadline

NETWORKS = [
    ("torchvision:mobilenet_v2", "cpu-openvino-fp32"),
    ("torchvision:mobilenet_v2", "cpu-openvino-int8"),
    ("torchvision:shufflenet_v2_x0_5", "cpu-openvino-fp32"),
    ("torchvision:squeezenet1_1", "cpu-openvino-int8"),
    ("torchvision:resnet18", "cpu-openvino-int8"),
    ("timm:resnet50", "cpu-openvino-int8"),
]
SECONDS = 0.3
#: Rounds that one process of ours lives for.
LIFE = 10
#: For how long the clock around the call is set beside OpenVINO's own.
AROUND_SECONDS = 5
#: The core that `bench` pins one thread to.
CORE = max(os.sched_getaffinity(0))
TOOL = shutil.which("benchmark_app") or str(Path(sys.executable).parent / "benchmark_app")


def ours(child: Child, deadline: Deadline) -> float:
    """log of the p50 of one block, in ms."""
    sampled = child.ask(Block(SECONDS), Sampled, deadline)
    return float(np.log(np.median(sampled.block_ns) / 1e6))


def theirs(ir: str, calls: int) -> float:
    """log of the p50 that benchmark_app reports, in ms."""
    # Left alone it feeds bytes, a quarter of what our network reads, and converts them inside.
    on = ["-m", ir, "-d", "CPU", "-shape", "[1,3,224,224]", "-ip", "f32", "-infer_precision", "f32"]
    how = ["-hint", "none", "-nstreams", "1", "-nthreads", "1", "-api", "sync"]
    done = subprocess.run(
        ["taskset", "-c", str(CORE), TOOL, *on, *how, "-niter", str(calls)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"INFERENCE_NUM_THREADS: 1\b", done.stdout), done.stdout
    found = re.search(r"Median:\s+([\d.]+) ms", done.stdout)
    assert found, done.stdout
    return float(np.log(float(found[1])))


def rounds(side: sides.Side, n: int) -> tuple[list[float], float]:
    """log(ours / theirs) of n rounds, and our p50 in ms."""
    logs, own = [], []
    for _ in range(n // LIFE):
        deadline = Deadline.after(600)
        with Child(side.request()) as child:
            child.answer(type(None), deadline)
            child.ask(WarmUp(), Warmed, deadline)
            before = ours(child, deadline)
            for _ in range(LIFE):
                calls = max(10, round(SECONDS * 1e3 / np.exp(before)))
                them = theirs(side.timed.built.path, calls)
                after = ours(child, deadline)
                logs.append((before + after) / 2 - them)
                own.append(before)
                before = after
            child.ask(Finish(), Observed, deadline)
    return logs, float(np.exp(np.median(own)))


def around_the_call(side: sides.Side) -> tuple[float, float]:
    """What the clock around the Python call says over OpenVINO's own, of the same calls: as a ratio
    and in µs."""
    (on,) = targets.select([side.asked.job.target.name], {})
    pin(1)
    with plugins.runner("openvino").open(side.timed.built, on, batch=1, threads=1) as [session]:
        stopwatch = timing.Stopwatch(session, read(side.timed.pool, 1), "device")
        outside, inside = [], []
        end = Deadline.after(AROUND_SECONDS)
        while end.left():
            outside.append(stopwatch.sample())
            inside.append(session._request.latency * 1e6)  # in ms
    between = np.array(outside) - np.array(inside)
    ratios = np.array(outside) / np.array(inside)
    return float(np.median(ratios)), float(np.median(between)) / 1e3


n = int(sys.argv[1]) if len(sys.argv) > 1 else 100
heading("p50 against benchmark_app")
print(f"Random weights, batch 1, one thread, {n} rounds a model; the ratio is ours over theirs.\n")
print("| model | p50 ms | ratio | 95 % | single rounds | asked | the Python call alone |")
print("|---|---|---|---|---|---|---|")
for model, target in NETWORKS:
    (on,) = targets.select([target], {})
    how = Procedure(threads=1, warmup_seconds=0.3)
    job = Job(model, on, "random", how)
    made = call(Prepare(job, str(default_root()), fresh=False), Prepared, Deadline.after(3600))
    side = sides.Side(sides.Asked(model, job), made.model, made.timed, made.packages)
    logs, p50_ms = rounds(side, n)
    ratio, low, high = np.exp(stats.signed_rank_interval(logs))
    around, between_us = around_the_call(side)
    fine = "within 2 %" if abs(ratio - 1) <= 0.02 else "NOT within 2 %"
    call_alone = f"{around:.4f} ({between_us:.0f} µs)"
    print(
        f"| {model} @ {target} | {p50_ms:.3f} | {ratio:.4f} | {low:.4f} to {high:.4f} | "
        f"{np.exp(min(logs)):.3f} to {np.exp(max(logs)):.3f} | {fine} | {call_alone} |",
        flush=True,
    )
