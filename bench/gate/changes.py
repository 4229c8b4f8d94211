"""Change points in a series of nightly values.

E-divisive means (Matteson and James 2014, "A nonparametric approach for multiple change point
analysis of multivariate data"): the split of a stretch that maximises the energy distance between
its two sides, then the same in each side; with Student's t-test in place of permutations, which is
deterministic (Fleming et al. 2023, "Hunter: using change point detection to hunt for performance
regressions"; Apache Otava). The package apache-otava does the same; it pins numpy, scipy and
database clients, which a benchmark cannot.

A change that was soon taken back hides itself: seen from far away its two sides are alike, and
where the first split is not believed, nothing below it is looked at. So, as Hunter does, the series
is first split wherever there may be a change, by a lenient p (its weak change points); then the
least certain is taken away, again and again, until each that is left passes the strict test between
its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from bench import stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Values that each side of a change must have, and that a series needs to be looked at.
SIDE = 4
LENGTH = 12
#: A change is believed below this p, shared out among all places where it might have been. It is a
#: third of one in a hundred, for its neighbours were chosen too: of 2,000 quiet series of a length,
#: 0.3 % (12 nights), 0.9 % (40), 1.1 % (80) and 0.5 % (160) have a change, of whatever size.
P = 0.003
#: A change is worth a second look below this p (ten times the strict one, as in Hunter).
WEAK_P = 10 * P


@dataclass(frozen=True)
class Change:
    """`index` is the first value after the change, `shift` the difference of the means, `p` that
    of the test between the changes before and after it."""

    index: int
    shift: float
    p: float


def find(values: Sequence[float], least_shift: float) -> list[Change]:
    """The changes of at least `least_shift`, in order; none in a series shorter than LENGTH."""
    array = np.asarray(values, np.float64)
    if len(array) < LENGTH:
        return []
    most = P / (len(array) - 2 * SIDE + 1)
    splits = _weak(array, 0, len(array))
    while True:
        found = _between_neighbours(array, splits)
        doubtful = [each for each in found if each.p > most or abs(each.shift) < least_shift]
        if not doubtful:
            return found
        worst = max(doubtful, key=lambda each: each.p)
        splits = [each.index for each in found if each is not worst]


def _weak(array: NDArray[np.float64], start: int, end: int) -> list[int]:
    """Where there may be a change, in order."""
    at = _best_split(array[start:end])
    if at is None or welch_p(array[start : start + at], array[start + at : end]) > WEAK_P:
        return []
    middle = start + at
    return [*_weak(array, start, middle), middle, *_weak(array, middle, end)]


def _between_neighbours(array: NDArray[np.float64], splits: Sequence[int]) -> list[Change]:
    """The changes at these splits, each moved to the best place between its neighbours: it was
    found when others on its sides were not known yet, or were some that have been taken away."""
    edges = [0, *splits, len(array)]
    for i in range(1, len(edges) - 1):
        edges[i] = edges[i - 1] + (
            _best_split(array[edges[i - 1] : edges[i + 1]]) or edges[i] - edges[i - 1]
        )
    found = []
    for before, at, after in zip(edges, edges[1:], edges[2:], strict=False):
        left, right = array[before:at], array[at:after]
        found.append(Change(at, float(right.mean() - left.mean()), welch_p(left, right)))
    return found


def _best_split(values: NDArray[np.float64]) -> int | None:
    """Where the energy statistic of the two sides is largest (equation 5 of Matteson and James,
    with exponent 1); None where there is no room for two sides, and where all is one value."""
    n = len(values)
    if n < 2 * SIDE:
        return None
    left = np.arange(SIDE, n - SIDE + 1)
    right = n - left
    # The sum of the distances among the first i values and the first j of them, at [i - 1, j - 1].
    sums = np.abs(values[:, None] - values[None, :]).cumsum(axis=0).cumsum(axis=1)
    within_left = sums[left - 1, left - 1]
    between = sums[left - 1, -1] - within_left
    within_right = sums[-1, -1] - within_left - 2 * between
    energy = 2 * between / (left * right)
    energy -= within_left / (left * (left - 1)) + within_right / (right * (right - 1))
    energy *= left * right / n
    best = int(energy.argmax())
    return int(left[best]) if energy[best] > 0 else None


def welch_p(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Two-sided p of Welch's t-test; its degrees of freedom rounded down."""
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if va + vb == 0:
        return 0.0 if a.mean() != b.mean() else 1.0
    t = abs(float(a.mean() - b.mean())) / sqrt(va + vb)
    df = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    return 1 - stats.student_within(t, max(1, int(df)))
