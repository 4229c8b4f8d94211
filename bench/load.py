"""What else the machine does while a block runs: the evidence that the verdict rests on.

Read from Linux's /proc and /sys; elsewhere what cannot be known is None.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import machine, timing
from bench.records import Load

if TYPE_CHECKING:
    from types import TracebackType

    from bench.gpu import GpuWatch


class Watch:
    """Adds up what happens inside its `with` blocks; `total` is all of it."""

    def __init__(self, gpu: GpuWatch | None = None) -> None:
        self._gpu = gpu
        self._total = Load(0, 0, 0, 0, 0, 0, quota_ns=0)

    @property
    def total(self) -> Load:
        return replace(self._total, gpu=self._gpu.total if self._gpu else None)

    def count(self, steps: int) -> None:
        """So many batches ran in the last block."""
        if self._gpu:
            self._gpu.count(steps)

    def __enter__(self) -> None:
        if self._gpu:
            self._gpu.begin()
        self._lap = timing.lap()
        self._before = _Counters.read()
        self._wall = self._lap.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lap.__exit__(kind, error, trace)
        self._total = _sum(self._total, _Counters.read().since(self._before, self._wall.ns))
        if self._gpu:
            self._gpu.end(self._wall.ns)


@dataclass(frozen=True)
class _Counters:
    """Counters that only grow."""

    own_cpu_ns: int
    busy_ns: int | None
    steal_ns: int | None
    switches: int
    throttled: int | None
    quota_ns: int | None

    @classmethod
    def read(cls) -> _Counters:
        own = resource.getrusage(resource.RUSAGE_SELF)
        busy, steal = _cpu_times()
        return cls(
            own_cpu_ns=int((own.ru_utime + own.ru_stime) * 1e9),
            busy_ns=busy,
            steal_ns=steal,
            switches=own.ru_nivcsw,
            throttled=_throttled(),
            quota_ns=_stopped_by_quota(),
        )

    def since(self, before: _Counters, wall_ns: int) -> Load:
        own = self.own_cpu_ns - before.own_cpu_ns
        busy = _difference(self.busy_ns, before.busy_ns)
        return Load(
            wall_ns=wall_ns,
            own_cpu_ns=own,
            # Not cut at 0: the kernel counts in ticks of 10 ms, and the errors have to cancel.
            other_cpu_ns=None if busy is None else busy - own,
            steal_ns=_difference(self.steal_ns, before.steal_ns),
            switches=self.switches - before.switches,
            throttled=_difference(self.throttled, before.throttled),
            quota_ns=_difference(self.quota_ns, before.quota_ns),
        )


def _difference(now: int | None, before: int | None) -> int | None:
    return None if now is None or before is None else now - before


def of_two(one: Load, other: Load) -> tuple[Load, Load]:
    """The loads of two processes that took turns, each watched while the other one worked, too.
    What that used is no stranger's; a core that was lost may have been lost to it, so that nothing
    is known of that; and what the machine did once is counted once."""

    def without(load: Load, partner: Load) -> Load:
        others = load.other_cpu_ns
        others = None if others is None else others - partner.own_cpu_ns
        return replace(load, other_cpu_ns=others, switches=0)

    return without(one, other), replace(without(other, one), throttled=None)


def _sum(one: Load, other: Load) -> Load:
    sums: dict[str, Any] = {}
    for name in (field.name for field in fields(Load) if field.name != "gpu"):
        a, b = getattr(one, name), getattr(other, name)
        sums[name] = None if a is None or b is None else a + b
    return Load(**sums)


def _cpu_times() -> tuple[int | None, int | None]:
    """CPU time that all processes of the machine have used, and what the hypervisor has taken of
    a CPU that this process may run on, their mean, in ns; from /proc/stat (proc(5))."""
    try:
        with open("/proc/stat", "rb") as file:  # noqa: PTH123 (read before and after every block)
            lines = [line.split() for line in takewhile(lambda line: line[:3] == b"cpu", file)]
        times = {name.decode(): list(map(int, ticks)) for name, *ticks in lines}
        user, nice, system, _idle, _iowait, irq, softirq, _steal = times["cpu"][:8]
        own = [times[name][7] for name in _own_cpus() if name in times]
    except (OSError, ValueError, LookupError):
        return None, None
    tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
    busy = (user + nice + system + irq + softirq) * tick_ns
    return busy, sum(own) * tick_ns // len(own) if own else None


def _own_cpus() -> list[str]:
    """The CPUs that this process may run on, as /proc/stat calls them."""
    return [f"cpu{cpu}" for cpu in os.sched_getaffinity(0)]


@cache
def _throttle_files() -> tuple[Path, ...]:
    return tuple(Path("/sys/devices/system/cpu").glob("cpu*/thermal_throttle/core_throttle_count"))


def _throttled() -> int | None:
    """How often a core was slowed down because it was too hot (Intel's counters in sysfs)."""
    files = _throttle_files()
    try:
        return sum(int(file.read_text()) for file in files) if files else None
    except (OSError, ValueError):
        return None


@cache
def _quota_files() -> tuple[Path, ...]:
    return tuple(folder / "cpu.stat" for folder in machine.with_quota())


def _stopped_by_quota() -> int | None:
    """For how long the cgroups around this process had used up their quota of CPU time, in ns,
    summed over their CPUs; None where there is none."""
    files = _quota_files()
    try:
        told = [line.split() for file in files for line in file.read_text().splitlines()]
        # v2 counts in microseconds, v1 in nanoseconds.
        unit = {"throttled_usec": 1000, "throttled_time": 1}
        return sum(int(n) * unit.get(name, 0) for name, n in told) if files else None
    except (OSError, ValueError):
        return None
