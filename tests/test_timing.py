"""The stopwatch: what is inside the timed region, what is outside, and that there is only one."""

from __future__ import annotations

import ast
import gc
import io
import threading
import time
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench import targets, timing
from bench.errors import StageError
from bench.messages import Block, Finish, Measure, Prepare, WarmUp
from bench.records import Job, Procedure, TensorSpec
from bench.stages import measure as measuring
from bench.stages.prepare import prepare
from bench.teller import Teller
from tests.builders import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT = Path(__file__).parent.parent
MS = 1_000_000
POOL: list[Any] = [{"input": np.full((1, 1), i)} for i in range(3)]


class Fake:
    """A session that takes `step_us` to compute and sleeps before and after; it writes down its
    calls."""

    def __init__(self, *, step_us: int = 200, copy_ms: float = 0.0) -> None:
        self.inputs = [TensorSpec("input", (None, 1), "float32")]
        self.calls: list[str] = []
        self.staged: list[int] = []
        self._step_ns, self._copy_s = step_us * 1000, copy_ms / 1000

    def stage(self, feed: Any) -> None:
        self.calls.append("stage")
        self.staged.append(int(feed["input"][0, 0]))
        if self._copy_s:
            time.sleep(self._copy_s)

    def step(self) -> None:
        self.calls.append("step")
        timing.spin(self._step_ns)

    def fetch(self) -> list[Any]:
        self.calls.append("fetch")
        return []

    def flags(self) -> dict[str, Any]:
        return {}


def watch(sample: Callable[[], int]) -> timing.Stopwatch:
    """A stopwatch whose samples are made up."""
    made = timing.Stopwatch(Fake(), POOL, "device")
    made.sample = sample
    return made


def constant(ns: int = 1000, *, takes_us: int = 100) -> Callable[[], int]:
    """A sample that is always the same."""

    def sample() -> int:
        timing.spin(takes_us * 1000)
        return ns

    return sample


def test_window_device_is_the_step_alone() -> None:
    session = Fake(step_us=1100, copy_ms=4)
    sample = timing.Stopwatch(session, POOL, "device").sample
    samples = [sample() for _ in range(9)]
    assert 1.1 * MS <= median(samples) < 2 * MS
    assert session.calls == ["stage", "step"] * 9


def test_window_io_is_the_copies_too() -> None:
    session = Fake(copy_ms=2)
    sample = timing.Stopwatch(session, POOL, "io").sample
    samples = [sample() for _ in range(9)]
    assert min(samples) > 2.2 * MS
    assert session.calls == ["stage", "step", "fetch"] * 9


@pytest.mark.parametrize("window", ["device", "io"])
def test_the_pool_goes_round(window: Any) -> None:
    session = Fake(step_us=1001)
    sample = timing.Stopwatch(session, POOL, window).sample
    for _ in range(7):
        sample()
    assert session.staged == [0, 1, 2, 0, 1, 2, 0]


def test_short_calls_share_an_input_for_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs between two calls makes the next one slower, by 3 % of 0.1 ms."""
    now = [0]
    monkeypatch.setattr(timing, "_clock", lambda: now[0])
    session = Fake()
    monkeypatch.setattr(session, "step", lambda: now.__setitem__(0, now[0] + MS // 4))
    sample = timing.Stopwatch(session, POOL, "device").sample
    assert [sample() for _ in range(12)] == [MS // 4] * 12
    assert session.staged == [0, 1, 2]


def test_warm_up_ends_when_the_latency_has_settled() -> None:
    slowness = [*range(3000, 1000, -100)]  # 20 samples that become faster, then all the same
    numbers = iter(slowness)

    def sample() -> int:
        timing.spin(200_000)
        return next(numbers, 1000)

    samples, stable = watch(sample).warm_up(0.005, 0.002)
    assert stable
    assert samples[:20] == slowness
    assert set(samples[20:]) == {1000}


def test_warm_up_lasts_as_long_as_asked() -> None:
    with timing.lap() as taken:
        samples, stable = watch(constant()).warm_up(0.05, 0.005)
    assert stable
    assert 0.05 <= taken.seconds < 2
    assert 5 <= len(samples) <= 1000


def test_warm_up_says_when_the_latency_keeps_growing() -> None:
    steps = count()

    def sample() -> int:
        timing.spin(200_000)
        return int(1000 * 1.05 ** next(steps))

    with timing.lap() as taken:
        samples, stable = watch(sample).warm_up(0.005, 0.002)
    assert not stable
    assert 0.005 * timing.WARM_CAP <= taken.seconds < 2
    assert len(samples) == next(steps)


def slow(monkeypatch: pytest.MonkeyPatch, step_ms: int) -> timing.Stopwatch:
    """A stopwatch whose clock moves by its steps alone."""
    now = 0
    monkeypatch.setattr(timing, "_clock", lambda: now)
    monkeypatch.setattr(timing, "_witnesses", (lambda: now,))

    def sample() -> int:
        nonlocal now
        now += step_ms * MS
        return step_ms * MS

    return watch(sample)


def test_a_step_longer_than_the_cap_is_compared_before_it_is_called_unstable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert slow(monkeypatch, 3100).warm_up(0.3) == ([3100 * MS] * 2, True)


def test_a_short_warm_up_has_short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a comparison's processes, or they would be warmed up for longer than they measure."""
    assert slow(monkeypatch, 10).warm_up(0.03) == ([10 * MS] * 6, True)


def test_warm_up_of_no_time_is_still_a_warm_up() -> None:
    samples, _ = watch(constant()).warm_up(0.0, 0.001)
    assert samples


def test_a_block_lasts_as_long_as_asked_and_drops_its_first_calls() -> None:
    calls = count()

    def sample() -> int:
        timing.spin(50_000)
        return next(calls)

    with timing.lap() as taken:
        dropped, block = watch(sample).block(0.05)
    assert 0.05 + timing.DROPPED_SECONDS[0] <= taken.seconds < 2
    assert len(dropped) >= timing.DROPPED_CALLS
    assert len(dropped) >= 1
    assert [*dropped, *block] == list(range(next(calls)))


def test_no_more_than_needed_is_dropped_of_a_slow_network(monkeypatch: pytest.MonkeyPatch) -> None:
    stopwatch = slow(monkeypatch, 6)
    stopwatch.warm_up(0.0, 0.001)
    assert len(stopwatch.block(0.05)[0]) == 2
    # Nor more than a third of a short block.
    assert len(stopwatch.block(0.015)[0]) == 1


@pytest.mark.parametrize("step", [0, -5])
def test_a_clock_that_does_not_go_forward_is_no_number(step: int) -> None:
    stopped = watch(lambda: step)
    with refused(StageError, "clock"):
        stopped.block(0.001)


def test_a_network_slower_than_a_block_has_one_sample_and_none_dropped() -> None:
    def sample() -> int:
        time.sleep(0.02)
        return 20 * MS

    slow = watch(sample)
    slow.warm_up(0.0, 0.001)
    assert slow.block(0.001) == ([], [20 * MS])
    assert slow.block(0.0) == ([], [20 * MS]), "no time at all is a single call"


@pytest.mark.parametrize(("window", "least"), [("device", 0.2 * MS), ("io", 1.2 * MS)])
def test_samples_are_whole_ns(window: Any, least: float) -> None:
    stopwatch = timing.Stopwatch(Fake(copy_ms=1), POOL, window)
    warmup, _ = stopwatch.warm_up(0.005, 0.002)
    dropped, block = stopwatch.block(0.02)
    for ns in (*warmup, *dropped, *block):
        assert type(ns) is int
        assert ns >= least


def test_nothing_is_collected_while_it_is_timed() -> None:
    gc.enable()
    try:
        timing.Stopwatch(Fake(), POOL, "device")
        assert not gc.isenabled()
    finally:
        gc.enable()


class Workers:
    """The CPU time of a process's threads, of which each nap spends the next of `naps` ms."""

    def __init__(self, naps: Iterable[float]) -> None:
        self._naps = iter(naps)
        self.spent = 0
        self.naps = 0

    def sleep(self, seconds: float) -> None:
        del seconds
        self.spent += int(next(self._naps) * MS)
        self.naps += 1

    def process_time_ns(self) -> int:
        return self.spent


@pytest.mark.parametrize(
    ("naps", "taken"),
    [
        ([0.1, 0.1], 2),
        ([4, 4, 4, 0.1, 0.1], 5),
        # A worker that spins and once got no core is not at rest.
        ([4, 0.1, 4, 4, 0.1, 0.1], 6),
    ],
)
def test_rest_waits_for_threads_that_spin(
    naps: list[float], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = Workers(naps)
    monkeypatch.setattr(timing.time, "sleep", workers.sleep)
    monkeypatch.setattr(timing.time, "process_time_ns", workers.process_time_ns)
    timing.rest()
    assert workers.naps == taken


def test_rest_gives_up_on_threads_that_never_stop() -> None:
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            pass

    worker = threading.Thread(target=spin)
    worker.start()
    try:
        with timing.lap() as waited:
            timing.rest()
    finally:
        stop.set()
        worker.join()
    assert waited.seconds < timing.REST_CAP_SECONDS + 2


def test_a_lap_is_taken_even_of_what_raises() -> None:
    def fail() -> None:
        timing.spin(2 * MS)
        raise KeyError

    with pytest.raises(KeyError), timing.lap() as taken:
        fail()
    assert taken.ns >= 2 * MS
    assert taken.seconds == taken.ns / 1e9


def test_a_deadline_passes() -> None:
    end = timing.Deadline.after(0.01)
    assert 0 < end.left() <= 0.01
    timing.spin(11 * MS)
    assert end.left() == 0.0


#: What reads a clock. `datetime.now` is not here: a result has to say when it was measured.
CLOCKS = {"time", "timeit"}
DATES = {"utcnow", "today"}


def clocks_in(path: Path) -> list[str]:
    """The lines of a file that read a clock."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [(node.module or "").partition(".")[0]]
        clock = CLOCKS & set(names)
        dated = isinstance(node, ast.Attribute) and node.attr in DATES
        now = isinstance(node, ast.Attribute) and node.attr == "now"
        if clock or dated or now:
            found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


@pytest.mark.parametrize("folder", ["bench", "exporters", "runners", "reports"])
def test_only_the_stopwatch_reads_a_clock(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    watch = ROOT / "bench" / "timing.py"
    assert clocks_in(watch)
    assert [line for path in files if path != watch for line in clocks_in(path)] == []


def streams(*sessions: Any) -> timing.Streams:
    return timing.Streams(
        [timing.Stopwatch(each, POOL, "device", several=True) for each in sessions]
    )


def test_a_call_that_outlasts_its_block_is_kept_in_several_streams() -> None:
    """It is the last of its block because it is slow."""
    stalls = Fake(), Fake()
    both = streams(*stalls)
    stalls[0]._step_ns = 60 * MS
    dropped, block = both.block(0.03)
    assert max(block) >= 60 * MS
    assert len(dropped) + len(block) == sum(each.calls.count("step") for each in stalls)


def test_several_streams_stage_once_a_block_and_go_round_the_pool() -> None:
    """While one stages, untimed, the others would have the device for themselves."""
    sessions = Fake(copy_ms=2.0), Fake(copy_ms=2.0)
    both = streams(*sessions)
    for _ in range(3):
        both.block(0.01)
    assert [each.staged for each in sessions] == [[0, 1, 2, 0]] * 2


def test_several_streams_begin_when_all_have_staged() -> None:
    log: list[str] = []

    class Logged(Fake):
        def stage(self, feed: Any) -> None:
            super().stage(feed)
            log.append("staged")

        def step(self) -> None:
            super().step()
            log.append("step")

    both = streams(Logged(), Logged(copy_ms=20.0))
    log.clear()
    both.block(0.01)
    assert log.count("staged") == 2
    assert log[:2] == ["staged", "staged"]


def test_a_stream_that_fails_is_not_waited_for() -> None:
    class Failing(Fake):
        def step(self) -> None:
            raise StageError("gone", "the device is gone")

    with refused(StageError, "the device is gone"):
        streams(Fake(), Failing()).block(0.01)


def jumps(monkeypatch: pytest.MonkeyPatch, *clocks: str) -> timing.Stopwatch:
    """A stopwatch in whose fourth step these clocks ("measuring", "date", "boot") jump by 40 s."""
    session = Fake(step_us=100)

    def jumping(read: Callable[[], int]) -> Callable[[], int]:
        return lambda: read() + (40_000 * MS if len(session.calls) >= 8 else 0)

    date, boot = timing._witnesses
    witnesses = [
        jumping(read) if name in clocks else read for name, read in (("date", date), ("boot", boot))
    ]
    monkeypatch.setattr(timing, "_witnesses", tuple(witnesses))
    if "measuring" in clocks:
        monkeypatch.setattr(timing, "_clock", jumping(timing._clock))
    return timing.Stopwatch(session, POOL, "device")


@pytest.mark.parametrize("clocks", [["measuring"], ["date", "boot"]])
def test_a_clock_that_jumps_or_sleeps_is_no_number(
    monkeypatch: pytest.MonkeyPatch, clocks: list[str]
) -> None:
    with refused(StageError, "the clock jumped, or the machine slept"):
        jumps(monkeypatch, *clocks).block(0.002)


@pytest.mark.parametrize("clock", ["date", "boot"])
def test_another_clock_that_jumps_alone_is_its_own_affair(
    monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    """The date is set while it is measured."""
    _, block = jumps(monkeypatch, clock).block(0.002)
    assert max(block) < 40_000 * MS


@pytest.mark.parametrize(
    ("threads", "streams", "rested"), [(1, 1, False), (2, 1, True), (1, 2, True)]
)
def test_a_single_thread_has_no_workers_to_wait_for(
    threads: int,
    streams: int,
    rested: bool,
    tiny_onnx: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waiting takes as long as a block of a comparison does."""
    rests: list[None] = []
    made_way: list[None] = []
    monkeypatch.setattr(timing, "rest", lambda: rests.append(None))
    monkeypatch.setattr(timing, "make_way", lambda: made_way.append(None))
    monkeypatch.setattr(measuring, "pin", lambda threads: None)
    (target,) = targets.select(["cpu-ort-fp32"], {})
    how = Procedure(threads=threads, streams=streams, warmup_seconds=0.01)
    asked = Job(str(tiny_onnx), target, procedure=how)
    tell = Teller(io.BytesIO())
    prepared = prepare(Prepare(asked, str(tmp_path), fresh=False), tell)
    request = Measure(asked, prepared.timed, None, prepared.packages)
    try:
        measuring.measure(request, tell, iter([WarmUp(), Block(0.001), Block(0.001), Finish()]))
    finally:
        gc.enable()
    assert bool(rests) == rested
    assert len(made_way) == 2, "for the parent, before each block"
