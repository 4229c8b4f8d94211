"""How much of the spread between runs does the canary take away, and which canary?

Two networks on two runtimes, one thread, are run again and again for some minutes; each run is a
few rounds of a block of the network and a block of each candidate canary. The spread between runs
of the raw latency is set beside that of the latency in canaries, for each size of the canary and
each length of its blocks (a shorter block is the beginning of a longer one).

    python benchmarks/canary.py [--minutes 12] [--pause 3]   # seconds between two runs
"""

from __future__ import annotations

import tempfile
import time
from argparse import ArgumentParser
from contextlib import ExitStack
from dataclasses import replace
from math import log
from pathlib import Path

import numpy as np
from machine import heading

from bench import canary, plugins, recipes, stats, targets, timing
from bench.cache import default_root
from bench.calibration import Calibration
from bench.launch import call
from bench.machine import pin
from bench.messages import Prepare, Prepared
from bench.pool import read as read_pool
from bench.records import Artifact, Job, Procedure, TensorSpec
from bench.timing import Deadline

NETWORKS = [
    ("torchvision:mobilenet_v2", "cpu-openvino-int8"),
    ("torchvision:squeezenet1_1", "cpu-ort-fp32"),
]
SIZES = (32, 64, 128)
LENGTHS = (0.005, 0.01, 0.02, 0.05)
ROUNDS, BLOCK_SECONDS = 12, 0.1


def watch(opened: ExitStack, built: Artifact, pool: list, target: str) -> timing.Stopwatch:
    (on,) = targets.select([target], {})
    runner = plugins.runner(on.runner)
    [session] = opened.enter_context(runner.open(built, on, batch=1, threads=1))
    stopwatch = timing.Stopwatch(session, pool, "device")
    stopwatch.warm_up(0.3)
    return stopwatch


def candidate(opened: ExitStack, size: int, target: str, folder: Path) -> timing.Stopwatch:
    (on,) = targets.select([target], {})
    runner = plugins.runner(on.runner)
    folder.mkdir(parents=True)
    written = canary.write(folder, size)
    model = replace(canary.MODEL, inputs=(TensorSpec("input", (None, 3, size, size), "float32"),))
    calibration = Calibration.of(model, None, None, recipes.methods(runner)[0])
    (folder / "built").mkdir()
    built = runner.build(written, on, calibration, folder / "built")
    return watch(opened, built, list(calibration.feeds())[:4], target)


def cut(block: list[int], seconds: float) -> list[int]:
    """The beginning of a block."""
    ends = np.cumsum(block)
    return block[: max(1, int(np.searchsorted(ends, seconds * 1e9)))]


parser = ArgumentParser(description=__doc__)
parser.add_argument("--minutes", type=float, default=12.0)
parser.add_argument("--pause", type=float, default=3.0)
given = parser.parse_args()

with tempfile.TemporaryDirectory() as scratch, ExitStack() as opened:
    pin(1)
    watches = {}
    for model, target in NETWORKS:
        job = Job(model, targets.select([target], {})[0], "random", Procedure(threads=1))
        request = Prepare(job, str(default_root()), fresh=False)
        made = call(request, Prepared, Deadline.after(3600))
        pool = read_pool(made.timed.pool, 1)
        beside = {
            size: candidate(opened, size, target, Path(scratch) / target / str(size))
            for size in SIZES
        }
        watches[model, target] = watch(opened, made.timed.built, pool, target), beside
    raw = {network: [] for network in NETWORKS}
    fast = {network: [] for network in NETWORKS}
    ratios = {(n, s, length): [] for n in NETWORKS for s in SIZES for length in LENGTHS}
    typical = {}
    end = Deadline.after(given.minutes * 60)
    while end.left():
        for network, (model, beside) in watches.items():
            blocks, sung = [], {size: [] for size in SIZES}
            for _ in range(ROUNDS):
                blocks.append(model.block(BLOCK_SECONDS)[1])
                for size, stopwatch in beside.items():
                    timing.rest()
                    sung[size].append(stopwatch.block(max(LENGTHS))[1])
                timing.rest()
            raw[network].append(log(np.median(stats.pooled([blocks]))))
            fast[network].append(log(stats.ratio(blocks, [[1]] * len(blocks))))
            for size in SIZES:
                typical[network, size] = float(np.median(stats.pooled([sung[size]]))) / 1e6
                for length in LENGTHS:
                    short = [cut(block, length) for block in sung[size]]
                    ratios[network, size, length].append(log(stats.ratio(blocks, short)))
        time.sleep(given.pause)

heading("The canary")
print(f"{len(raw[NETWORKS[0]])} runs of {ROUNDS * BLOCK_SECONDS:.1f} s, one thread, over")
print(
    f"{given.minutes:g} minutes. Spread: the standard deviation between runs: of the median, of\n"
    "the 10th percentiles of blocks, and of these divided by the canary's.\n"
)
print("| network | median | 10th percentiles | canary | its p50 ms |", end="")
print("".join(f" {1000 * length:.0f} ms |" for length in LENGTHS))
print("|---|---|---|---|---|" + "---|" * len(LENGTHS))
for network in NETWORKS:
    median, spread = np.std(raw[network], ddof=1), np.std(fast[network], ddof=1)
    for size in SIZES:
        left = [np.std(ratios[network, size, length], ddof=1) for length in LENGTHS]
        cells = [" @ ".join(network), f"{median:.1%}", f"{spread:.1%}", f"{size} x {size}"]
        cells.append(f"{typical[network, size]:.3f}")
        cells += [f"{one:.1%} ({1 - one / spread:.0%} gone)" for one in left]
        print(f"| {' | '.join(cells)} |")
