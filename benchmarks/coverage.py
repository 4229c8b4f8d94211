"""How often does the 95 % interval of a run hold the true median?

First, processes of a real network are recorded on this machine, taking turns as in a run, for some
minutes. Then runs are simulated from the record: each made-up process has a speed of its own, drawn
with the spread that the recorded ones had, and the blocks of one recorded process from a random
moment on: drift, spikes and autocorrelation are those of the machine. A run stops by the tool's own
rule. The truth is what a run of all processes there could be would have found in that stretch of
time: the median over all recorded processes in it.

    python benchmarks/coverage.py record --into FILE [--minutes 5]
    python benchmarks/coverage.py simulate FILE... [--runs 2000]
"""

from __future__ import annotations

import pickle
from argparse import ArgumentParser
from pathlib import Path
from random import Random

import numpy as np
from machine import heading

from bench import rounds, stats, targets
from bench.cache import default_root
from bench.launch import Child, call
from bench.messages import Block, Measure, Prepare, Prepared, Sampled, Warmed, WarmUp
from bench.records import Job, Procedure
from bench.timing import Deadline

NETWORKS = [("builtin:digits-resnet", "cpu-openvino-fp32"), ("builtin:digits-vgg", "cpu-ort-fp32")]
PROCESSES, BLOCK_SECONDS = 20, 0.1
RULES = Procedure()
#: Samples kept of each block: evenly spread ones, so that a simulation does not take hours.
KEPT = 60


def record(into: Path, minutes: float) -> None:
    kept = {}
    for model, target in NETWORKS:
        job = Job(model, targets.select([target], {})[0], "random", Procedure(threads=1))
        deadline = Deadline.after(3600)
        made = call(Prepare(job, str(default_root()), fresh=False), Prepared, deadline)
        request = Measure(job, made.timed, None, made.packages)
        children = [Child(request) for _ in range(PROCESSES)]
        for child in children:
            child.answer(type(None), deadline)
        for child in children:
            child.ask(WarmUp(), Warmed, deadline)
        taken: list[list[np.ndarray]] = [[] for _ in children]
        order, random = list(range(PROCESSES)), Random(0)
        end = Deadline.after(60 * minutes / len(NETWORKS))
        while end.left():
            random.shuffle(order)
            for i in order:
                block = np.array(children[i].ask(Block(BLOCK_SECONDS), Sampled, deadline).block_ns)
                chosen = np.linspace(0, len(block) - 1, min(KEPT, len(block))).astype(int)
                taken[i].append(block[chosen])
        for child in children:
            child.close()
        kept[f"{model} @ {target}"] = taken
    into.write_bytes(pickle.dumps(kept))


def simulate(processes: list[list[np.ndarray]], runs: int) -> dict[str, object]:
    """Coverage and width of the tool's interval, and of a bootstrap over the same processes."""
    rng = np.random.default_rng(0)
    length = min(map(len, processes))
    # In logarithms, each process about its own median; and how far those lie apart.
    centres = np.array([np.median(np.log(np.concatenate(run))) for run in processes])
    about = [
        [np.log(block) - centre for block in run]
        for run, centre in zip(processes, centres, strict=True)
    ]
    apart = centres.std(ddof=1)
    most = int(RULES.max_seconds / (BLOCK_SECONDS * RULES.processes))
    held, boot, widths, stops = [], [], [], []
    for _ in range(runs):
        start = rng.integers(length - most)
        who = rng.choice(len(about), RULES.processes, replace=False)
        speeds = rng.normal(0, apart, RULES.processes)
        made = [
            [np.exp(block + speed + 14) for block in about[i][start : start + most]]
            for i, speed in zip(who, speeds, strict=True)
        ]
        n, looked = rounds.MIN_ROUNDS, RULES.min_seconds
        while True:
            n = max(n, int(np.ceil(looked / (BLOCK_SECONDS * RULES.processes))))
            n = min(n, most)
            run = [blocks[:n] for blocks in made]
            low, high = stats.median_interval(run)
            if stats.relative_half_width((low, high)) <= RULES.rel_error or n == most:
                break
            looked *= rounds.GROWTH
        stretch = np.concatenate([b for run in about for b in run[start : start + n]])
        truth = float(np.exp(np.median(stretch) + 14))
        held.append(low <= truth <= high)
        widths.append(stats.relative_half_width((low, high)))
        stops.append(n < most)
        boot.append(bootstrap(run, truth, rng))
    return {
        "apart": apart,
        "held": np.mean(held),
        "boot": np.mean(boot),
        "width": np.median(widths),
        "early": np.mean(stops),
        "held_early": np.mean(np.array(held)[np.array(stops)]) if any(stops) else None,
    }


def bootstrap(run: list[list[np.ndarray]], truth: float, rng: np.random.Generator) -> bool:
    """Whether a percentile bootstrap over processes, then blocks, holds the truth."""
    medians = np.array([[np.median(block) for block in blocks] for blocks in run])
    p, b = medians.shape
    drawn = rng.integers(p, size=(200, p))
    blocks = rng.integers(b, size=(200, p, b))
    resampled = np.median(medians[drawn[:, :, None], blocks].reshape(200, -1), axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return bool(low <= truth <= high)


def _share(found: object) -> str:
    return "-" if found is None else f"{found:.1%}"


parser = ArgumentParser(description=__doc__)
commands = parser.add_subparsers(dest="command", required=True)
recording = commands.add_parser("record")
recording.add_argument("--into", type=Path, required=True)
recording.add_argument("--minutes", type=float, default=5.0)
simulating = commands.add_parser("simulate")
simulating.add_argument("files", type=Path, nargs="+")
simulating.add_argument("--runs", type=int, default=2000)
given = parser.parse_args()
if given.command == "record":
    record(given.into, given.minutes)
else:
    heading("Coverage of the 95 % interval")
    print(f"{given.runs} simulated runs each, by the rules of a default run. Asked: 93 to 97 %.\n")
    print(
        "| recorded | spread of processes | the interval holds | a bootstrap would hold |", end=""
    )
    print(" half-width, median | stopped before the cap | and holds then |")
    print("|" + "---|" * 7)
    for file in given.files:
        for name, processes in pickle.loads(file.read_bytes()).items():
            found = simulate(processes, given.runs)
            print(
                f"| {name} | {found['apart']:.2%} | {found['held']:.1%} | {found['boot']:.1%} | "
                f"±{found['width']:.1%} | {found['early']:.0%} | {_share(found['held_early'])} |",
                flush=True,
            )
