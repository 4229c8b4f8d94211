"""The surroundings of a measurement, as observed in the process that measured."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from bench import gpu, machine
from bench.cache import versions
from bench.records import Environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bench.records import Option, Target


def environment(
    target: Target, packages: Iterable[str] = (), flags: Mapping[str, Option] | None = None
) -> Environment:
    """What this process can see of the machine, the packages and the runtime's own account."""
    here = machine.observe()
    seen: dict[str, Option] = {"machine_threads": here.threads, **(flags or {})}
    if hasattr(os, "sched_getaffinity"):
        seen["affinity"] = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    if target.device == "cpu" and here.family >= 0:
        seen["cpuid"] = f"{here.family}-{here.model}-{here.stepping}"
    if target.device == "gpu" and here.board:
        seen |= gpu.jetson()
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor.exists():
        seen["governor"] = governor.read_text().strip()
    return Environment(
        hardware=here.hardware(target.device),
        cpu=here.cpu,
        gpus=tuple(f"{gpu.name} (driver {gpu.driver})" for gpu in here.gpus),
        os=here.os,
        python=platform.python_version(),
        versions=versions(packages),
        flags=seen,
    )
