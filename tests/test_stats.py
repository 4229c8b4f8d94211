"""Statistics: what holds for every sample, and the figures that books give."""

from __future__ import annotations

from math import comb, isclose
from time import process_time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import stats
from tests.builders import blocks_ns

SAMPLE = st.integers(1, 10**10)
PROCESSES = st.lists(
    st.lists(st.lists(SAMPLE, min_size=1, max_size=100), min_size=1, max_size=4),
    min_size=1,
    max_size=4,
)
SHARE = st.integers(1, 10**5).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(max_examples=50)
@given(PROCESSES)
def test_interval_holds_the_median(processes: list[list[list[int]]]) -> None:
    low, high = stats.median_interval(processes)
    assert 0 < low <= np.median(stats.pooled(processes)) <= high


def test_interval_of_two_processes_is_the_books() -> None:
    """Student's t with one degree of freedom: 12.7 standard errors to each side."""
    low, high = stats.median_interval([[[100, 100]], [[121, 121]]])
    half = 12.7062 * np.log(1.21) / 2
    assert np.log([low, high]) == pytest.approx([np.log(110) - half, np.log(110) + half], rel=1e-5)


def test_one_process_has_an_interval_from_its_blocks() -> None:
    (one,) = [blocks_ns(0, blocks=12, noise=0.05)]
    low, high = stats.median_interval([one])
    assert 0.9e6 < low < 1e6 < high < 1.1e6


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 9, 10, 30, 199])
def test_student_is_scipys(df: int) -> None:
    from scipy.stats import t

    assert stats.student(df) == pytest.approx(t.ppf(0.975, df), rel=1e-7)


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(0, 10**6))
def test_signed_rank_interval_is_the_tests_own(n: int, seed: int) -> None:
    """A centre lies inside exactly when the signed-rank test at 5 % does not reject it."""
    from scipy.stats import wilcoxon

    values = np.random.default_rng(seed).standard_normal(n)
    estimate, low, high = stats.signed_rank_interval(values.tolist())
    assert low <= estimate <= high
    assert (low == float("-inf")) == (n < 6)
    for centre in (-0.5, 0.0, 0.3):
        rejected = wilcoxon(values - centre, method="exact").pvalue < 0.05 if n > 5 else False
        assert (low <= centre <= high) == (not rejected)


@pytest.mark.parametrize("n", range(40, 61))
def test_the_normal_signed_rank_agrees_with_the_exact_one(n: int) -> None:
    exact, normal = stats._exactly_left_out(n), stats._normally_left_out(n)
    assert exact is not None
    assert abs(exact - normal) <= 1
    centre, spread = stats._signed_rank_moments(n)
    for clear in (0.0, 1.0, 2.0):
        above = int(centre + clear * spread)
        assert stats._normal_p(n, above) == pytest.approx(stats._exact_p(n, above), rel=0.05)
    # Far out it says rather less than there is.
    for above in (int(centre + 3 * spread), n * (n + 1) // 2):
        assert stats._normal_p(n, above) > stats._exact_p(n, above)


def test_thousands_of_pairs_are_looked_at_in_no_time() -> None:
    values = (np.random.default_rng(0).standard_normal(2000) + 0.1).tolist()
    started = process_time()
    estimate, low, high = stats.signed_rank_interval(values)
    p = stats.signed_rank_p(values)
    assert process_time() - started < 1
    assert low < estimate < high
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(2000) * np.sqrt(np.pi / 3), rel=0.1)
    assert 0 < p < 0.001
    assert stats._signed_rank_counts.cache_info().currsize <= 61


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=30), st.floats(-5, 5))
def test_signed_rank_interval_moves_with_its_values(values: list[float], shift: float) -> None:
    here = stats.signed_rank_interval(values)
    there = stats.signed_rank_interval([value + shift for value in values])
    assert there == pytest.approx([bound + shift for bound in here], abs=1e-9)


def test_one_wild_pair_does_not_move_the_estimate() -> None:
    calm = [0.001 * i for i in range(-5, 6)]
    estimate, low, high = stats.signed_rank_interval([*calm, 5.0])
    assert abs(estimate) < 0.002
    assert -0.01 < low < high < 0.01


BLOCKS = st.lists(st.lists(SAMPLE, min_size=1, max_size=20), min_size=1, max_size=10)


@given(BLOCKS, BLOCKS)
def test_ratio_the_other_way_round_is_one_over_it(a: list[list[int]], b: list[list[int]]) -> None:
    n = min(len(a), len(b))
    assert stats.ratio(a[:n], b[:n]) * stats.ratio(b[:n], a[:n]) == pytest.approx(1)


def test_ratio_is_blind_to_what_the_machine_does_to_both() -> None:
    speed = np.repeat([1.0, 1.6, 1.3, 1.0, 2.0], 4)  # a block each
    rng = np.random.default_rng(0)
    a, b = (
        [(1e6 * factor * s * rng.lognormal(0, 0.01, 30)).astype(int).tolist() for s in speed]
        for factor in (1.0, 1.02)
    )
    assert stats.ratio(b, a) == pytest.approx(1.02, abs=0.005)


def test_ratio_is_blind_to_interruptions() -> None:
    calm = [[1000, 1001, 1002, 1003, 1004] for _ in range(9)]
    struck = [[1000, 1001, 5000, 9000, 9999] for _ in range(9)]
    assert stats.ratio(struck, calm) == pytest.approx(1.0, abs=0.001)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.05, 0.5))
def test_interval_is_wider_when_processes_disagree(seed: int, apart: float) -> None:
    agree = [blocks_ns(seed + i) for i in range(4)]
    differ = [
        blocks_ns(seed + i, centre_ns=1e6 * (1 + apart * share))
        for i, share in enumerate((0, 1 / 3, 2 / 3, 1))
    ]
    narrow, wide = (stats.median_interval(runs) for runs in (agree, differ))
    assert stats.relative_half_width(wide) > 2 * stats.relative_half_width(narrow)


def test_more_samples_of_a_process_do_not_hide_that_processes_disagree() -> None:
    """The outer repetition is the one that counts: 100 times the samples, the same interval."""
    widths = [
        stats.relative_half_width(
            stats.median_interval(
                [blocks_ns(i, samples=n, centre_ns=1e6 * (1 + 0.05 * i)) for i in range(4)]
            )
        )
        for n in (40, 4000)
    ]
    assert isclose(widths[0], widths[1], rel_tol=0.2)


def test_interval_in_another_unit_is_the_same_interval() -> None:
    runs = [blocks_ns(i) for i in range(3)]
    larger = [[[1000 * ns for ns in block] for block in run] for run in runs]
    small, large = stats.median_interval(runs), stats.median_interval(larger)
    assert large == pytest.approx([1000 * bound for bound in small])


def test_pooled_keeps_every_sample() -> None:
    assert sorted(stats.pooled([[[3, 1], [2]], [[5]]]).tolist()) == [1, 2, 3, 5]


def test_relative_half_width() -> None:
    assert stats.relative_half_width((90.0, 110.0)) == pytest.approx(0.1)
    assert stats.relative_half_width((5.0, 5.0)) == 0.0
    assert stats.relative_half_width((0.0, 0.0)) == float("inf")


@given(st.floats(1, 1e12), st.floats(0, 1e12))
def test_relative_half_width_is_a_share(low: float, width: float) -> None:
    assert 0 <= stats.relative_half_width((low, low + width)) <= 1


@pytest.mark.parametrize(("q", "n"), [(0.9, 64), (0.99, 662)])
def test_samples_needed_is_the_rule_of_loadgen(q: float, n: int) -> None:
    assert stats.samples_needed(q) == n


@given(st.floats(0.5, 0.995))
def test_samples_needed_is_the_least_number_that_bounds_the_quantile(q: float) -> None:
    def at_most_one_above(n: int) -> float:
        return sum(comb(n, k) * (1 - q) ** k * q ** (n - k) for k in (0, 1))

    n = stats.samples_needed(q)
    assert at_most_one_above(n) <= 0.01 < at_most_one_above(n - 1)


@pytest.mark.parametrize("q", [0.9, 0.99])
def test_percentile_needs_its_samples(q: float) -> None:
    n = stats.samples_needed(q)
    assert stats.percentile(np.arange(n - 1), q) is None
    assert stats.percentile(np.arange(n), q) == pytest.approx(q * (n - 1))


@given(st.lists(SAMPLE, min_size=1, max_size=200))
def test_percentile_is_none_or_among_the_samples(samples: list[int]) -> None:
    found = stats.percentile(np.asarray(samples), 0.9)
    assert (found is None) == (len(samples) < 64)
    assert found is None or min(samples) <= found <= max(samples)


@given(SHARE)
def test_wilson_lies_in_percent_and_holds_the_share(share: tuple[int, int]) -> None:
    correct, n = share
    low, high = stats.wilson(correct, n)
    assert 0 <= low <= 100 * correct / n <= high <= 100


@given(SHARE, st.integers(2, 50))
def test_wilson_is_narrower_with_more_images(share: tuple[int, int], times: int) -> None:
    correct, n = share
    few, many = stats.wilson(correct, n), stats.wilson(times * correct, times * n)
    assert many[1] - many[0] < few[1] - few[0]


@given(SHARE)
def test_wilson_of_the_wrong_ones_is_the_mirror(share: tuple[int, int]) -> None:
    correct, n = share
    low, high = stats.wilson(correct, n)
    mirrored = stats.wilson(n - correct, n)
    assert mirrored == pytest.approx((100 - high, 100 - low), abs=1e-9)


@pytest.mark.parametrize(
    ("correct", "n", "interval"),
    [
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I.
        (81, 263, (25.53, 36.62)),
        (15, 148, (6.24, 16.05)),
        (0, 20, (0.00, 16.11)),
        (1, 29, (0.61, 17.18)),
    ],
)
def test_wilson_as_published(correct: int, n: int, interval: tuple[float, float]) -> None:
    assert stats.wilson(correct, n) == pytest.approx(interval, abs=0.005)


def test_what_doctor_says_that_a_comparison_finds_is_found_in_95_of_100() -> None:
    """With a change and a margin as large as it says, and as many pairs."""
    from statistics import NormalDist

    from bench.comparison import Comparison, Pair, Rules
    from bench.noise import expectations

    n = 24
    scatter = [0.01 * NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]
    pairs = [Pair(((10**9,),), ((round(1e9 * np.exp(x)),),), ()) for x in scatter]
    side: Any = None
    found = Comparison(side, side, Rules(), pairs, seconds=60.0)
    told = expectations(found, found)
    change = told["comparison_finds_percent"]["60"] / 100
    rng = np.random.default_rng(0)
    rules = Rules(margin=change)
    drawn = np.log(1 + change) + np.std(scatter, ddof=1) * rng.standard_normal((1000, n))
    said = [rules.call(stats.signed_rank_interval(ratios.tolist())) for ratios in drawn]
    assert said.count("SLOWER") / len(said) == pytest.approx(0.95, abs=0.025)
