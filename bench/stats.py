"""Statistics of latencies. Every figure is a function of the raw samples."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Processes = Sequence[Sequence[Sequence[int]]]

#: Two-sided 95 %.
Z95 = 1.959963984540054
#: Order statistics that stand for a block in the bootstrap: enough for a median, whatever the
#: number of samples, so that a 20 us network costs no more than a 20 ms one.
_KEPT = 64


def pooled(processes: Processes) -> NDArray[np.int64]:
    """All samples of all blocks of all processes, in ns."""
    return np.concatenate([np.asarray(block, np.int64) for run in processes for block in run])


def median_interval(
    processes: Processes, *, seed: int = 0, resamples: int = 1000
) -> tuple[float, float]:
    """95 % bootstrap interval of the median, in ns.

    Processes are drawn with replacement, then blocks within each: samples of one process are not
    independent, so the repetition that counts is the outer one (Kalibera and Jones 2013,
    "Rigorous benchmarking in reasonable time", section 6).
    """
    rng = np.random.default_rng(seed)
    quantiles = [[_condensed(block) for block in run] for run in processes]
    medians = np.empty(resamples)
    for i in range(resamples):
        drawn: list[NDArray[np.float64]] = []
        for p in rng.integers(len(quantiles), size=len(quantiles)):
            run = quantiles[p]
            drawn += [run[b] for b in rng.integers(len(run), size=len(run))]
        medians[i] = np.median(np.concatenate(drawn))
    low, high = np.quantile(medians, [0.025, 0.975])
    # The median of all samples is the figure shown; condensing must never leave it outside.
    middle = float(np.median(pooled(processes)))
    return min(float(low), middle), max(float(high), middle)


def _condensed(block: Sequence[int]) -> NDArray[np.float64]:
    values = np.asarray(block, np.float64)
    if len(values) <= _KEPT:
        return values
    return np.quantile(values, (np.arange(_KEPT) + 0.5) / _KEPT)


def relative_half_width(interval: tuple[float, float]) -> float:
    """Half the interval's width as a share of its middle."""
    low, high = interval
    return (high - low) / (high + low) if high + low > 0 else float("inf")


def percentile(samples: NDArray[np.int64], q: float) -> float | None:
    """The q-quantile (0 < q < 1) in ns, or None where the samples cannot support it."""
    return float(np.quantile(samples, q)) if len(samples) >= samples_needed(q) else None


def samples_needed(q: float) -> int:
    """Samples for a 99 % bound on the q-quantile that one exceedance does not break: the least n
    with P(at most one of n above it) <= 1 %; 64 for p90, 662 for p99 (MLPerf LoadGen's rule)."""
    n = 2
    while q**n + n * (1 - q) * q ** (n - 1) > 0.01:
        n += 1
    return n


def wilson(correct: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion, in percent (Wilson 1927, "Probable inference, the law of
    succession, and statistical inference")."""
    share, z2 = correct / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # Rounding must not leave the value itself outside.
    low, value, high = 100 * (centre - half), 100 * correct / n, 100 * (centre + half)
    return max(0.0, min(low, value)), min(100.0, max(high, value))
