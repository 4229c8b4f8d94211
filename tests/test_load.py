"""What else the machine does while a block runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import load, machine, memory, timing
from bench.load import Watch

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
BURN = "while True: pass"


def test_a_watch_adds_up_its_blocks_and_nothing_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a made clock; the process works for half of the time that passes."""
    now_ns = [0]

    def usage(_: int) -> SimpleNamespace:
        return SimpleNamespace(ru_utime=now_ns[0] / 2e9, ru_stime=0.0, ru_nivcsw=0)

    monkeypatch.setattr(timing, "_clock", lambda: now_ns[0])
    monkeypatch.setattr(load.resource, "getrusage", usage)
    watch = Watch()
    for _ in range(2):
        with watch:
            now_ns[0] += 30_000_000
        now_ns[0] += 200_000_000
    assert watch.total.wall_ns == 60_000_000
    assert watch.total.own_cpu_ns == pytest.approx(30_000_000, abs=10)


def test_its_own_work_is_seen() -> None:
    watch, began = Watch(), time.process_time()
    with watch:
        while time.process_time() - began < 0.03:
            pass
    assert 0.02e9 <= watch.total.own_cpu_ns <= watch.total.wall_ns + 0.02e9


@linux
def test_a_neighbour_that_burns_a_core_is_seen() -> None:
    watch = Watch()
    with subprocess.Popen([sys.executable, "-c", BURN]) as neighbour:
        try:
            with watch:
                time.sleep(1.0)
        finally:
            neighbour.kill()
    assert watch.total.other_cpu_ns is not None
    assert watch.total.other_cpu_ns > 0.5e9


@linux
def test_steal_is_of_the_cpus_it_may_run_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a machine of many, what others of them lost is not its own loss."""
    stat = tmp_path / "stat"
    lines = ["cpu 400 0 0 0 0 0 0 600", "cpu0 100 0 0 0 0 0 0 0", "cpu1 100 0 0 0 0 0 0 500"]
    stat.write_text("\n".join([*lines, "cpu2 100 0 0 0 0 0 0 100", "intr 5 5"]))
    monkeypatch.setattr("builtins.open", lambda *_, real=open: real(stat, "rb"))
    monkeypatch.setattr(load.os, "sched_getaffinity", lambda _: {0, 2})
    tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
    assert load._cpu_times() == (400 * tick_ns, 50 * tick_ns)


def test_a_system_that_tells_nothing_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_cpu_times", lambda: (None, None))
    monkeypatch.setattr(load, "_throttle_files", tuple)
    monkeypatch.setattr(load, "_quota_files", tuple)
    watch = Watch()
    with watch:
        pass
    assert (watch.total.other_cpu_ns, watch.total.steal_ns, watch.total.throttled) == (None,) * 3
    assert watch.total.wall_ns > 0


def test_a_watch_counts_a_block_that_raises() -> None:
    watch = Watch()
    with pytest.raises(KeyError), watch:
        raise KeyError
    assert watch.total.wall_ns > 0


@linux
def test_the_peak_of_memory_is_not_that_of_who_started_it() -> None:
    """`getrusage` begins with the parent's."""
    held = b"x" * (300 << 20)
    assert memory.peak_bytes() > len(held)
    ask = [sys.executable, "-c", "from bench import memory; print(memory.peak_bytes())"]
    told = subprocess.run(ask, capture_output=True, text=True, check=True)
    assert 1 << 20 < int(told.stdout) < 200 << 20


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("cpu.max", "usage_usec 9\nthrottled_usec {us}\n"),
        ("", "nr_throttled 9\nthrottled_time {us}000"),
    ],
)
def test_the_time_that_a_quota_took_is_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, told: str
) -> None:
    """Of the cgroups, of the second kind and the first, that have one."""
    files = {
        "/sys/fs/cgroup/cpu.max": "50000 100000" if version else "max 100000",
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000",
        "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    }
    monkeypatch.setattr(machine, "_read", lambda path: files.get(str(path), ""))
    (folder,) = machine.with_quota()
    assert str(folder) == "/sys/fs/cgroup" + ("" if version else "/cpu")
    stat = tmp_path / "cpu.stat"
    monkeypatch.setattr(load, "_quota_files", lambda: (stat,))
    stat.write_text(told.format(us=1_000_000))
    watch = Watch()
    for us in (1_400_000, 1_500_000):
        with watch:
            stat.write_text(told.format(us=us))
    assert watch.total.quota_ns == 500_000_000
