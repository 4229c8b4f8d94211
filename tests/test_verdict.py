"""VALID, NOISY or INVALID: each thing that speaks against a number, alone."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from bench import stats
from bench.records import Load, Measurement, Procedure
from bench.verdict import judge
from tests.builders import blocks_ns, measurement

QUIET = Load(10**9, 99 * 10**7, 0, 0, 3, 0)
CALM = {"noise": 0.001, "blocks": 10}


def judged(found: Measurement, **how: Any) -> tuple[str, list[str]]:
    blocks = [run.blocks_ns for run in found.processes]
    return judge(found, stats.median_interval(blocks), Procedure(**how))


def loaded(**load: Any) -> Measurement:
    """A calm measurement with a load in each process."""
    calm = measurement(processes=4, **CALM)
    with_load = replace(QUIET, **load)
    return replace(calm, processes=tuple(replace(run, load=with_load) for run in calm.processes))


def test_nothing_speaks_against_a_calm_measurement() -> None:
    assert judged(loaded()) == ("VALID", [])


@pytest.mark.parametrize(
    ("load", "word"),
    [
        ({"other_cpu_ns": 10**9}, "other processes used 100% of a CPU"),
        ({"steal_ns": 5 * 10**7}, "steal"),
        ({"switches": 1000}, "lost its core"),
        ({"throttled": 1}, "hot"),
        ({"quota_ns": 5 * 10**8}, "CPU quota stopped it for 50% of the time"),
    ],
)
def test_what_the_machine_did_is_noisy(load: dict[str, int], word: str) -> None:
    verdict, reasons = judged(loaded(**load))
    assert verdict == "NOISY"
    assert [word in reason for reason in reasons] == [True]


def test_what_the_system_does_not_tell_of_itself_is_no_reason() -> None:
    unknown = {"steal_ns": None, "throttled": None, "quota_ns": None}
    assert judged(loaded(**unknown)) == ("VALID", [])


def test_a_machine_whose_other_processes_cannot_be_seen_is_never_beyond_doubt() -> None:
    verdict, reasons = judged(loaded(other_cpu_ns=None))
    assert verdict == "NOISY"
    assert reasons == ["what other processes did meanwhile cannot be seen on this system"]


def test_one_process_says_nothing_of_others() -> None:
    calm = loaded()
    verdict, reasons = judged(replace(calm, processes=calm.processes[:1]))
    assert verdict == "NOISY"
    assert [reason for reason in reasons if "how far fresh ones differ is not known" in reason]


def test_an_interval_that_missed_by_a_hair_does_not_read_as_the_one_wanted() -> None:
    calm = loaded()
    half_width = stats.relative_half_width(
        stats.median_interval([run.blocks_ns for run in calm.processes])
    )
    verdict, (reason,) = judged(calm, rel_error=0.9999 * half_width)
    found, wanted = re.findall(r"±([\d.]+)%", reason)
    assert verdict == "NOISY"
    assert float(found) == pytest.approx(100 * half_width, abs=0.0005)
    assert found != wanted


def test_an_interval_that_was_not_reached_is_noisy_and_a_wide_one_invalid() -> None:
    apart = [measurement(i, processes=1, centre_ns=1e6 * (1 + 0.01 * i), **CALM) for i in range(4)]
    runs = tuple(found.processes[0] for found in apart)
    verdict, reasons = judged(replace(apart[0], processes=runs))
    assert verdict == "NOISY"
    assert "95 % interval" in reasons[0]
    wide = tuple(
        replace(run, blocks_ns=blocks_ns(i, centre_ns=1e6 * (1 + 0.2 * i), **CALM))
        for i, run in enumerate(runs)
    )
    verdict, reasons = judged(replace(apart[0], processes=wide))
    assert verdict == "INVALID"
    assert any("fresh processes differ" in reason for reason in reasons)


def test_a_warm_up_that_never_settled_is_unstable() -> None:
    calm = loaded()
    runs = (replace(calm.processes[0], stable=False), *calm.processes[1:])
    verdict, reasons = judged(replace(calm, processes=runs))
    assert verdict == "NOISY"
    assert "UNSTABLE" in reasons[0]
    assert "1 of 4" in reasons[0]


@pytest.mark.parametrize(("canary", "word"), [(True, "machine"), (False, "network itself")])
def test_a_canary_tells_the_machine_from_the_network(canary: bool, word: str) -> None:
    steps = [(1_500_000,) if i % 3 else (1_000_000,) for i in range(12)]
    moved = tuple(steps) if canary else ((10_000,),) * 12
    runs = tuple(
        replace(run, blocks_ns=tuple(steps), canary_ns=moved) for run in loaded().processes
    )
    verdict, reasons = judged(replace(loaded(), processes=runs))
    assert verdict != "VALID"
    assert any(word in reason for reason in reasons)


@pytest.mark.parametrize(("canary", "word"), [(True, "machine"), (False, "network itself")])
def test_a_drift_is_told(canary: bool, word: str) -> None:
    rising = tuple((int(1e6 * (1 + 0.007 * i)),) * 5 for i in range(12))
    beside = rising if canary else ((10_000,),) * 12
    runs = tuple(replace(run, blocks_ns=rising, canary_ns=beside) for run in loaded().processes)
    verdict, reasons = judged(replace(loaded(), processes=runs))
    assert verdict == "NOISY"
    assert "drifted by +" in reasons[0]
    assert word in reasons[0]


def with_a_call_of(seconds: float) -> Measurement:
    """A calm measurement, one of whose calls took so long."""
    calm = loaded()
    first, *others = calm.processes
    block, *blocks = first.blocks_ns
    stalled = ((*block[:-1], int(seconds * 1e9)), *blocks)
    load = replace(QUIET, wall_ns=QUIET.wall_ns + int(seconds * 1e9), other_cpu_ns=10**9)
    return replace(calm, processes=(replace(first, blocks_ns=stalled, load=load), *others))


def test_a_call_that_took_most_of_the_time_is_told() -> None:
    """As where the one counter jumps that all clocks count on: by such a time others' load is
    nothing."""
    verdict, reasons = judged(with_a_call_of(40.0))
    assert verdict == "NOISY"
    assert [reason for reason in reasons if "one call took 40 s, 94% of all the time" in reason]
    # Slow calls that are as usual are none.
    slow = measurement(processes=4, **{**CALM, "centre_ns": 5e8, "samples": 1, "blocks": 2})
    assert judged(slow) == ("VALID", [])
