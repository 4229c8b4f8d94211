"""What `bench doctor` says: this machine, and each target ready or not."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from bench import __version__, gpu, machine, plugins, store, targets
from bench.errors import Unavailable
from bench.launch import ChildError, call
from bench.messages import Probe
from bench.records import Target
from bench.timing import Deadline

if TYPE_CHECKING:
    from pathlib import Path

#: Seconds a runner may take to say whether it can run.
_PATIENCE = 60.0


def examine(cache: Path) -> dict[str, Any]:
    """{"machine": {name: value}, "runners": [{runner, ready, reason}], "targets": [{target, ready,
    reason}]}, the targets in their own order."""
    here = machine.observe()
    known = targets.every()
    reasons = {target.name: _hardware_problem(target, here) for target in known}
    runners: dict[str, str | None] = {}
    for name in sorted({*plugins.find("runners"), *(target.runner for target in known)}):
        fit = [t for t in known if t.runner == name and reasons[t.name] is None]
        runners[name], *of_targets = _runner_problems(name, fit)
        reasons |= {t.name: reason for t, reason in zip(fit, of_targets, strict=True)}
    return {
        "machine": {
            "cpu": here.cpu,
            "threads": str(here.threads),
            "int8 and bf16": _instructions(here),
            "gpu": ", ".join(each.name for each in here.gpus) or "none (NVIDIA)",
            **_gpu_state(),
            **({"board": here.board, **_board_state()} if here.board else {}),
            "system": here.os,
            "python": platform.python_version(),
            "bench": __version__,
            "store": store.shown(store.default_url()),
            "cache": str(cache),
        },
        "runners": [
            {"runner": name, "ready": reason is None, "reason": reason}
            for name, reason in runners.items()
        ],
        "targets": [
            {"target": t.name, "ready": reasons[t.name] is None, "reason": reasons[t.name]}
            for t in known
        ],
    }


def problem(target: Target) -> str | None:
    """Why a target cannot run here, with the remedy; None when it can."""
    reason = _hardware_problem(target, machine.observe())
    return reason or next(filter(None, _runner_problems(target.runner, [target])), None)


def can_build(target: Target) -> bool:
    """Whether an artifact for a target can be made here, wherever it is going to run."""
    try:
        found = call(Probe([target], build_only=True), list[str | None], Deadline.after(_PATIENCE))
    except ChildError:
        return False
    return found == [None]


def _hardware_problem(target: Target, here: machine.Machine) -> str | None:
    try:
        targets.require(target, here)
    except Unavailable:
        return f"needs {targets.hardware_of(target).name}: run it on one"
    return None


def _runner_problems(name: str, fit: list[Target]) -> list[str | None]:
    """Why the runner itself cannot run here, then why each target cannot; None for what can."""
    if name not in plugins.find("runners"):
        return [f"the runner {name!r} is not installed"] * (1 + len(fit))
    bare = Target(name, "any", name, "fp32")  # no hardware, no options: the runner itself
    try:
        return call(Probe([bare, *fit]), list[str | None], Deadline.after(_PATIENCE))
    except ChildError as failed:
        return [f"the runner {name!r} fails: {failed}"] * (1 + len(fit))


def _gpu_state() -> dict[str, str]:
    """What decides how fast the GPU is now, and whether one can measure on it."""
    device = gpu.used()
    if device is None:
        return {}
    watch, known = gpu.GpuWatch(device), gpu.facts(device)
    watch.begin()
    watch.end(0)
    now = watch.total
    on = {True: "on", False: "off", None: "unknown"}
    return {
        "gpu driver": gpu.driver(),
        "compute capability": device.compute_capability or "unknown",
        "gpu clock": f"{now.sm_mhz[0] if now.sm_mhz else '?'} MHz now, "
        f"{known.get('gpu_max_mhz', '?')} at most",
        "gpu power": f"{(now.power_mw or 0) / 1e3:.0f} W now, "
        f"{known.get('gpu_power_limit_w', '?')} W at most",
        "gpu temperature": f"{now.temperature_c} °C",
        "gpu held back by": ", ".join(now.slowed_by) or "nothing",
        "gpu processes": str(len(device.pids() or [])),
        "gpu ecc": on[known.get("gpu_ecc")],  # type: ignore[index]
        "gpu persistence": on[known.get("gpu_persistence")],  # type: ignore[index]
    }


def _board_state() -> dict[str, str]:
    return {f"board {key.replace('_', ' ')}": str(value) for key, value in gpu.jetson().items()}


def _instructions(here: machine.Machine) -> str:
    """The instruction sets that decide what low precision gains here."""
    known = ("avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "bf16")
    found = [flag for flag in known if flag in here.flags]
    return ", ".join(found) or "none: low precision will hardly be faster"
