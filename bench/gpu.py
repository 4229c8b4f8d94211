"""What NVIDIA GPUs say of themselves, through NVML (package nvidia-ml-py, module pynvml).

NVML answers what a GPU supports and raises for the rest; here that is None. Jetson boards have no
such NVML: their clocks and power mode are files and a command (`jetson`).
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.records import GpuLoad

if TYPE_CHECKING:
    from bench.records import Option

#: NVML's bits, and what they mean in words. "idle" and "chosen clocks" hold nothing back.
_REASONS = {
    "nvmlClocksEventReasonSwPowerCap": "power limit",
    "nvmlClocksEventReasonHwSlowdown": "hardware slowdown",
    "nvmlClocksEventReasonSyncBoost": "sync boost",
    "nvmlClocksEventReasonSwThermalSlowdown": "heat",
    "nvmlClocksEventReasonHwThermalSlowdown": "hardware slowdown by heat",
    "nvmlClocksEventReasonHwPowerBrakeSlowdown": "external power brake",
}


@dataclass(frozen=True)
class Device:
    """One GPU. `ask` calls a function of NVML on it; None where it is not supported."""

    nvml: Any
    handle: Any

    def ask(self, function: str, *arguments: Any) -> Any:
        try:
            return getattr(self.nvml, function)(self.handle, *arguments)
        except (self.nvml.NVMLError, AttributeError):  # an old pynvml lacks what is new
            return None

    @property
    def name(self) -> str:
        return str(self.ask("nvmlDeviceGetName") or "")

    @property
    def compute_capability(self) -> str:
        found = self.ask("nvmlDeviceGetCudaComputeCapability")
        return "{}.{}".format(*found) if found else ""

    def sm_mhz(self) -> int | None:
        clock: int | None = self.ask("nvmlDeviceGetClockInfo", self.nvml.NVML_CLOCK_SM)
        return clock

    def slowed_by(self) -> tuple[str, ...]:
        """Why it runs slower now than it could."""
        bits = self.ask("nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:  # the name before driver 535
            bits = self.ask("nvmlDeviceGetCurrentClocksThrottleReasons") or 0
        return tuple(
            word for name, word in _REASONS.items() if bits & int(getattr(self.nvml, name, 0))
        )

    def held_back_ns(self, policy: int) -> int | None:
        """For how long, ever, a policy has kept it below its clocks."""
        found = self.ask("nvmlDeviceGetViolationStatus", policy)
        return None if found is None else int(found.violationTime)

    def pids(self) -> list[int] | None:
        """The processes that compute on it."""
        found = self.ask("nvmlDeviceGetComputeRunningProcesses")
        return None if found is None else [int(each.pid) for each in found]


@cache
def nvml() -> Any:
    """NVML, started; None where the package or the driver is missing."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def devices() -> list[Device]:
    """Every GPU, in NVML's order."""
    library = nvml()
    if library is None:
        return []
    found = []
    with suppress(library.NVMLError):
        for index in range(library.nvmlDeviceGetCount()):
            found.append(Device(library, library.nvmlDeviceGetHandleByIndex(index)))
    return found


def driver() -> str:
    """The driver's version; empty where nothing tells."""
    library = nvml()
    with suppress(Exception if library is None else library.NVMLError):
        return str(library.nvmlSystemGetDriverVersion()) if library else ""
    return ""


def used(uuid: str | None = None) -> Device | None:
    """The GPU that this process computes on: the one with that UUID, as a runtime says it; else the
    first that CUDA_VISIBLE_DEVICES leaves. None where NVML tells of none."""
    library, every = nvml(), devices()
    if library is None or not every:
        return None
    wanted = uuid or os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    with suppress(library.NVMLError):
        if wanted.isdecimal() and int(wanted) < len(every):
            return every[int(wanted)]
        full = wanted if wanted.startswith(("GPU-", "MIG-")) else f"GPU-{wanted}"
        return Device(library, library.nvmlDeviceGetHandleByUUID(full))
    return None


def facts(device: Device | None) -> dict[str, Option]:
    """What does not change while it is measured on, for the record."""
    if device is None:
        return {}
    lib = device.nvml
    limit = device.ask("nvmlDeviceGetEnforcedPowerLimit")
    ecc = device.ask("nvmlDeviceGetEccMode")
    found: dict[str, Option | None] = {
        "compute_capability": device.compute_capability,
        "gpu_max_mhz": device.ask("nvmlDeviceGetMaxClockInfo", lib.NVML_CLOCK_SM),
        "gpu_application_mhz": device.ask("nvmlDeviceGetApplicationsClock", lib.NVML_CLOCK_SM),
        "gpu_memory_mhz": device.ask("nvmlDeviceGetClockInfo", lib.NVML_CLOCK_MEM),
        "gpu_power_limit_w": None if limit is None else limit / 1e3,
        "gpu_ecc": None if ecc is None else ecc[0] == lib.NVML_FEATURE_ENABLED,
        "gpu_persistence": _enabled(device.ask("nvmlDeviceGetPersistenceMode"), lib),
    }
    return {key: value for key, value in found.items() if value is not None}


def _enabled(state: int | None, library: Any) -> bool | None:
    return None if state is None else bool(state == library.NVML_FEATURE_ENABLED)


class GpuWatch:
    """Adds up what one GPU does between `begin` and `end`, as often as they are called."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._clocks: list[int] = []
        self._watts: list[int] = []
        self._degrees: list[int] = []
        self._reasons: dict[str, None] = {}
        self._sums = dict.fromkeys(("energy", "hot", "capped"), 0.0)
        self._unknown: set[str] = set()
        self._others: list[int | None] = []
        self._others_percent: list[int] = []
        self._seen_until = self._use_since(0)[1]
        self._steps = 0

    def begin(self) -> None:
        self._before = self._counters()

    def end(self, wall_ns: int) -> None:
        """`wall_ns` have passed since `begin`."""
        device, lib = self._device, self._device.nvml
        power = device.ask("nvmlDeviceGetPowerUsage")
        for name, now in self._counters().items():
            before = self._before[name]
            if now is not None and before is not None:
                self._sums[name] += now - before
            elif name == "energy" and power is not None:  # no counter (before Volta): W x s
                self._sums[name] += power * wall_ns / 1e9
            else:
                self._unknown.add(name)
        degrees = device.ask("nvmlDeviceGetTemperature", lib.NVML_TEMPERATURE_GPU)
        for value, kept in (
            (device.sm_mhz(), self._clocks),
            (power, self._watts),
            (degrees, self._degrees),
        ):
            if value is not None:
                kept.append(value)
        self._reasons |= dict.fromkeys(device.slowed_by())
        self._look_for_others()

    def count(self, steps: int) -> None:
        """So many batches ran since `begin`."""
        self._steps += steps

    @property
    def total(self) -> GpuLoad:
        def known(name: str) -> float | None:
            return None if name in self._unknown else self._sums[name]

        hot, capped = known("hot"), known("capped")
        others = [count for count in self._others if count is not None]
        return GpuLoad(
            steps=self._steps,
            energy_mj=known("energy"),
            sm_mhz=(min(self._clocks), max(self._clocks)) if self._clocks else None,
            temperature_c=max(self._degrees, default=None),
            power_mw=max(self._watts, default=None),
            slowed_by=tuple(self._reasons),
            hot_ns=None if hot is None else int(hot),
            capped_ns=None if capped is None else int(capped),
            others=max(others, default=None),
            others_percent=max(self._others_percent, default=None),
        )

    def _counters(self) -> dict[str, int | None]:
        device, lib = self._device, self._device.nvml
        return {
            "energy": device.ask("nvmlDeviceGetTotalEnergyConsumption"),
            "hot": device.held_back_ns(lib.NVML_PERF_POLICY_THERMAL),
            "capped": device.held_back_ns(lib.NVML_PERF_POLICY_POWER),
        }

    def _look_for_others(self) -> None:
        pids = self._device.pids()
        use, self._seen_until = self._use_since(self._seen_until)
        # In a container NVML counts processes as the host does. Who is not there himself cannot
        # tell his own from others.
        if pids is None or os.getpid() not in pids:
            self._others.append(None)
            return
        # Who draws is not among those who compute, and who has ended is among neither.
        busy = {pid for pid, percent in use.items() if percent}
        strangers = {pid for pid in busy.union(pids) if not _of_ours(pid)}
        self._others.append(len(strangers))
        self._others_percent.append(sum(use.get(pid, 0) for pid in strangers))

    def _use_since(self, moment: int) -> tuple[dict[int, int], int]:
        """How much of the SMs each process used at most, in percent, and until when."""
        samples = self._device.ask("nvmlDeviceGetProcessUtilization", moment) or []
        use: dict[int, int] = {}
        for each in samples:
            use[int(each.pid)] = max(use.get(int(each.pid), 0), int(each.smUtil))
            moment = max(moment, int(each.timeStamp))
        return use, moment


def _of_ours(pid: int) -> bool:
    """Whether it is this process, or one that the same parent started to measure in turns."""
    if pid == os.getpid():
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return int(stat.rpartition(")")[2].split()[1]) == os.getppid()


def jetson(root: Path = Path("/")) -> dict[str, Option]:
    """What a Jetson board says: its GPU's clocks and temperature (sysfs), and its power mode
    (`nvpmodel -q`, which may want to be root). Empty elsewhere."""
    found: dict[str, Option] = {}
    for gpu in sorted(root.glob("sys/class/devfreq/*")):
        if not gpu.name.endswith((".gpu", ".gv11b", ".ga10b", ".gp10b")):
            continue
        for name in ("cur", "min", "max"):
            value = _read(gpu / f"{name}_freq")
            if value.isdecimal():
                found[f"gpu_{name}_mhz"] = round(int(value) / 1e6)
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        if "gpu" in _read(zone / "type").lower() and _read(zone / "temp").isdecimal():
            found["gpu_temperature_c"] = int(_read(zone / "temp")) // 1000
    if mode := _power_mode():
        found["nvpmodel"] = mode
    return found


def _power_mode() -> str:
    try:
        told = subprocess.run(
            ["nvpmodel", "-q"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    named = [line for line in told.stdout.splitlines() if line.startswith("NV Power Mode:")]
    return named[0].partition(":")[2].strip() if named else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
