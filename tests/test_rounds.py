"""The loop that measures: whose turn it is, when it stops, and what it keeps. The processes are
made up, and answer at once."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bench import comparison, rounds
from bench.messages import Block, Finish, Observed, Sampled, Turned, Turns, Warmed, WarmUp
from bench.records import Load, Measurement, Procedure
from bench.stages.turns import LEAST_TURNS
from bench.targets import select
from bench.timing import Deadline
from tests.builders import ENVIRONMENT, job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
    steps_ns: Sequence[int] = (2_000_000, 2_000_000, 2_000_000)
    load: Load = QUIET

    def __post_init__(self) -> None:
        self.started: list[int] = []
        self.turns: list[int] = []
        self.first: list[int] = []
        self.seconds: set[float] = set()
        self.uncounted: set[int] = set()
        self.asked_seconds: set[float] = set()

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

    def tell(self, command: Turns) -> None:
        self._told = command

    def answer(self, kind: type, deadline: Deadline) -> Any:
        if kind is not Turned:
            return None
        if self._told.first:
            self._blocks.first.append(self._i)
        self._blocks.uncounted.add(self._told.uncounted)
        self._blocks.asked_seconds.add(self._told.seconds)
        turns = [self._blocks.sampled(self._i, self._told.block_seconds)] * LEAST_TURNS
        return Turned(tuple(turn.block_ns for turn in turns))

    def ask(self, command: Any, kind: type, deadline: Deadline) -> Any:
        if isinstance(command, WarmUp):
            warmup_ns = (self._blocks.steps_ns[self._i],)
            return Warmed(load_ns=7 + self._i, first_ns=5, warmup_ns=warmup_ns, stable=True)
        if isinstance(command, Block):
            return self._blocks.sampled(self._i, command.seconds)
        assert isinstance(command, Finish)
        return Observed(ENVIRONMENT, 100 + self._i, self._blocks.load)


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
        assert run.warmup_ns == (2_000_000, *[int(2 * (1.0e6 + 1e5 * i))] * n)
        assert run.canary_ns == ((500_000,),) * n
        assert (run.load_ns, run.first_ns, run.peak_rss_bytes) == (7 + i, 5, 100 + i)
        assert run.load == QUIET
    assert found.canary == "ab" * 32


def test_a_canary_that_did_not_sing_is_none(measured: Any) -> None:
    assert measured(Blocks(sings=False)).canary is None


# A pair of a comparison.

#: What each of two sees: itself, and the other one as well.
BESIDE = replace(QUIET, other_cpu_ns=10**9, switches=70, throttled=3)
ONE_THREAD = replace(comparison.PROCEDURE, threads=1)


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Callable[..., comparison.Pair]:
    """`pair(blocks, seed)`: the first pair of a comparison, on made processes; each spell of turns
    is taken at once, so as often as has to be. `on_pair` may have more of them."""
    monkeypatch.setattr(comparison, "TURNS_SECONDS", 0.0)
    monkeypatch.setattr(comparison.sides, "same_inputs", lambda a, b: (a, b))
    started: list[Blocks] = []

    @contextmanager
    def start(a: Any, b: Any, order: list[int], patience: Any) -> Iterator[dict[int, Any]]:
        yield {i: started[-1].child(i) for i in order}

    monkeypatch.setattr(comparison.pairs, "started", start)

    def measure(
        blocks: Blocks,
        seed: int = 0,
        targets: Sequence[str] = ("null-fp32", "null-fp32"),
        sizes: Sequence[int] = (1000, 1000),
        how: Procedure = ONE_THREAD,
        on_pair: Callable[[comparison.Comparison], None] | None = None,
    ) -> comparison.Pair:
        two: Any = [
            SimpleNamespace(
                job=replace(job(), target=select([target], {})[0], procedure=how),
                asked=SimpleNamespace(python=None),
                timed=SimpleNamespace(built=SimpleNamespace(bytes=size)),
            )
            for target, size in zip(targets, sizes, strict=True)
        ]
        started.append(blocks)
        rules = comparison.Rules(max_seconds=60 if on_pair else 1e-9, early=False, seed=seed)
        return comparison.compare(*two, rules, on_pair or (lambda _: None)).pairs[0]

    return measure


def test_the_two_of_a_pair_take_turns(pair: Any) -> None:
    blocks = Blocks((1.0e6, 1.1e6), load=BESIDE)
    found = pair(blocks)
    assert len(found.a_ns) == len(found.b_ns)
    assert 0 <= len(found.a_ns) - comparison.ENOUGH_TURNS < LEAST_TURNS
    assert set(blocks.first) == {0, 1}
    assert len(blocks.first) * LEAST_TURNS == len(found.a_ns), "one of the two begins each time"
    assert blocks.seconds == {comparison.BLOCK_SECONDS}
    assert found.log_ratio == pytest.approx(0.0953, abs=0.0001), "log(1.1), whoever came first"
    quiet, other = found.loads
    assert quiet == replace(BESIDE, other_cpu_ns=0, switches=0), "the other one is no stranger"
    assert other == replace(quiet, throttled=None), "and is no second time hot"


SLOW_NS, CALL_NS = (
    round(seconds * 1e9) for seconds in (comparison.SLOW_SECONDS, comparison.CALL_SECONDS)
)
ORT, OPENVINO, T4 = "cpu-ort-fp32", "cpu-openvino-fp32", "t4-fp16"


@pytest.mark.parametrize(
    ("steps_ns", "targets", "sizes", "threads", "by_call"),
    [
        ((SLOW_NS, SLOW_NS), (ORT, ORT), (1000, 1000), 2, True),
        ((SLOW_NS, 9 * SLOW_NS), (ORT, ORT), (1000, 9000), 2, True),
        # What the first call after the other's takes longer, it takes of both sides or of none.
        ((SLOW_NS - 1, 9 * SLOW_NS), (ORT, ORT), (1000, 1000), 2, False),
        ((SLOW_NS, SLOW_NS), (ORT, OPENVINO), (1000, 1000), 2, False),
        ((SLOW_NS, SLOW_NS), (T4, T4), (1000, 1000), 2, False),
        # Of a short call it is a larger share.
        ((CALL_NS, CALL_NS), (ORT, ORT), (1000, 1200), 1, True),
        ((CALL_NS, CALL_NS), (ORT, ORT), (1000, 1300), 1, False),
        ((CALL_NS, 2 * CALL_NS), (ORT, ORT), (1000, 1000), 1, False),
        ((CALL_NS - 1, CALL_NS), (ORT, ORT), (1000, 1000), 1, False),
        # Several threads wait for each other after each call, which pauses.
        ((CALL_NS, CALL_NS), (ORT, ORT), (1000, 1000), 2, False),
    ],
    ids=[
        "slow",
        "slower",
        "one-of-two",
        "two-runtimes",
        "gpu",
        "short",
        "two-sizes",
        "two-speeds",
        "too-short",
        "two-threads",
    ],
)
def test_what_is_compared_call_by_call(
    pair: Any,
    steps_ns: tuple[int, int],
    targets: tuple[str, str],
    sizes: tuple[int, int],
    threads: int,
    by_call: bool,
) -> None:
    blocks = Blocks((1.0e6, 1.0e6), steps_ns=steps_ns)
    pair(blocks, targets=targets, sizes=sizes, how=replace(ONE_THREAD, threads=threads))
    assert blocks.seconds == {0.0 if by_call else comparison.BLOCK_SECONDS}
    assert blocks.uncounted == {int(by_call)}


def test_a_warm_up_that_was_disturbed_makes_no_network_slow(pair: Any) -> None:
    """On a busy machine those of one network differ by more than a quarter in every fifth pair."""
    steps = [(CALL_NS, 2 * CALL_NS), (3 * CALL_NS, CALL_NS), (CALL_NS, 2 * CALL_NS)]
    blocks = Blocks((1.0e6, 1.0e6), steps_ns=steps[0])
    ways: list[set[float]] = []

    def on_pair(found: comparison.Comparison) -> None:
        ways.append(set(blocks.seconds))
        blocks.seconds.clear()
        if len(found.pairs) < len(steps):
            blocks.steps_ns = steps[len(found.pairs)]
        else:
            found.seconds = inf

    pair(blocks, targets=(ORT, ORT), on_pair=on_pair)
    assert ways == [{comparison.BLOCK_SECONDS}, {0.0}, {0.0}]


def test_of_calls_that_take_long_all_count(pair: Any) -> None:
    long_ns = round(comparison.LONG_SECONDS * 1e9)
    blocks = Blocks((1.0e6, 1.0e6), steps_ns=(long_ns, long_ns))
    pair(blocks, targets=(ORT, ORT))
    assert (blocks.seconds, blocks.uncounted) == ({0.0}, {0})


def test_turns_that_come_slowly_have_an_end(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "MOST_TURNS_SECONDS", 0.0)
    found = pair(Blocks((1e6, 1e6)))
    assert len(found.a_ns) == len(found.b_ns)
    assert 0 <= len(found.a_ns) - comparison.MIN_TURNS < LEAST_TURNS


def test_who_is_started_and_who_is_first_are_drawn(pair: Any) -> None:
    first: Counter[str] = Counter()
    for seed in range(60):
        blocks = Blocks((1e6, 1e6))
        pair(blocks, seed)
        first[f"started {blocks.started[0]}"] += 1
        first[f"timed {blocks.first[0]}"] += 1
    assert len(first) == 4
    assert min(first.values()) >= 15, "of 60, each of the two: 15 to 45 in all but 1 in 10,000"


def test_a_pair_is_asked_for_its_time(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "TURNS_SECONDS", 0.05)
    blocks = Blocks((1e6, 1e6))
    pair(blocks)
    assert blocks.asked_seconds == {0.05}, "at once: a pause between two turns empties the caches"
