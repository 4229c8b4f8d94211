"""VALID, NOISY or INVALID: whether a measurement may be believed, with reasons to act on.

A number is VALID when nothing speaks against it: the interval is as narrow as was asked, and the
machine was seen to do nothing else and to keep its speed. Anything that can be seen speaks; a
person can then judge how loud.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench import stats

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.records import GpuLoad, Load, Measurement, Procedure

Verdict = Literal["VALID", "NOISY", "INVALID"]

#: An interval wider than this share of the median to either side says nothing worth a chart.
INVALID_HALF_WIDTH = 0.10
#: What is said of the blocks of one process. (Of another tool's it is said with its name.)
ALONE = "one process alone: how far fresh ones differ is not known; --processes 5 tells"
#: Fresh processes of one artifact may differ by this share of their median.
PROCESS_SPREAD = 0.05
#: Blocks may differ by this share from their 10th to their 90th percentile, and the second half of
#: the rounds from the first by this. Fewer blocks say neither.
BLOCK_SPREAD = 0.10
DRIFT = 0.03
FEW_BLOCKS = 10
#: One call may take this share of all the time. One that takes more, and so many times as long as
#: usual, was stopped, with all that is counted by the second; of a network of long calls each takes
#: as much.
STALL = 0.05
STALL_TIMES = 10
#: Other processes may use this share of one CPU, and the hypervisor take this share of the time.
OTHERS = 0.20
STEAL = 0.01
#: The quota of a container may stop it for this share of the time.
QUOTA = 0.01
#: NVML's reasons, as `bench.gpu` words them, in which the hardware itself cuts the clock to a half
#: or less.
HARD = {"hardware slowdown", "hardware slowdown by heat", "external power brake"}
#: Percent of the GPU's SMs that other processes may use, and the share by which its clock may
#: move: a step of it is 15 MHz, 1 % of a T4's.
GPU_OTHERS = 1
GPU_CLOCKS = 0.02
#: Times a second that another process may take the core away.
SWITCHES = 50.0


def judge(
    measurement: Measurement,
    interval_ns: tuple[float, float],
    how: Procedure,
    *,
    imported: bool = False,
) -> tuple[Verdict, list[str]]:
    """The verdict, and a reason for each thing that speaks against VALID. What was `imported` is
    advised nothing that only this tool can do."""
    half_width = stats.relative_half_width(interval_ns)
    alone = len(measurement.processes) == 1 and not imported
    loads = [run.load for run in measurement.processes if run.load]
    reasons = [
        *_interval(half_width, how, len(measurement.processes) if imported else None),
        *([ALONE] if alone else []),
        *_warm_up(measurement),
        *_spread(measurement),
        *_stall(measurement, how.streams),
        *load(loads),
    ]
    if half_width > INVALID_HALF_WIDTH or any(unusable(loads)):
        return "INVALID", reasons
    return ("NOISY" if reasons else "VALID"), reasons


def _interval(half_width: float, how: Procedure, elsewhere: int | None) -> Iterator[str]:
    """`elsewhere` is the number of processes of another tool."""
    if half_width > how.rel_error:
        what, remedy = "the 95 % interval is", "raise --processes or --max-seconds"
        if elsewhere:
            remedy = "measure for longer"
        if elsewhere == 1:
            what = "the blocks of its one process leave the median open by"
        found, wanted = f"{half_width:.1%}", f"{how.rel_error:.1%}"
        if found == wanted:  # as a miss by a hair would read
            found = f"{half_width:.3%}"
        yield f"{what} ±{found}, wanted ±{wanted}: quieten the machine, or {remedy}"


def _warm_up(measurement: Measurement) -> Iterator[str]:
    unstable = sum(not run.stable for run in measurement.processes)
    if unstable:
        yield (
            f"UNSTABLE: latency had not settled at the end of the warm-up in {unstable} of "
            f"{len(measurement.processes)} processes"
        )


def _spread(measurement: Measurement) -> Iterator[str]:
    runs = measurement.processes
    centres = [stats.median([run.blocks_ns]) for run in runs]
    apart = (max(centres) - min(centres)) / median(centres)
    if apart > PROCESS_SPREAD:
        yield f"the medians of fresh processes differ by {apart:.1%}"

    blocks = [_medians(run.blocks_ns) for run in runs]
    canary = [_medians(run.canary_ns) for run in runs]
    if sum(map(len, blocks)) < FEW_BLOCKS:
        return
    known = all(canary) and sum(map(len, canary)) >= FEW_BLOCKS
    low, high, apart = _range(blocks)
    drift = _drift(blocks)
    if apart > BLOCK_SPREAD:
        yield (
            f"blocks took {low / 1e6:.3g} to {high / 1e6:.3g} ms (10th to 90th percentile)"
            f"{_canary_says(known, known and _range(canary)[2] > BLOCK_SPREAD)}"
        )
    elif abs(drift) > DRIFT:
        yield (
            f"latency drifted by {drift:+.1%} from the first half of the measurement to the second"
            # As far, at least by half, and in the same direction.
            f"{_canary_says(known, known and _drift(canary) / drift > 0.5)}"
        )


def _stall(measurement: Measurement, streams: int) -> Iterator[str]:
    samples = stats.pooled([run.blocks_ns for run in measurement.processes])
    longest = int(samples.max())
    share = longest * streams / float(samples.sum())
    if share > STALL and longest > STALL_TIMES * np.median(samples):
        yield (
            f"one call took {longest / 1e9:.2g} s, {share:.0%} of all the time: the machine stood "
            "still, or its clock jumped, and what else went on cannot be told: measure again"
        )


def _range(blocks: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """The 10th and the 90th percentile of the blocks of all processes, and how far apart they are
    as a share of the median."""
    low, middle, high = np.quantile(np.concatenate(blocks), [0.1, 0.5, 0.9])
    return float(low), float(high), float((high - low) / middle)


def _drift(blocks: Sequence[Sequence[float]]) -> float:
    """How much longer the second half of the rounds took than the first, as a share."""
    half = min(map(len, blocks)) // 2
    first = np.median([ns for each in blocks for ns in each[:half]])
    return float(np.median([ns for each in blocks for ns in each[half:]]) / first) - 1


def _canary_says(known: bool, too: bool) -> str:
    """Whether the machine changed or the network did, as the canary saw it."""
    if not known:
        return ""
    if too:
        return ", and so did the canary: the machine changes its speed"
    return ", and the canary did not: the network itself does not run evenly"


def load(loads: Sequence[Load]) -> Iterator[str]:
    """What the operating system saw, and the GPU."""
    yield from unusable(loads)
    yield from _doubtful([load.gpu for load in loads if load.gpu])
    seconds = sum(load.wall_ns for load in loads) / 1e9
    if not seconds:
        return
    if any(load.other_cpu_ns is None for load in loads):
        yield "what other processes did meanwhile cannot be seen on this system"
    others = sum(load.other_cpu_ns or 0 for load in loads) / 1e9 / seconds
    steal = sum(load.steal_ns or 0 for load in loads) / 1e9 / seconds
    switches = sum(load.switches for load in loads) / seconds
    throttled = sum(load.throttled or 0 for load in loads)
    stopped = sum(load.quota_ns or 0 for load in loads) / 1e9 / seconds
    if others > OTHERS:
        yield f"other processes used {others:.0%} of a CPU meanwhile: stop them (`top` names them)"
    if steal > STEAL:
        yield (
            f"the hypervisor took {steal:.1%} of the time away (steal): other machines share this "
            "host"
        )
    if stopped > QUOTA:
        yield (
            f"the container's CPU quota stopped it for {min(stopped, 1.0):.0%} of the time: raise "
            "the quota, or give --threads fewer"
        )
    if switches > SWITCHES:
        yield f"the process lost its core {switches:.0f} times a second to others"
    if throttled:
        yield f"the CPU slowed down {throttled} times because it was hot: let it cool"


def unusable(loads: Sequence[Load]) -> Iterator[str]:
    """What makes a time on a GPU no property of the network, nor a ratio of two."""
    gpus = [load.gpu for load in loads if load.gpu]
    busy = max((each.others_percent or 0 for each in gpus), default=0)
    hard = {reason for each in gpus for reason in each.slowed_by} & HARD
    if busy > GPU_OTHERS:
        yield f"another process used {busy}% of the GPU meanwhile: stop it (`nvidia-smi` names it)"
    if hard:
        yield f"the GPU halved its clock, or worse ({', '.join(sorted(hard))}): cool or mend it"


def _doubtful(loads: Sequence[GpuLoad]) -> Iterator[str]:
    """What the GPU saw that makes it slower, or less sure."""
    others = max((each.others or 0 for each in loads), default=0)
    busy = max((each.others_percent or 0 for each in loads), default=0)
    reasons = {reason for each in loads for reason in each.slowed_by}
    clocks = [mhz for each in loads if each.sm_mhz for mhz in each.sm_mhz]
    if others and busy <= GPU_OTHERS:
        one = others == 1
        yield (
            f"{others} other process{'' if one else 'es'} had the GPU open, and could have used "
            f"it: stop {'it' if one else 'them'} (`nvidia-smi` names {'it' if one else 'them'})"
        )
    if "heat" in reasons or any(each.hot_ns for each in loads):
        yield "the GPU slowed down because it was hot: let it cool, or lock a lower clock"
    if "power limit" in reasons or any(each.capped_ns for each in loads):
        yield (
            "the GPU was held back by its power limit: lock a clock that it can keep "
            "(`nvidia-smi -lgc MHZ`)"
        )
    if clocks and max(clocks) - min(clocks) > GPU_CLOCKS * max(clocks):
        yield (
            f"the GPU's clock floated between {min(clocks)} and {max(clocks)} MHz: lock it "
            "(`nvidia-smi -lgc MHZ`)"
        )


def _medians(blocks: Sequence[Sequence[int]]) -> list[float]:
    return [float(np.median(block)) for block in blocks]
