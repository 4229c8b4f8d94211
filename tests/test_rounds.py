"""The loop that measures: whose turn it is, when it stops, and what it keeps. The processes are
made up, and answer at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bench import comparison, rounds
from bench.messages import Block, Finish, Observed, Sampled, Warmed, WarmUp
from bench.records import Load, Measurement, Procedure
from bench.targets import select
from bench.timing import Deadline
from tests.builders import ENVIRONMENT, job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

QUIET = Load(10**9, 10**9, 0, 0, 0, 0)
HOW = Procedure(processes=3, min_seconds=0.4, max_seconds=2.0, block_seconds=0.02)
CANARY = SimpleNamespace(built=SimpleNamespace(sha256="ab" * 32))


@dataclass
class Blocks:
    """Made processes: samples of `centre_ns[i]` each, half a percent around it, and whose turn it
    was."""

    centre_ns: Sequence[float] = (1e6, 1e6, 1e6)
    samples: int = 20
    sings: bool = True
    steps_ns: Sequence[int] = (3_000_000, 3_000_000, 3_000_000)

    def __post_init__(self) -> None:
        self.started: list[int] = []
        self.turns: list[int] = []
        self.seconds: set[float] = set()

    def child(self, i: int) -> Any:
        self.started.append(i)
        return _Child(self, i)

    def sampled(self, i: int, seconds: float) -> Sampled:
        self.turns.append(i)
        self.seconds.add(seconds)
        shares = [0.995 + 0.01 * n / self.samples for n in range(self.samples)]
        block = tuple(int(self.centre_ns[i] * share) for share in shares)
        return Sampled((int(2 * self.centre_ns[i]),), block, (500_000,) if self.sings else ())

    @property
    def rounds(self) -> list[tuple[int, ...]]:
        """The turns, in groups of as many as there are processes."""
        n = len(self.started)
        return [tuple(self.turns[at : at + n]) for at in range(0, len(self.turns), n)]


class _Child:
    def __init__(self, blocks: Blocks, i: int) -> None:
        self._blocks, self._i = blocks, i

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None: ...

    def answer(self, kind: type, deadline: Deadline) -> None: ...

    def ask(self, command: Any, kind: type, deadline: Deadline) -> Any:
        if isinstance(command, WarmUp):
            warmup_ns = (self._blocks.steps_ns[self._i],)
            return Warmed(load_ns=7 + self._i, first_ns=5, warmup_ns=warmup_ns, stable=True)
        if isinstance(command, Block):
            return self._blocks.sampled(self._i, command.seconds)
        assert isinstance(command, Finish)
        return Observed(ENVIRONMENT, 100 + self._i, QUIET)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Measurement]:
    """`measured(blocks, procedure)`: what the loop makes of made processes."""

    def measure(blocks: Blocks, how: Procedure = HOW) -> Measurement:
        monkeypatch.setattr(rounds, "Child", lambda *_, **__: blocks.child(len(blocks.started)))
        prepared: Any = SimpleNamespace(timed=None, canary=CANARY, packages=())
        asked = replace(job(), procedure=how)
        return rounds.measure(asked, prepared, Deadline.after(60), lambda _: None)[0]

    return measure


def spent_seconds(found: Measurement) -> float:
    return sum(sum(map(sum, run.blocks_ns)) for run in found.processes) / 1e9


def test_it_stops_when_the_interval_is_narrow(measured: Any) -> None:
    found = measured(Blocks())
    assert found.stopped_by == "interval"
    assert 0.4 <= spent_seconds(found) < 0.4 + 3 * 0.02 + 0.001, "at the first look"


def test_it_stops_at_the_cap_when_processes_disagree(measured: Any) -> None:
    found = measured(Blocks((1.0e6, 1.2e6, 1.5e6)))
    assert found.stopped_by == "cap"
    assert 2.0 <= spent_seconds(found) < 2.0 + 3 * 0.03


def test_it_looks_again_when_there_is_much_more_to_see(
    measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every round it would stop on a lucky one."""
    looked: list[float] = []
    real = rounds._stop

    def stop(taken: Any, how: Procedure, spent: float) -> Any:
        looked.append(spent)
        return real(taken, how, spent)

    monkeypatch.setattr(rounds, "_stop", stop)
    measured(Blocks((1.0e6, 1.2e6, 1.5e6)))
    assert looked[0] >= 0.4
    grown = [after / before for before, after in pairwise(looked)]
    assert min(grown[:-1]) >= rounds.GROWTH, "but for the last one, at the cap"
    assert len(looked) <= 7


def test_a_slow_network_has_its_rounds_whatever_the_cap(measured: Any) -> None:
    found = measured(Blocks((9e9, 9e9, 9e9), samples=1))
    assert [len(run.blocks_ns) for run in found.processes] == [rounds.MIN_ROUNDS] * 3


def test_a_short_measurement_has_short_blocks(measured: Any) -> None:
    blocks = Blocks()
    measured(blocks, replace(HOW, min_seconds=0.05, max_seconds=0.05, block_seconds=0.5))
    assert [*blocks.seconds] == [pytest.approx(0.05 / (3 * rounds.MIN_ROUNDS))]
    assert len(blocks.rounds) >= rounds.MIN_ROUNDS


def test_each_round_gives_every_process_one_block_in_an_order_drawn_by_the_seed(
    measured: Any,
) -> None:
    orders = []
    for seed in (0, 0, 1):
        blocks = Blocks()
        measured(blocks, replace(HOW, seed=seed))
        assert all(sorted(each) == [0, 1, 2] for each in blocks.rounds)
        assert len(set(blocks.rounds)) > 2, "not always the same order"
        orders.append(blocks.rounds)
    assert orders[0] == orders[1] != orders[2]


def test_all_that_the_processes_tell_is_kept(measured: Any) -> None:
    found = measured(Blocks((1.0e6, 1.1e6, 1.2e6)))
    for i, run in enumerate(found.processes):
        n = len(run.blocks_ns)
        assert min(map(min, run.blocks_ns)) == int((1.0e6 + 1e5 * i) * 0.995)
        # The calls that each block began with, which are none of its samples.
        assert run.warmup_ns == (3_000_000, *[int(2 * (1.0e6 + 1e5 * i))] * n)
        assert run.canary_ns == ((500_000,),) * n
        assert (run.load_ns, run.first_ns, run.peak_rss_bytes) == (7 + i, 5, 100 + i)
        assert run.load == QUIET
    assert found.canary == "ab" * 32


def test_a_canary_that_did_not_sing_is_none(measured: Any) -> None:
    assert measured(Blocks(sings=False)).canary is None


# A pair of a comparison.


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Callable[..., comparison.Pair]:
    """`pair(blocks, seed)`: the first pair of a comparison, on made processes; each turn is taken
    at once, so as often as has to be."""
    monkeypatch.setattr(comparison, "TURNS_SECONDS", 0.0)
    monkeypatch.setattr(comparison.sides, "same_inputs", lambda a, b: (a, b))

    def measure(
        blocks: Blocks, seed: int = 0, targets: Sequence[str] = ("null-fp32", "null-fp32")
    ) -> comparison.Pair:
        two: Any = [
            SimpleNamespace(
                job=replace(job(), target=select([target], {})[0]),
                start=lambda i=i, **_: blocks.child(i),
            )
            for i, target in enumerate(targets)
        ]
        rules = comparison.Rules(max_seconds=1e-9, early=False, seed=seed)
        (first,) = comparison.compare(*two, rules).pairs
        return first

    return measure


def test_the_two_of_a_pair_take_turns(pair: Any) -> None:
    blocks = Blocks((1.0e6, 1.1e6))
    found = pair(blocks)
    assert len(found.a_ns) == len(found.b_ns) == comparison.ENOUGH_TURNS
    assert set(blocks.rounds) == {(0, 1), (1, 0)}
    assert blocks.seconds == {comparison.BLOCK_SECONDS}
    assert found.log_ratio == pytest.approx(0.0953, abs=0.0001), "log(1.1), whoever came first"
    assert found.loads == (QUIET, QUIET)


HALF_NS = int(comparison.BLOCK_SECONDS / 2 * 1e9)


@pytest.mark.parametrize(
    ("steps_ns", "targets", "seconds"),
    [
        ((HALF_NS, HALF_NS), ("cpu-ort-fp32", "cpu-ort-fp32"), 0.0),
        # What the first call after the other's takes longer, it takes of both sides or of none.
        ((HALF_NS - 1, 9 * HALF_NS), ("cpu-ort-fp32", "cpu-ort-fp32"), comparison.BLOCK_SECONDS),
        ((HALF_NS, HALF_NS), ("cpu-ort-fp32", "cpu-openvino-fp32"), comparison.BLOCK_SECONDS),
        ((HALF_NS, HALF_NS), ("t4-fp16", "t4-fp16"), comparison.BLOCK_SECONDS),
    ],
    ids=["slow", "one-of-two", "two-runtimes", "gpu"],
)
def test_slow_networks_that_are_run_alike_are_compared_call_by_call(
    pair: Any, steps_ns: tuple[int, int], targets: tuple[str, str], seconds: float
) -> None:
    blocks = Blocks((1.0e6, 1.0e6), steps_ns=steps_ns)
    pair(blocks, targets=targets)
    assert blocks.seconds == {seconds}


def test_turns_that_come_slowly_have_an_end(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "MOST_TURNS_SECONDS", 0.0)
    found = pair(Blocks((1e6, 1e6)))
    assert len(found.a_ns) == len(found.b_ns) == comparison.MIN_TURNS


def test_who_is_started_and_who_is_first_are_drawn(pair: Any) -> None:
    first: Counter[str] = Counter()
    for seed in range(60):
        blocks = Blocks((1e6, 1e6))
        pair(blocks, seed)
        first[f"started {blocks.started[0]}"] += 1
        first[f"timed {blocks.turns[0]}"] += 1
    assert len(first) == 4
    assert min(first.values()) >= 15, "of 60, each of the two: 15 to 45 in all but 1 in 10,000"


def test_a_pair_goes_on_for_its_time(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "TURNS_SECONDS", 0.05)
    found = pair(Blocks((1e6, 1e6)))
    assert len(found.a_ns) == len(found.b_ns) > comparison.ENOUGH_TURNS
