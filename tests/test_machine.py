"""What this machine is, and what other machines say of themselves."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bench import machine
from bench.environment import environment
from bench.records import Target
from tests import builders

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNT = "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1:])); "
COUNT += "from bench.machine import usable_threads; print(usable_threads())"

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux restricts a process so")


def usable_on(*cpus: int) -> int:
    ran = subprocess.run(
        [sys.executable, "-c", COUNT, *map(str, cpus)], capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


@linux
def test_usable_threads_keep_to_the_affinity() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    assert usable_on(allowed[0]) == 1
    assert 1 <= usable_on(*allowed[:2]) <= 2
    assert usable_on(*allowed) == machine.usable_threads()


@pytest.mark.parametrize(
    ("threads", "kept"),
    [(1, {5}), (2, {4, 5}), (4, {1, 2, 4, 5}), (5, None), (8, None)],
)
def test_a_process_is_kept_to_one_cpu_of_each_of_the_last_cores(
    monkeypatch: pytest.MonkeyPatch, threads: int, kept: set[int] | None
) -> None:
    """Six CPUs of four cores: 1 and 7, 2 and 8, 4, 5. More threads than cores stay free."""
    machine.observe()
    siblings = {1: "1,7", 7: "1,7", 2: "2,8", 8: "2,8"}
    pinned: list[set[int]] = []
    monkeypatch.setattr(machine, "_core", lambda cpu: siblings.get(cpu, str(cpu)))
    monkeypatch.setattr(machine, "_read", lambda _: "")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2, 4, 5, 7, 8}, raising=False)
    monkeypatch.setattr(
        os, "sched_setaffinity", lambda _, cpus: pinned.append(set(cpus)), raising=False
    )
    machine.pin(threads)
    assert pinned == ([] if kept is None else [kept])


def test_usable_threads_here() -> None:
    assert 1 <= machine.usable_threads() <= (os.cpu_count() or 1)


def test_observe_is_plausible() -> None:
    here = machine.observe()
    assert here is machine.observe()
    assert here.cpu
    assert here.cpu == here.cpu.strip()
    assert here.threads == machine.usable_threads()
    assert here.os == f"{platform.system()} {platform.release()}"
    if platform.machine() in ("x86_64", "AMD64") and sys.platform == "linux":
        assert "sse2" in here.flags
        assert here.vendor in ("GenuineIntel", "AuthenticAMD", "HygonGenuine", "CentaurHauls")
        assert here.family >= 6
        assert min(here.model, here.stepping) >= 0
    for gpu in here.gpus:
        assert float(gpu.compute_capability) >= 3
        assert gpu.driver[0].isdigit()
    assert str(here).startswith(here.cpu_label)


def test_cpu_label_counts_the_cores() -> None:
    assert builders.machine(threads=1).cpu_label.endswith("@ 2.10GHz, 1 core")
    assert builders.machine(threads=20).cpu_label.endswith("@ 2.10GHz, 20 cores")


def test_hardware_is_what_a_device_really_is() -> None:
    server = builders.gpu("Tesla T4", "7.5")
    board = builders.machine(board="NVIDIA Jetson Xavier NX Developer Kit")
    assert server.hardware("cpu") == server.cpu_label
    assert server.hardware("gpu") == "Tesla T4"
    assert board.hardware("gpu") == "NVIDIA Jetson Xavier NX Developer Kit"
    assert builders.machine().hardware("gpu") == "no GPU"
    assert server.hardware("simulated") == "simulated"


def test_a_machine_in_words() -> None:
    assert str(builders.machine(cpu="A", threads=2)) == "A, 2 cores, no NVIDIA GPU"
    assert str(builders.gpu("Tesla T4", "7.5")).endswith(", 20 cores, Tesla T4")
    assert str(builders.machine(cpu="A", threads=6, board="B")) == "A, 6 cores, B"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A machine of made-up files: an empty one to begin with."""
    made: dict[str, str] = {}
    monkeypatch.setattr(machine, "_read", lambda path: made.get(str(path), ""))
    monkeypatch.setattr(machine, "_gpus", tuple)
    machine.observe.cache_clear()
    yield made
    machine.observe.cache_clear()


def allow(monkeypatch: pytest.MonkeyPatch, *cpus: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(cpus), raising=False)


def test_a_machine_that_says_nothing(files: dict[str, str]) -> None:
    here = machine.observe()
    assert here.cpu
    assert (here.family, here.model, here.stepping) == (-1, -1, -1)
    assert here.flags == frozenset()
    assert here.board == ""
    assert here.threads >= 1


def test_a_jetson(files: dict[str, str]) -> None:
    files["/proc/device-tree/model"] = "NVIDIA Jetson Xavier NX Developer Kit\0"
    files["/proc/cpuinfo"] = (
        "processor\t: 0\nmodel name\t: ARMv8 Processor rev 0 (v8l)\n"
        "Features\t: fp asimd asimddp\nCPU implementer\t: 0x4e\n\nprocessor\t: 1\n"
    )
    here = machine.observe()
    assert here.board == "NVIDIA Jetson Xavier NX Developer Kit"
    assert here.cpu == "ARMv8 Processor rev 0 (v8l)"
    assert "asimddp" in here.flags
    assert here.hardware("gpu") == here.board


def test_a_xeon(files: dict[str, str]) -> None:
    first = (
        "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\n"
        "model name\t: Intel(R) Xeon(R) CPU @ 2.00GHz\nstepping\t: 7\n"
        "flags\t\t: fpu avx2 avx512_vnni\n"
    )
    files["/proc/cpuinfo"] = f"{first}\n{first.replace('85', '86')}"
    here = machine.observe()
    assert (here.vendor, here.family, here.model, here.stepping) == ("GenuineIntel", 6, 85, 7)
    assert here.flags == {"fpu", "avx2", "avx512_vnni"}


def topology(files: dict[str, str], *siblings: str) -> None:
    """The threads of each CPU's core."""
    for cpu, of_core in enumerate(siblings):
        files[f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"] = of_core


def test_two_threads_of_a_core_are_one(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    topology(files, "0,2", "1,3", "0,2", "1,3")
    for cpus, threads in (((0, 1, 2, 3), 2), ((0, 2), 1), ((0, 1), 2), ((3,), 1)):
        allow(monkeypatch, *cpus)
        assert machine.usable_threads() == threads


def test_cores_of_one_thread_are_counted_each(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their numbers: an ARM board counts its cores anew in each cluster."""
    topology(files, "0", "1")
    allow(monkeypatch, 0, 1)
    assert machine.usable_threads() == 2


@pytest.mark.parametrize(
    ("quota", "threads"),
    [
        ("max 100000", 8),
        ("400000 100000", 4),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("9900000 100000", 8),
        ("", 8),
    ],
)
def test_no_more_threads_than_the_cgroup_grants(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch, quota: str, threads: int
) -> None:
    files["/sys/fs/cgroup/cpu.max"] = quota
    allow(monkeypatch, *range(8))
    assert machine.usable_threads() == threads


def test_the_quota_of_a_cgroup_of_ones_own(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files["/proc/self/cgroup"] = "0::/system.slice/docker-1.scope"
    files["/sys/fs/cgroup/system.slice/docker-1.scope/cpu.max"] = "300000 100000"
    allow(monkeypatch, *range(8))
    assert machine.usable_threads() == 3


def test_the_quota_of_a_cgroup_around_it(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files["/proc/self/cgroup"] = "0::/ci.slice/job-1.scope"
    files["/sys/fs/cgroup/ci.slice/job-1.scope/cpu.max"] = "max 100000"
    files["/sys/fs/cgroup/ci.slice/cpu.max"] = "100000 100000"
    allow(monkeypatch, *range(8))
    assert machine.usable_threads() == 1


@pytest.mark.parametrize(("quota", "threads"), [("200000", 2), ("-1", 8)])
def test_the_quota_of_the_first_cgroups(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch, quota: str, threads: int
) -> None:
    files["/sys/fs/cgroup/cpu/cpu.cfs_quota_us"] = quota
    files["/sys/fs/cgroup/cpu/cpu.cfs_period_us"] = "100000"
    allow(monkeypatch, *range(8))
    assert machine.usable_threads() == threads


def test_an_environment_is_of_the_device_and_keeps_what_the_runtime_says() -> None:
    target = Target("null-fp32", "simulated", "null", "fp32", "simulated")
    seen = environment(target, ["numpy", "no-such-package"], {"threads": 1})
    assert seen.hardware == "simulated"
    assert seen.cpu == machine.observe().cpu
    assert list(seen.versions) == ["numpy"]
    assert seen.flags["threads"] == 1
    assert seen.flags["machine_threads"] == machine.usable_threads()
    assert seen.python == platform.python_version()


def test_what_computes_tells_cores_apart_by_their_instructions() -> None:
    here = machine.observe()
    old = replace(here, cpu="aarch64", flags=frozenset({"asimd", "fp"}))
    new = replace(old, flags=frozenset({"asimd", "fp", "asimddp", "bf16"}))
    assert old.what_computes("cpu") != new.what_computes("cpu")
    assert replace(old, flags=old.flags | {"constant_tsc"}).what_computes("cpu") == (
        old.what_computes("cpu")
    )


def speeds(files: dict[str, str], name: str, *each: int) -> None:
    """How fast the kernel says that each CPU is."""
    for cpu, speed in enumerate(each):
        files[f"/sys/devices/system/cpu/cpu{cpu}/{name}"] = str(speed)


@pytest.mark.parametrize(
    ("name", "each"),
    [
        # Two performance cores of two threads, one of which turbos higher; four efficient ones.
        (
            "cpufreq/cpuinfo_max_freq",
            [5_500_000, 5_500_000, 5_800_000, 5_800_000, *[4_300_000] * 4],
        ),
        ("cpu_capacity", [1009, 1009, 1024, 1024, *[640] * 4]),
        ("cpu_capacity", [640, 640, 640, 640, 1024, 1024, 1009, 1009]),
    ],
)
def test_of_a_hybrid_chip_the_fast_cores_are_used(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str, each: list[int]
) -> None:
    pinned: list[int] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cpus: pinned.extend(cpus), raising=False)
    fast = [cpu for cpu, speed in enumerate(each) if speed > 5_000_000 or 1000 < speed < 2000]
    slow = [cpu for cpu in range(8) if cpu not in fast]
    topology(
        files, *(f"{cpu - cpu % 2}-{cpu | 1}" if cpu in fast else str(cpu) for cpu in range(8))
    )
    speeds(files, name, *each)
    allow(monkeypatch, *range(8))
    assert machine.usable_threads() == 2
    for threads, on in ((1, fast[2:3]), (2, fast[::2]), (3, [])):
        pinned.clear()
        machine.pin(threads)
        assert pinned == on
    allow(monkeypatch, *slow)  # who may use no others
    assert machine.usable_threads() == 4
