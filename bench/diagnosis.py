"""What `bench doctor` says: this machine, and each target ready or not."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from bench import __version__, machine, plugins, store, targets
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
            "gpu": ", ".join(gpu.name for gpu in here.gpus) or "none (NVIDIA)",
            **({"board": here.board} if here.board else {}),
            "system": here.os,
            "python": platform.python_version(),
            "bench": __version__,
            "store": store.default_url(),
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


def _instructions(here: machine.Machine) -> str:
    """The instruction sets that decide what low precision gains here."""
    known = ("avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "bf16")
    found = [flag for flag in known if flag in here.flags]
    return ", ".join(found) or "none: low precision will hardly be faster"
