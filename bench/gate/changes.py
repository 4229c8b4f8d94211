"""Change points in a series of nightly values.

E-divisive means (Matteson and James 2014, "A nonparametric approach for multiple change point
analysis of multivariate data"): the split of a stretch that maximises the energy distance between
its two sides, then the same in each side; with Student's t-test in place of permutations, which is
deterministic (Fleming et al. 2023, "Hunter: using change point detection to hunt for performance
regressions"; Apache Otava). The package apache-otava does the same; it pins numpy, scipy and
database clients, which a benchmark cannot.
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
#: A change is believed below this p, shared out among all places where it might have been.
P = 0.01


@dataclass(frozen=True)
class Change:
    """`index` is the first value after the change, `shift` the difference of the means."""

    index: int
    shift: float


def find(values: Sequence[float], least_shift: float) -> list[Change]:
    """The changes of at least `least_shift`, in order; none in a series shorter than LENGTH."""
    array = np.asarray(values, np.float64)
    if len(array) < LENGTH:
        return []
    splits = sorted(_divide(array, 0, len(array), least_shift))
    edges = [0, *splits, len(array)]
    return [
        Change(at, float(array[at:after].mean() - array[before:at].mean()))
        for before, at, after in zip(edges, splits, edges[2:], strict=False)
    ]


def _divide(array: NDArray[np.float64], start: int, end: int, least_shift: float) -> list[int]:
    stretch = array[start:end]
    at = _best_split(stretch)
    if at is None:
        return []
    left, right = stretch[:at], stretch[at:]
    if abs(right.mean() - left.mean()) < least_shift or (
        welch_p(left, right) > P / (len(stretch) - 2 * SIDE + 1)
    ):
        return []
    middle = start + at
    return [
        *_divide(array, start, middle, least_shift),
        middle,
        *_divide(array, middle, end, least_shift),
    ]


def _best_split(values: NDArray[np.float64]) -> int | None:
    """Where the energy statistic of the two sides is largest (equation 5 of Matteson and James,
    with exponent 1)."""
    n = len(values)
    distances = np.abs(values[:, None] - values[None, :])
    best, where = 0.0, None
    for at in range(SIDE, n - SIDE + 1):
        left, right = at, n - at
        between = 2 * distances[:at, at:].mean()
        within = distances[:at, :at].sum() / (left * (left - 1))
        within += distances[at:, at:].sum() / (right * (right - 1))
        energy = left * right / n * (between - within)
        if energy > best:
            best, where = float(energy), at
    return where


def welch_p(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Two-sided p of Welch's t-test; its degrees of freedom rounded down."""
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if va + vb == 0:
        return 0.0 if a.mean() != b.mean() else 1.0
    t = abs(float(a.mean() - b.mean())) / sqrt(va + vb)
    df = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    return 1 - stats.student_within(t, max(1, int(df)))
