"""`bench doctor --noise`: what a comparison of the canary with itself says of the machine."""

from __future__ import annotations

from math import exp, sqrt
from typing import Any

import numpy as np
import pytest

from bench import comparison, noise, stats
from bench.comparison import Comparison, Pair, Rules
from bench.records import Load

QUIET = Load(10**9, 10**9, 0, 0, 0, 0)
UNUSED: Any = None


def compared(shifts: list[float], seconds: float = 30.0) -> Comparison:
    """Pairs of which B takes so much longer, each a log of the ratio."""
    steady = tuple(range(990_000, 1_010_000, 1000))
    pairs = [
        Pair((steady,) * 4, (tuple(int(ns * exp(shift)) for ns in steady),) * 4, (QUIET, QUIET))
        for shift in shifts
    ]
    return Comparison(UNUSED, UNUSED, Rules(), pairs, seconds)


def test_a_machine_without_noise_promises_all() -> None:
    told = noise.expectations(compared([0.0] * 10), compared([0.0] * 12))
    assert told["pairs"] == 22
    assert told["blocks_ms"] == pytest.approx([1, 1], rel=0.01)
    for name in ("block_spread_percent", "run_half_width_percent"):
        assert told[name] == pytest.approx(0, abs=1e-6)
    assert [*told["comparison_half_width_percent"].values()] == pytest.approx([0, 0], abs=1e-3)
    assert told["reasons"] == []


def test_the_interval_is_that_of_so_many_pairs_as_fit() -> None:
    """Ten pairs of half a minute, so twenty in a minute and sixty in three."""
    told = noise.expectations(compared([0.01, -0.01] * 5), compared([0.004, -0.004] * 5))
    spread = 0.01 * sqrt(10 / 9)
    for seconds, n in (("60", 20), ("180", 60)):
        half = 100 * stats.student(n - 1) * 0.4 * spread / sqrt(n)
        assert told["comparison_half_width_percent"][seconds] == pytest.approx(half, rel=0.01)
    run = 100 * stats.student(4) * spread / sqrt(2) / sqrt(5)
    assert told["run_half_width_percent"] == pytest.approx(run, rel=0.01)


def test_what_is_promised_is_what_a_comparison_then_has() -> None:
    rng = np.random.default_rng(0)
    told = noise.expectations(compared([0.0] * 9), compared(rng.normal(0, 0.01, 200).tolist(), 600))
    half = np.mean([
        (high - low) / 2
        for _, low, high in (
            stats.signed_rank_interval(rng.normal(0, 0.01, 20).tolist()) for _ in range(200)
        )
    ])  # fmt: skip
    promised = told["comparison_half_width_percent"]["60"]
    assert promised == pytest.approx(100 * half, rel=0.15)


@pytest.mark.parametrize(("pairs", "status"), [(2, 2), (3, 0)])
def test_too_few_pairs_say_nothing(
    bench: Any, monkeypatch: pytest.MonkeyPatch, pairs: int, status: int
) -> None:
    asked: list[Rules] = []
    twins: list[bool] = []

    def compare(a: Any, b: Any, rules: Rules, *_: object) -> Comparison:
        twins.append(a.asked == b.asked)
        asked.append(rules)
        return compared([0.01, -0.01, 0.0, 0.02][:pairs], rules.max_seconds)

    monkeypatch.setattr(noise, "call", lambda *_: None)
    monkeypatch.setattr(comparison, "compare", compare)
    ran = bench("doctor", "--noise", "--seconds", "7", "--threads", "1", "--json")
    assert ran.status == status
    assert (asked[0].max_seconds, asked[0].early) == (3.5, False)
    if status:
        assert "7 s are too short to say anything: raise --seconds" in ran.err
    else:
        assert (ran.json["threads"], ran.json["seconds"], ran.json["pairs"]) == (1, 7, 6)
        assert twins == [False, True], "as the processes of a run, and as those of a comparison"
        shown = bench("doctor", "--noise", "--seconds", "7")
        assert shown.status == 0
        assert max(map(len, shown.out.splitlines())) <= 80
