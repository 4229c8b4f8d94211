"""Change points: what one change hides of another, and what is found in noise."""

from __future__ import annotations

import numpy as np
import pytest

from bench.gate import changes

Levels = tuple[tuple[int, float], ...]


def nights(*levels: tuple[int, float], seed: int, noise: float = 0.005) -> list[float]:
    """So many nights at each level, in turn."""
    rng = np.random.default_rng(seed)
    return [level + noise * rng.standard_normal() for n, level in levels for _ in range(n)]


def places(values: list[float]) -> list[int]:
    return [change.index for change in changes.find(values, 0.02)]


def near(found: list[int], wanted: list[int]) -> bool:
    return len(found) == len(wanted) and all(
        abs(mine - other) <= 1 for mine, other in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize(
    "levels",
    [
        ((20, 0.0), (6, -0.05), (10, 0.0)),  # faster for six nights, then a regression
        ((20, 0.0), (6, -0.05), (40, 0.0)),
        ((20, 0.0), (6, 0.05), (20, 0.0)),  # slower, and mended
        ((20, 0.0), (8, 0.05), (20, 0.0)),
        ((20, 0.0), (8, 0.05), (100, 0.0)),
    ],
)
def test_a_change_that_was_taken_back_is_found_with_its_end(levels: Levels) -> None:
    wanted = list(np.cumsum([n for n, _ in levels])[:-1])
    found = [places(nights(*levels, seed=seed)) for seed in range(30)]
    assert sum(near(each, wanted) for each in found) >= 25


def test_what_follows_a_change_is_seen_within_ten_nights() -> None:
    """A regression after six faster nights; a series is looked at every night."""
    for seed in range(20):
        values = nights((20, 0.0), (6, -0.05), (10, 0.0), seed=seed)
        looks = [places(values[:n]) for n in range(30, 37)]
        assert any(near(found, [20, 26]) for found in looks)


def test_slow_growth_is_steps_of_at_least_the_margin() -> None:
    values = nights(*((10, 0.01 * step) for step in range(8)), seed=0, noise=0.001)
    found = changes.find(values, 0.02)
    assert found
    assert all(change.shift >= 0.02 for change in found)


@pytest.mark.parametrize("length", [12, 20, 40, 80])
def test_a_quiet_series_is_silent(length: int) -> None:
    """One series in a hundred has a change of whatever size, none has one of the margin."""
    quiet = [nights((length, 0.0), seed=seed) for seed in range(300)]
    assert sum(bool(changes.find(values, 0.0)) for values in quiet) <= 6
    assert not any(changes.find(values, 0.02) for values in quiet)


def test_the_best_split_is_the_papers() -> None:
    """The energy statistic of every split, written out."""
    values = np.random.default_rng(0).standard_normal(25)

    def energy(at: int) -> float:
        a, b = values[:at], values[at:]
        n, m = len(a), len(b)
        apart = [np.abs(one[:, None] - other[None, :]) for one, other in ((a, b), (a, a), (b, b))]
        mean = 2 * apart[0].mean() - apart[1].sum() / n / (n - 1) - apart[2].sum() / m / (m - 1)
        return float(n * m / (n + m) * mean)

    places = range(changes.SIDE, 25 - changes.SIDE + 1)
    assert changes._best_split(values) == max(places, key=energy)
    assert changes._best_split(values[:7]) is None
    assert changes._best_split(np.ones(20)) is None
