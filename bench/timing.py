"""The stopwatch: the only file that reads a clock.

A runner does not know that it is timed. Window `device` is `step` alone, the inputs being there
already; window `io` is `stage`, `step` and `fetch`.
"""

from __future__ import annotations

import gc
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from itertools import cycle
from statistics import median
from typing import TYPE_CHECKING

from bench.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.contracts import Feed, Session
    from bench.records import Window

#: The warm-up is over when two windows in a row have 10th percentiles within this share of each
#: other (the network has settled, whatever the machine does)...
WARM_WITHIN = 0.02
WARM_WINDOW_SECONDS = 0.1
#: ...or, unstable, after this many times the warm-up asked for.
WARM_CAP = 10
#: Dropped at the start of each block: the first calls after a pause run on cold caches. From the
#: fifth on they took what all others take, on networks of 0.2 to 7 ms (`docs/architecture.md`); at
#: least a millisecond, and no longer than it takes to be over with the slow ones, nor than a third
#: of the block.
DROPPED_CALLS = 5
DROPPED_SECONDS = (0.001, 0.01)
DROPPED_SHARE = 1 / 3
#: In window `device` each call has an input of its own, but within a millisecond they share one:
#: whatever Python runs between two calls, the same input staged again too, makes the next one 2 to
#: 3 µs slower (`docs/benchmarks.md`), which is 3 % of 0.1 ms.
STAGE_EVERY_NS = 1_000_000
#: How long a parent takes to wait again, and more.
MAKE_WAY_SECONDS = 0.0001
#: Threads that never rest are waited for no longer than this.
REST_CAP_SECONDS = 0.5
#: What there is to say of a wait that nobody has an option for.
HANGS = "the process hangs, or other work keeps the machine from it"
#: By how much the clocks of a machine may disagree over a stretch of time: NTP slews them.
CLOCKS_APART, CLOCKS_APART_NS = 0.01, 1_000_000

_clock = time.perf_counter_ns
#: Who else saw how long something took. Each may be wrong alone: the date is set by people and by
#: NTP, and the time since boot goes on while the machine sleeps, when the measuring clock stands
#: still (macOS calls that one MONOTONIC_RAW). So only a measuring clock that agrees with neither
#: is not believed. All of them count on one counter of the hardware: should that jump, it is a call
#: that took most of the time, which the verdict looks for.
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", None) or getattr(time, "CLOCK_MONOTONIC_RAW", None)
_witnesses: tuple[Callable[[], int], ...] = (
    time.time_ns,
    time.monotonic_ns if _SINCE_BOOT is None else partial(time.clock_gettime_ns, _SINCE_BOOT),
)


@dataclass
class Lap:
    """Nanoseconds spent inside a `lap()` block, once it has ended."""

    ns: int = 0

    @property
    def seconds(self) -> float:
        return self.ns / 1e9


@contextmanager
def lap() -> Iterator[Lap]:
    """Time a stage (an export, a build, a load), not a network."""
    taken = Lap()
    start = _clock()
    try:
        yield taken
    finally:
        taken.ns = _clock() - start


@dataclass(frozen=True)
class Deadline:
    """A point in the future that a parent waits for, and what a person can do when it passes."""

    at_ns: int
    remedy: str = HANGS

    @classmethod
    def after(cls, seconds: float, remedy: str = HANGS) -> Deadline:
        # Thirty years are as good as for ever, and fit into nanoseconds.
        return cls(_clock() + int(min(seconds, 1e9) * 1e9), remedy)

    def left(self) -> float:
        """Seconds until then, 0 when it has passed."""
        return max(0.0, (self.at_ns - _clock()) / 1e9)


def utc() -> str:
    """The date and time in UTC, to the millisecond (ISO 8601): when a row was begun."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def stopclock() -> Callable[[], float]:
    """What tells the seconds since it was made, whenever it is asked."""
    start = _clock()
    return lambda: (_clock() - start) / 1e9


@contextmanager
def _witnessed() -> Iterator[None]:
    """Raise StageError where the clock agrees with none of the others on how long this took."""
    first, began, last = _asked()
    yield
    early, ended, late = _asked()
    least, most = early - last, late - first
    seen = [end - begin for begin, end in zip(began, ended, strict=True)]
    slack = CLOCKS_APART * max(most, *seen) + CLOCKS_APART_NS
    if not any(least - slack <= ns <= most + slack for ns in seen):
        others = " and ".join(f"{ns / 1e9:.3g} s" for ns in seen)
        raise StageError(
            "clock",
            f"the clock jumped, or the machine slept: it counted {most / 1e9:.3g} s where others "
            f"counted {others}: measure again",
        )


def _asked() -> tuple[int, list[int], int]:
    """The witnesses, between two looks at the clock: on a busy machine reading may take long."""
    return _clock(), [witness() for witness in _witnesses], _clock()


def spin(ns: int) -> None:
    """Keep the CPU busy for `ns`, as a fake device does."""
    end = _clock() + ns
    while _clock() < end:
        pass


def rest() -> None:
    """Wait until this process's own threads are idle, so that the next process to be measured has
    the machine to itself: ONNX Runtime's workers, for one, spin for some 50 ms after a step, and
    what another process measured meanwhile on two cores took twice as long.

    One idle nap is not believed: on a busy machine a spinning worker goes a nap without a core.
    """
    end = Deadline.after(REST_CAP_SECONDS)
    idle = 0
    while end.left() and idle < 2:
        before = time.process_time_ns()
        time.sleep(0.002)
        idle = idle + 1 if time.process_time_ns() - before < 500_000 else 0


def make_way() -> None:
    """Let who asked for a block go back to sleep first: where there is only one core for parent and
    child, it would interrupt the block that it has just asked for (each one of 15 ms, once)."""
    time.sleep(MAKE_WAY_SECONDS)


class Stopwatch:
    """Runs a session on a rotating pool of inputs and says how many ns the window took.

    One of `several` streams does not stage before each step in window `device`: while it staged,
    untimed, the others would have the device for themselves, and seem faster than they are
    together. `Streams` has all of them `stage` before each block.
    """

    def __init__(
        self, session: Session, pool: Sequence[Feed], window: Window, *, several: bool = False
    ) -> None:
        self._session = session
        self._feeds = cycle(pool)
        self._typical_ns = 0.0
        self._step = session.step
        self._stage_at_ns = sys.maxsize if several else 0
        self.sample: Callable[[], int] = self._device if window == "device" else self._io
        if several:
            self.stage()
        # A collection in the middle of a sample would not be the network's time.
        gc.collect()
        gc.disable()

    def stage(self) -> None:
        """Have the next input of the pool on the device."""
        self._session.stage(next(self._feeds))

    def _device(self) -> int:
        if _clock() >= self._stage_at_ns:
            self.stage()
            self._stage_at_ns = _clock() + STAGE_EVERY_NS
        start = _clock()
        self._step()
        return _clock() - start

    def _io(self) -> int:
        feed = next(self._feeds)
        start = _clock()
        self._session.stage(feed)
        self._step()
        self._session.fetch()
        return _clock() - start

    def warm_up(
        self, seconds: float, window_seconds: float = WARM_WINDOW_SECONDS
    ) -> tuple[list[int], bool]:
        """Run until the latency has settled: at least `seconds`, and until two windows in a row
        agree, which are no longer than `seconds` either. Returns all samples, and False when they
        had not settled at the cap."""
        window_seconds = min(window_seconds, seconds)
        samples: list[int] = []
        previous = 0
        floor, cap = Deadline.after(seconds), Deadline.after(seconds * WARM_CAP)
        while True:
            with _witnessed():
                window = self._for(window_seconds)
            samples += window
            self._typical_ns = median(window)
            current = sorted(window)[len(window) // 10]
            settled = abs(current - previous) <= WARM_WITHIN * current
            if settled and not floor.left():
                return samples, True
            if previous and not cap.left():  # a step may be longer than the cap
                return samples, settled
            previous = current

    def block(self, seconds: float) -> tuple[list[int], list[int]]:
        """The calls that bring the caches back after another process had the CPU, and after them
        the samples of one block, at least one."""
        with _witnessed():
            return self._block(seconds)

    def _block(self, seconds: float) -> tuple[list[int], list[int]]:
        # A call that is longer than a block brings its own caches back; a block of no time is one.
        if self._typical_ns >= seconds * 1e9:
            return [], self._for(seconds)
        shortest, longest = DROPPED_SECONDS
        least = Deadline.after(shortest)
        most = Deadline.after(min(longest, seconds * DROPPED_SHARE))
        dropped = [self.sample()]
        while most.left() and (least.left() or len(dropped) < DROPPED_CALLS):
            dropped.append(self.sample())
        return dropped, self._for(seconds)

    def _for(self, seconds: float) -> list[int]:
        # As little as can be between two calls (see STAGE_EVERY_NS).
        end, sample = _clock() + int(seconds * 1e9), self.sample
        taken = [sample()]
        while _clock() < end:
            taken.append(sample())
        if min(taken) <= 0:
            raise StageError("clock", "the clock stood still or went back: no time can be told")
        return taken


class Streams:
    """Several stopwatches at the same time, each with a session and a thread of its own: what a
    server with so many workers sees. A block has the samples of all."""

    def __init__(self, stopwatches: Sequence[Stopwatch]) -> None:
        from concurrent.futures import ThreadPoolExecutor  # few measure several streams

        self._stopwatches = stopwatches
        self._threads = ThreadPoolExecutor(len(stopwatches))
        self.sample = stopwatches[0].sample

    def warm_up(self, seconds: float) -> tuple[list[int], bool]:
        """All of them together, until each has settled (`Stopwatch.warm_up`)."""
        taken = list(self._threads.map(lambda one: one.warm_up(seconds), self._stopwatches))
        return [ns for samples, _ in taken for ns in samples], all(stable for _, stable in taken)

    def block(self, seconds: float) -> tuple[list[int], list[int]]:
        """As `Stopwatch.block`, all of them together, from the same moment on. Who is done goes on
        until all are, so that nobody's last call has the device for itself; those are dropped."""
        list(self._threads.map(lambda one: one.stage(), self._stopwatches))
        at_work = set(self._stopwatches)

        def one(stopwatch: Stopwatch) -> tuple[list[int], list[int]]:
            try:
                dropped, samples = stopwatch.block(seconds)
            finally:  # who fails must not be waited for
                at_work.discard(stopwatch)
            while at_work:
                dropped.append(stopwatch.sample())
            return dropped, samples

        taken = list(self._threads.map(one, self._stopwatches))
        return [ns for early, _ in taken for ns in early], [ns for _, each in taken for ns in each]
