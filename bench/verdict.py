"""VALID, NOISY or INVALID: whether a measurement may be believed, with reasons to act on."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Literal

from bench import stats

if TYPE_CHECKING:
    from bench.records import Measurement, Procedure

Verdict = Literal["VALID", "NOISY", "INVALID"]

#: An interval wider than this share of the median to either side says nothing worth a chart.
INVALID_HALF_WIDTH = 0.10
#: Fresh processes of one artifact may differ by this share of their median.
PROCESS_SPREAD = 0.05


def judge(
    measurement: Measurement, interval_ns: tuple[float, float], how: Procedure
) -> tuple[Verdict, list[str]]:
    """The verdict, and a reason for each thing that speaks against VALID."""
    half_width = stats.relative_half_width(interval_ns)
    reasons = []
    if half_width > how.rel_error:
        reasons.append(
            f"the 95 % interval is ±{half_width:.1%}, wanted ±{how.rel_error:.1%}: "
            "quieten the machine, or raise --max-seconds"
        )
    unstable = sum(not run.stable for run in measurement.processes)
    if unstable:
        reasons.append(
            f"latency had not settled at the end of the warm-up in {unstable} of "
            f"{len(measurement.processes)} processes"
        )
    centres = [
        median(sample for block in run.blocks_ns for sample in block)
        for run in measurement.processes
    ]
    spread = (max(centres) - min(centres)) / median(centres)
    if spread > PROCESS_SPREAD:
        reasons.append(f"the medians of fresh processes differ by {spread:.1%}")
    if half_width > INVALID_HALF_WIDTH:
        return "INVALID", reasons
    return ("NOISY" if reasons else "VALID"), reasons
