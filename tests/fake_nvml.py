"""A GPU that is not there: the part of pynvml that `bench.gpu` uses, with the names, signatures and
constants of the real module (`tests/test_gpu.py` holds it to them)."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """What NVML raises for all that a GPU does not support."""


class FakeNvml:
    """One T4, at rest. Attributes are its state; a name in `missing` is not supported."""

    NVMLError = NVMLError
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_TEMPERATURE_GPU = 0
    NVML_FEATURE_ENABLED = 1
    NVML_PERF_POLICY_POWER = 0
    NVML_PERF_POLICY_THERMAL = 1
    nvmlClocksEventReasonSwPowerCap = 0x4  # noqa: N815 (NVML's own names)
    nvmlClocksEventReasonHwSlowdown = 0x8  # noqa: N815
    nvmlClocksEventReasonSyncBoost = 0x10  # noqa: N815
    nvmlClocksEventReasonSwThermalSlowdown = 0x20  # noqa: N815
    nvmlClocksEventReasonHwThermalSlowdown = 0x40  # noqa: N815
    nvmlClocksEventReasonHwPowerBrakeSlowdown = 0x80  # noqa: N815

    def __init__(self) -> None:
        self.missing: set[str] = set()
        self.name: str = "Tesla T4"
        self.sm_mhz = 1590
        self.energy_mj = 1_000_000
        self.power_mw = 60_000
        self.temperature_c = 55
        self.reasons = 0x2  # chosen clocks, which hold nothing back
        self.hot_ns = 0
        self.capped_ns = 0
        self.pids = [os.getpid()]
        self.use: dict[int, int] = {}

    def _need(self, name: str) -> None:
        if name in self.missing:
            raise NVMLError("Not Supported")

    def nvmlInit(self) -> None:  # noqa: N802
        self._need("nvmlInit")

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "550.54.15"

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return f"handle {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid != "GPU-1234":
            raise NVMLError("Not Found")
        return "handle of GPU-1234"

    def nvmlDeviceGetName(self, handle: Any) -> str:  # noqa: N802
        return self.name

    def nvmlDeviceGetCudaComputeCapability(self, handle: Any) -> tuple[int, int]:  # noqa: N802
        return 7, 5

    def nvmlDeviceGetClockInfo(self, handle: Any, type: int) -> int:  # noqa: N802
        self._need("nvmlDeviceGetClockInfo")
        return self.sm_mhz if type == self.NVML_CLOCK_SM else 5001

    def nvmlDeviceGetMaxClockInfo(self, handle: Any, type: int) -> int:  # noqa: N802
        return 1590

    def nvmlDeviceGetApplicationsClock(self, handle: Any, type: int) -> int:  # noqa: N802
        self._need("nvmlDeviceGetApplicationsClock")
        return 585

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Any) -> int:  # noqa: N802
        return 70_000

    def nvmlDeviceGetEccMode(self, handle: Any) -> list[int]:  # noqa: N802
        return [1, 1]

    def nvmlDeviceGetPersistenceMode(self, handle: Any) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int:  # noqa: N802
        self._need("nvmlDeviceGetPowerUsage")
        return self.power_mw

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int:  # noqa: N802
        self._need("nvmlDeviceGetTotalEnergyConsumption")
        return self.energy_mj

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int:  # noqa: N802
        self._need("nvmlDeviceGetTemperature")
        return self.temperature_c

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: Any) -> int:  # noqa: N802
        self._need("nvmlDeviceGetCurrentClocksEventReasons")
        return self.reasons

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any) -> int:  # noqa: N802
        self._need("nvmlDeviceGetCurrentClocksThrottleReasons")
        return self.reasons

    def nvmlDeviceGetViolationStatus(self, device: Any, perfPolicyType: int) -> Any:  # noqa: N802, N803
        self._need("nvmlDeviceGetViolationStatus")
        held = {self.NVML_PERF_POLICY_THERMAL: self.hot_ns}.get(perfPolicyType, self.capped_ns)
        return SimpleNamespace(referenceTime=0, violationTime=held)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> list[Any]:  # noqa: N802
        self._need("nvmlDeviceGetComputeRunningProcesses")
        return [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in self.pids]

    def nvmlDeviceGetProcessUtilization(self, handle: Any, timeStamp: int) -> list[Any]:  # noqa: N802, N803
        self._need("nvmlDeviceGetProcessUtilization")
        return [
            SimpleNamespace(pid=pid, smUtil=percent, timeStamp=timeStamp + 1)
            for pid, percent in self.use.items()
        ]


#: All that a GPU may not support.
OPTIONAL = {
    *("nvmlDeviceGetClockInfo", "nvmlDeviceGetApplicationsClock", "nvmlDeviceGetPowerUsage"),
    *("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetTemperature"),
    *("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"),
    *("nvmlDeviceGetViolationStatus", "nvmlDeviceGetComputeRunningProcesses"),
    "nvmlDeviceGetProcessUtilization",
}
