"""`bench doctor --noise`: how well can this machine be measured on?

The canary is compared with itself for half a minute. How far its blocks and its processes scatter
says what to expect of a run here and now, and how far its pairs do, what of a comparison. The
processes of a run start one by one; those of a comparison are twins, which differ by less: so half
of the time is for each kind.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from math import log, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import canary, comparison, stats, targets
from bench.errors import UsageError
from bench.launch import call
from bench.machine import usable_threads
from bench.messages import Canary, Timed
from bench.records import Job, Procedure
from bench.sides import Asked, Side
from bench.timing import HANGS, Deadline
from bench.verdict import load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.comparison import Comparison, Pair

#: What every installation has.
TARGET = "cpu-ort-fp32"
#: The change that a comparison finds in 95 of 100 cases, where it is its margin, in half-widths of
#: its interval. SLOWER is told when the interval lies above half the margin: the estimate above
#: margin / 2 + 1 half-width. In 95 of 100 cases the estimate is above the change less 1.645
#: standard errors, of which a half-width is 1.96: so margin = margin / 2 + (1 + 1.645 / 1.96)
#: half-widths.
FOUND = 2 * (1 + 1.645 / stats.Z95)
#: Fewer pairs say nothing of their spread.
LEAST = 3


def measure(cache: Path, seconds: float, threads: int | None) -> dict[str, Any]:
    """Measure the machine for so long; what to expect of it, as scripts see it."""
    threads = threads or usable_threads()
    (target,) = targets.select([TARGET], {})
    built = call(Canary(target, str(cache)), Timed, Deadline.after(600))
    how = replace(comparison.PROCEDURE, threads=threads)
    side = Side(Asked("canary", Job("canary", target, procedure=how)), canary.MODEL, built, ())
    rules = comparison.Rules(max_seconds=seconds / 2, early=False, if_late=HANGS)
    no_twin = replace(side, asked=replace(side.asked, python=sys.executable))
    halves = []
    for other in (no_twin, side):
        found = comparison.compare(side, other, rules)
        if found.failure:
            raise found.failure
        if len(found.pairs) < LEAST:
            raise UsageError(f"{seconds:g} s are too short to say anything: raise --seconds")
        halves.append(found)
    return {
        "threads": threads,
        "seconds": sum(found.seconds for found in halves),
        **expectations(*halves),
    }


def expectations(strangers: Comparison, twins: Comparison) -> dict[str, Any]:
    """What the pairs of two A/A comparisons tell: spreads and half-widths of 95 % intervals, in
    percent; `blocks_ms` are the 10th and 90th percentile."""
    pairs = strangers.pairs
    blocks = [float(np.median(block)) for pair in pairs for block in (*pair.a_ns, *pair.b_ns)]
    low, middle, high = np.quantile(blocks, [0.1, 0.5, 0.9]).tolist()  # JSON has no NumPy
    # The processes of a run take turns, as those of a pair do: only what is between those counts.
    apart = [log(stats.median([pair.b_ns]) / stats.median([pair.a_ns])) for pair in pairs]
    processes = Procedure().processes
    one = float(np.std(apart, ddof=1)) / sqrt(2)
    run = stats.student(processes - 1) * one / sqrt(processes)
    halves = {
        str(limit): _resolution(twins.pairs, limit * len(twins.pairs) / twins.seconds)
        for limit in (60, 180)
    }
    return {
        "pairs": len(pairs) + len(twins.pairs),
        "blocks_ms": [low / 1e6, high / 1e6],
        "block_spread_percent": 100 * (high - low) / middle,
        "run_half_width_percent": 100 * run,
        "comparison_half_width_percent": halves,
        "comparison_finds_percent": {limit: FOUND * half for limit, half in halves.items()},
        "reasons": list(load(strangers.loads + twins.loads)),
    }


def _resolution(pairs: Sequence[Pair], n: float) -> float:
    """The half-width, in percent, that the interval of n pairs would have."""
    spread = float(np.std([pair.log_ratio for pair in pairs], ddof=1))
    return 100 * stats.student(max(1, int(n) - 1)) * spread / sqrt(max(1.0, n))
