"""Statistics of latencies. Every figure is a function of the raw samples."""

from __future__ import annotations

from functools import cache
from math import atan, cos, erfc, exp, floor, log, pi, sin, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Processes = Sequence[Sequence[Sequence[int]]]

#: Two-sided 95 %.
Z95 = 1.959963984540054
#: Up to so many values the signed-rank test is exact; of more, its statistic is as good as normal,
#: and the exact counts, whose cost grows with n cubed, would take seconds.
_EXACT = 50


def pooled(processes: Processes) -> NDArray[np.int64]:
    """All samples of all blocks of all processes, in ns."""
    return np.concatenate([np.asarray(block, np.int64) for run in processes for block in run])


def median(processes: Processes) -> float:
    """The median of all samples, in ns: the latency that is shown."""
    return float(np.median(pooled(processes)))


def median_interval(processes: Processes) -> tuple[float, float]:
    """95 % interval of the median latency, in ns: Student's t over the logarithms of the medians of
    the processes.

    Samples of one process are not independent, so the repetition that counts is the outer one
    (Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time", section 6). Resampling so
    few processes would give an interval that is too narrow (Hesterberg 2015, "What teachers should
    know about the bootstrap", section 4.1; measured in `benchmarks/coverage.py`). What the machine
    did to all processes alike is in the median, not in its interval: they are measured in turns.
    With one process its blocks are the outer level.
    """
    outer = processes if len(processes) > 1 else [[block] for block in processes[0]]
    if len(outer) == 1:  # one block says nothing of another
        return float(min(outer[0][0])), float(max(outer[0][0]))
    low, high = mean_interval([log(median([run])) for run in outer])
    middle = median(processes)  # the figure shown must never be outside
    return min(exp(low), middle), max(exp(high), middle)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of at least two independent values."""
    n = len(values)
    centre, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    half = student(n - 1) * spread / sqrt(n)
    return centre - half, centre + half


@cache
def student(df: int) -> float:
    """The 97.5 % quantile of Student's t with `df` degrees of freedom."""
    low, high = 0.0, 100.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if student_within(middle, df) < 0.95 else (low, middle)
    return (low + high) / 2


def student_within(t: float, df: int) -> float:
    """P(|T| <= t): Abramowitz and Stegun 26.7.3 (odd df) and 26.7.4 (even df)."""
    angle = atan(t / sqrt(df))
    term = total = cos(angle) if df % 2 else 1.0
    for i in range(3 if df % 2 else 2, df - 1, 2):
        term *= cos(angle) ** 2 * (i - 1) / i
        total += term
    if df % 2 == 0:
        return sin(angle) * total
    return 2 / pi * (angle + (sin(angle) * total if df > 1 else 0.0))


def ratio(over: Sequence[Sequence[int]], under: Sequence[Sequence[int]]) -> float:
    """How many times longer `over` takes than `under`, from their blocks taken in turns: the centre
    (Hodges-Lehmann, of the logarithms) over pairs of neighbouring blocks of the ratio of their 10th
    percentiles.

    What the machine does for longer than a block it does to both, and what it does to one block
    falls out. The 10th percentile is nearer than the median to what the network itself takes, for
    interruptions only ever add (Chen and Revels 2016, "Robust benchmarking in noisy environments");
    unlike the minimum it is no single call. It halves the scatter (`docs/architecture.md`).
    """
    pairs = zip(over, under, strict=False)
    logs = [log(undisturbed(a) / undisturbed(b)) for a, b in pairs]
    return exp(float(np.median(_walsh_averages(logs))))


def _walsh_averages(values: Sequence[float]) -> NDArray[np.float64]:
    """The means of all pairs of values, each with itself too: their median is the Hodges-Lehmann
    estimate of the centre, as little moved by wild values as the median and with less scatter."""
    array = np.asarray(values, np.float64)
    return ((array[:, None] + array[None, :]) / 2)[np.triu_indices(len(array))]


def undisturbed(block: Sequence[int]) -> float:
    """The 10th percentile: about what a call takes that nothing interrupts."""
    return float(np.quantile(np.asarray(block, np.float64), 0.1))


def signed_rank_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The Hodges-Lehmann estimate of the centre of values spread symmetrically around it, and its
    95 % interval by the Wilcoxon signed-rank test: (estimate, low, high).

    The interval holds whatever the distribution, and one wild value in ten does not move it
    (Hollander, Wolfe and Chicken, "Nonparametric statistical methods", sections 3.2 and 3.3).
    Fewer than six values have no such interval: it is then without ends.
    """
    walsh = np.sort(_walsh_averages(values))
    middle, out = float(np.median(walsh)), _walsh_left_out(len(values))
    if out is None:
        return middle, float("-inf"), float("inf")
    return middle, float(walsh[out]), float(walsh[-1 - out])


def signed_rank_p(values: Sequence[float]) -> float:
    """The one-sided p of the Wilcoxon signed-rank test: how probable it is that values spread
    symmetrically around 0 have their larger ones above it as clearly as these. Exact for up to
    `_EXACT` values; of more it is that of the normal distribution, whose far tail is the larger."""
    array = np.asarray(values, np.float64)
    n = len(array)
    ranks = np.argsort(np.argsort(np.abs(array))) + 1
    above = int(ranks[array > 0].sum())
    return _exact_p(n, above) if n <= _EXACT else _normal_p(n, above)


def _exact_p(n: int, above: int) -> float:
    return float(sum(_signed_rank_counts(n)[above:]) / 2**n)


def _normal_p(n: int, above: int) -> float:
    """With the correction for continuity (Hollander, Wolfe and Chicken, section 3.1)."""
    centre, spread = _signed_rank_moments(n)
    return erfc((above - 0.5 - centre) / spread / sqrt(2)) / 2


def _signed_rank_moments(n: int) -> tuple[float, float]:
    """Mean and standard deviation of the sum of the ranks of the positive values."""
    return n * (n + 1) / 4, sqrt(n * (n + 1) * (2 * n + 1) / 24)


def benjamini_hochberg(ps: Sequence[float], rate: float) -> list[bool]:
    """Which of several tests to believe, so that of those believed at most the share `rate` is
    false (Benjamini and Hochberg 1995, "Controlling the false discovery rate")."""
    order = np.argsort(ps)
    believed = [rank for rank, i in enumerate(order, 1) if ps[i] <= rate * rank / len(ps)]
    last = max(believed, default=0)
    chosen = set(order[:last].tolist())
    return [i in chosen for i in range(len(ps))]


@cache
def _signed_rank_counts(n: int) -> list[int]:
    """How many subsets of the ranks 1..n have each sum: the null distribution of the test. Asked
    for no more than `_EXACT` ranks, so what is kept is small."""
    counts = [1] + [0] * (n * (n + 1) // 2)
    for rank in range(1, n + 1):
        for total in range(len(counts) - 1, rank - 1, -1):
            counts[total] += counts[total - rank]
    return counts


def _walsh_left_out(n: int) -> int | None:
    """How many of the sorted Walsh averages lie outside the interval at each end: the most that
    leave at least 95 % inside. None when even all of them hold less."""
    return _exactly_left_out(n) if n <= _EXACT else _normally_left_out(n)


def _exactly_left_out(n: int) -> int | None:
    tail, out = 0, None
    for total, count in enumerate(_signed_rank_counts(n)):
        tail += count
        if 40 * tail > 2**n:
            break
        out = total
    return out


def _normally_left_out(n: int) -> int:
    centre, spread = _signed_rank_moments(n)
    return floor(centre - 0.5 - Z95 * spread)


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


def paired_difference(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, float]:
    """95 % interval, in percentage points, of the difference of two proportions (after - before)
    of the same things: what changed both ways decides, as in McNemar's test (Bonett and Price 2012,
    "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data", formula 4)."""
    n = len(before)
    gained = (int((after & ~before).sum()) + 1) / (n + 2)
    lost = (int((before & ~after).sum()) + 1) / (n + 2)
    half = Z95 * sqrt((gained + lost - (gained - lost) ** 2) / (n + 2))
    low, value, high = (
        gained - lost - half,
        float(after.mean() - before.mean()),
        gained - lost + half,
    )
    return 100 * max(-1.0, min(low, value)), 100 * min(1.0, max(high, value))


def bootstrap(
    figures: Callable[[NDArray[np.int64]], Sequence[float]],
    n: int,
    values: Sequence[float],
    repeats: int = 500,
) -> list[tuple[float, float]]:
    """95 % intervals of figures of n things, by drawing the things anew with replacement: the
    percentile interval, moved by the bias. `figures` takes how often each was drawn, `values` are
    they with each once and are never outside.

    Drawings of images have a higher mAP and a lower mIoU than the images themselves. The mean of
    the drawings less the value estimates that bias (Efron and Tibshirani 1993, "An introduction to
    the bootstrap", chapter 10; percentiles: chapter 13), and the interval is moved back by it. That
    is not all of it: on drawings of 64 images of COCO as samples, YOLOX-Nano's interval holds the
    mAP of the 64 in 82 % of 60 (not moved: 70 %), DeepLab's mIoU on VOC in 92 % of 200 (91 %).
    """
    rng = np.random.default_rng(0)
    drawn = np.asarray([figures(rng.multinomial(n, np.full(n, 1 / n))) for _ in range(repeats)])
    bias = drawn.mean(axis=0) - np.asarray(values)
    lows, highs = np.quantile(drawn, [0.025, 0.975], axis=0) - bias
    return [
        (min(float(low), value), max(float(high), value))
        for low, high, value in zip(lows, highs, values, strict=True)
    ]
