"""What this machine is: observed, never assumed."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench import gpu as nvidia

if TYPE_CHECKING:
    from bench.records import Procedure

#: How the flags begin that are instructions for numbers, on x86 and on Arm.
_INSTRUCTIONS = (
    *("sse", "ssse", "avx", "amx", "fma", "f16c"),
    *("asimd", "fphp", "sve", "sme", "bf16", "i8mm"),
)
#: Cores are of one kind when their speed is at least this share of the fastest one's. The best ones
#: of a kind may turbo some percent higher; Intel's efficient ones reach 0.64 to 0.89 of the others.
_ALIKE = 0.9
#: Where the kernel driver shows itself: on Linux, and in Windows' Linux.
_DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/dev/dxg"))


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    compute_capability: str
    driver: str


@dataclass(frozen=True, slots=True)
class Machine:
    """`family`, `model` and `stepping` are x86's CPUID numbers (-1 elsewhere); `threads` is how
    many CPU threads a benchmark should use here; `board` is the device tree's model name."""

    cpu: str
    vendor: str
    family: int
    model: int
    stepping: int
    flags: frozenset[str]
    threads: int
    gpus: tuple[Gpu, ...]
    board: str
    os: str

    @property
    def cpu_label(self) -> str:
        """The CPU as charts group it: the same chip with fewer cores is other hardware."""
        return f"{self.cpu}, {self.threads} core{'s' if self.threads != 1 else ''}"

    def hardware(self, device: str) -> str:
        """What a measurement on `device` ("cpu", "gpu" or "simulated") really ran on."""
        if device == "cpu":
            return self.cpu_label
        if device == "gpu":
            return self.board or (self.gpus[0].name if self.gpus else "no GPU")
        return device

    def what_computes(self, device: str) -> list[str | int]:
        """What a computation on `device` may hang on, for runtimes choose their kernels by it. Part
        of the key of whatever was computed or built here: caches are shared. Arm's cores are told
        apart by their instructions alone, and a virtual machine may hide some."""
        able = sorted(flag for flag in self.flags if flag.startswith(_INSTRUCTIONS))
        gpus = [self.board, *(gpu.name for gpu in self.gpus)] if device == "gpu" else []
        return [self.cpu, self.family, self.model, self.stepping, *able, *gpus]

    def __str__(self) -> str:
        parts = [self.cpu_label, *(gpu.name for gpu in self.gpus), self.board]
        if not self.gpus and not self.board:
            parts.append("no NVIDIA GPU")
        return ", ".join(part for part in parts if part)


@cache
def observe() -> Machine:
    """Look at this machine. Cached: nothing here changes while a process lives."""
    info = _cpuinfo()
    return Machine(
        cpu=info.get("model name") or platform.processor() or platform.machine(),
        vendor=info.get("vendor_id", ""),
        family=int(info.get("cpu family", -1)),
        model=int(info.get("model", -1)),
        stepping=int(info.get("stepping", -1)),
        flags=frozenset((info.get("flags") or info.get("Features") or "").split()),
        threads=usable_threads(),
        gpus=_gpus(),
        board=_read("/proc/device-tree/model").rstrip("\0"),
        os=f"{platform.system()} {platform.release()}",
    )


def usable_threads() -> int:
    """How many threads a benchmark should use: the physical cores among the CPUs this process may
    run on, no more than its cgroup's CPU quota; of a chip with fast and slow ones, the fast ones. A
    second thread on a core adds noise, not speed, to a kernel that fills its vector units, and a
    slow core is what all others wait for."""
    cores, quota = len(_cores()), _cgroup_quota()
    return max(1, min(cores, int(quota)) if quota else cores)


def threads_each(how: Procedure) -> int:
    """How many CPU threads each stream of a measurement has, where none are asked for, too."""
    return how.threads or max(1, usable_threads() // how.streams)


def pin(threads: int) -> None:
    """Keep this process to one CPU on each of as many physical cores as it has threads: the same
    ones for every process, the last ones of the fastest kind, for CPU 0 serves most interrupts.

    On a shared machine each core has its own ups and downs. Two processes that the kernel puts on
    different ones differ by up to half; on the same core, in turns, by under a percent. A process
    with more threads than there are such cores stays where it may be.
    """
    observe()  # before there is less to see
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = _cores()
    if threads <= len(cores):
        os.sched_setaffinity(0, cores[-threads:])


def _cores() -> list[int]:
    """A CPU of each physical core of the fastest kind that this process may run on, in order."""
    if hasattr(os, "sched_getaffinity"):
        allowed = os.sched_getaffinity(0)
    else:  # macOS and Windows cannot restrict a process this way
        allowed = set(range(os.cpu_count() or 1))
    cores: dict[str, int] = {}
    for cpu in sorted(allowed):
        cores.setdefault(_core(cpu), cpu)
    speeds = {cpu: _speed(cpu) for cpu in cores.values()}
    least = _ALIKE * max(speeds.values())
    return [cpu for cpu, speed in speeds.items() if speed >= least]


def _speed(cpu: int) -> int:
    """How fast a CPU is beside the others of the machine, as the kernel tells it: its capacity
    (Arm, and Intel since Linux 6.12), else its highest clock; 0 where it tells neither."""
    about = f"/sys/devices/system/cpu/cpu{cpu}"
    told = _read(f"{about}/cpu_capacity") or _read(f"{about}/cpufreq/cpuinfo_max_freq")
    return int(told) if told.isdecimal() else 0


def _core(cpu: int) -> str:
    """What a CPU shares with the other threads of its core: their list. (`core_id` begins anew in
    each cluster of an ARM board.)"""
    topology = f"/sys/devices/system/cpu/cpu{cpu}/topology"
    return _read(f"{topology}/thread_siblings_list") or str(cpu)


def _cgroup_quota() -> float | None:
    """CPUs that the cgroup grants, itself and all that it is in; None when unlimited."""
    return min((quota for _, quota in _quotas()), default=None)


def with_quota() -> tuple[Path, ...]:
    """The folders of the cgroups around this process that grant only some CPU time."""
    return tuple(folder for folder, _ in _quotas())


def _quotas() -> list[tuple[Path, float]]:
    """Each cgroup around this process (of v2, else of v1) that has a quota, and how many CPUs it
    grants."""
    own = next((ln[3:] for ln in _read("/proc/self/cgroup").splitlines() if ln[:3] == "0::"), "/")
    root = Path("/sys/fs/cgroup")
    within = Path(own.lstrip("/"))
    quotas = []
    for folder in dict.fromkeys((root / within, *(root / each for each in within.parents), root)):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            quotas.append((folder, int(quota) / int(period)))
    v1 = Path("/sys/fs/cgroup/cpu")
    quota, period = _read(v1 / "cpu.cfs_quota_us"), _read(v1 / "cpu.cfs_period_us")
    if not quotas and quota.isdigit() and period.isdigit():
        quotas.append((v1, int(quota) / int(period)))
    return quotas


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; empty where there is none."""
    first = _read("/proc/cpuinfo").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _gpus() -> tuple[Gpu, ...]:
    if not any(map(Path.exists, _DRIVERS)):
        return ()  # spare every command the start of NVML or nvidia-smi
    if found := nvidia.devices():
        return tuple(Gpu(each.name, each.compute_capability, nvidia.driver()) for each in found)
    query = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = (line.split(", ") for line in listed.stdout.splitlines())
    return tuple(Gpu(*row) for row in rows if len(row) == 3)


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
