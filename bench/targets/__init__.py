"""Targets: hardware x runtime x precision, one TOML table each.

The shipped tables lie beside this file. A user's own, in the same form, lie as `*.toml` in the
folder `targets` of the configuration directory, or in the file or folder BENCH_TARGETS names.
"""

from __future__ import annotations

import os
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bench import toml_file
from bench.errors import Unavailable, UsageError, unknown
from bench.machine import Gpu
from bench.paths import expanded
from bench.records import Precision, Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.machine import Machine
    from bench.records import Option


class Hardware(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a piece of hardware is recognised: every key that is given has to fit.

    `gpu` and `board` are words that have to stand in the observed name; `gpu = "*"` is any. The
    CUDA runtime knows no boards: `cuda_name` and `sms` are what it says of this one.
    """

    name: str
    device: str
    vendor: str | None = None
    family: int | None = None
    model: int | None = None
    steppings: tuple[int, ...] | None = None
    flags: tuple[str, ...] = ()
    gpu: str | None = None
    compute_capability: str | None = None
    board: str | None = None
    cuda_name: str | None = None
    sms: int | None = None

    def is_here(self, machine: Machine) -> bool:
        return (
            self.vendor in (None, machine.vendor)
            and self.family in (None, machine.family)
            and self.model in (None, machine.model)
            and (self.steppings is None or machine.stepping in self.steppings)
            and machine.flags.issuperset(self.flags)
            and (self.board is None or self.board in machine.board)
            and (
                self.gpu is None
                or any(self._fits(gpu) for gpu in machine.gpus)
                or (self.gpu == "*" and "Jetson" in machine.board)
            )
        )

    def _fits(self, gpu: Any) -> bool:
        return self.gpu in ("*", *gpu.name.split()) and self.compute_capability in (
            None,
            gpu.compute_capability,
        )

    def is_in_log(self, name: str, compute_capability: str, sms: int) -> bool:
        """Whether what the CUDA runtime says of a GPU fits. A board of which it is not known what
        the runtime says fits by its name alone."""
        if self.device != "gpu":
            return False
        wanted = self.gpu or self.cuda_name or self.board or ""
        return (
            (wanted == "*" or wanted in name.split() or bool(self.board and self.board in name))
            and self.compute_capability in (None, compute_capability)
            and self.sms in (None, sms)
        )

    def is_observed(self, text: str, cpuid: object) -> bool:
        """Whether a recorded result ran on it: by the name of its GPU or board, or by the CPU's
        numbers ("family-model-stepping"). What anything may be is nothing in particular."""
        if self.device == "gpu":
            in_log = f"{self.cuda_name}, {self.sms} SMs"
            return (
                bool(self.gpu and self.gpu in text.split())
                or bool(self.board and self.board in text)
                or text == in_log
            )
        if self.family is None or not isinstance(cpuid, str):
            return False
        return cpuid in {f"{self.family}-{self.model}-{each}" for each in self.steppings or ()}

    def is_stated(self, text: str) -> bool:
        """Whether hardware that a person names could be this one: a GPU or a board has to have its
        word in it, a CPU's numbers are in no name."""
        words = [word for word in (self.gpu, self.board) if word and word != "*"]
        return not words or any(f" {word} " in f" {text} " for word in words)


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hardware: str
    runner: str
    precision: Precision
    options: dict[str, str | int | float | bool] | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hardware: dict[str, Hardware] = {}
    target: dict[str, _Table] = {}


@cache
def _load() -> tuple[dict[str, Hardware], dict[str, Target]]:
    hardware: dict[str, Hardware] = {}
    tables: dict[str, _Table] = {}
    for path in _files():
        parsed = toml_file.read(path, _File, "target file")
        for name in (parsed.hardware.keys() & hardware) | (parsed.target.keys() & tables):
            raise UsageError(f"target file {path} defines {name!r}, which exists already")
        hardware |= parsed.hardware
        tables |= parsed.target
    targets = {}
    for name, table in tables.items():
        if table.hardware not in hardware:
            raise unknown(
                "hardware", table.hardware, hardware, f"[target.{name}] in the target files"
            )
        device = hardware[table.hardware].device
        options = table.options or {}
        targets[name] = Target(name, table.hardware, table.runner, table.precision, device, options)
    return hardware, targets


def _files() -> Iterable[Path]:
    yield from sorted(Path(__file__).parent.glob("*.toml"))
    if named := os.environ.get("BENCH_TARGETS"):
        own = expanded(named)
        if not own.exists():
            raise UsageError(f"BENCH_TARGETS names {own}, which does not exist")
    else:
        import platformdirs

        own = platformdirs.user_config_path("bench") / "targets"
    yield from sorted(own.glob("*.toml")) if own.is_dir() else [own] if own.is_file() else []


def every() -> list[Target]:
    """All targets, in the order of their files."""
    return list(_load()[1].values())


def hardware_of(target: Target) -> Hardware:
    """What a target runs on. Raises Unavailable for hardware that no target file here describes,
    as that of a result from another machine may be."""
    try:
        return _load()[0][target.hardware]
    except KeyError:
        raise Unavailable(
            f"target {target.name} needs the hardware {target.hardware!r}, which no target file "
            "here describes: BENCH_TARGETS names further files"
        ) from None


def hardware(name: str) -> Hardware:
    """The hardware of that name."""
    return _load()[0][name]


def select(patterns: Iterable[str], options: dict[str, Option] | None = None) -> list[Target]:
    """The targets that the patterns (names or globs) name, each once, with `options` laid over
    their own. Raises UsageError for a pattern that names none."""
    known = _load()[1]
    chosen: dict[str, Target] = {}
    for pattern in patterns:
        fits = [name for name in known if fnmatchcase(name, pattern)]
        if not fits:
            raise unknown("target", pattern, known, "bench list targets")
        chosen |= {name: known[name] for name in fits}
    return [
        replace(target, options={**target.options, **(options or {})}) for target in chosen.values()
    ]


def require(target: Target, machine: Machine) -> None:
    """Raise Unavailable when `target` asks for hardware that this machine is not."""
    wanted = hardware_of(target)
    if not wanted.is_here(machine):
        raise Unavailable(
            f"target {target.name} needs {wanted.name}, and this machine is {machine}: run it "
            "there, or pick a target that `bench doctor` shows as ready here"
        )


def require_used(target: Target, machine: Machine, name: str, compute_capability: str) -> None:
    """Raise Unavailable when the network runs on another GPU than the target's, which is here too:
    of several, CUDA chooses its own."""
    wanted = hardware_of(target)
    used = Gpu(name, compute_capability, "")
    if wanted.is_here(machine) and not wanted.is_here(replace(machine, gpus=(used,))):
        raise Unavailable(
            f"target {target.name} needs {wanted.name}, and of the GPUs here the network runs on "
            f"{name}: name the other in CUDA_VISIBLE_DEVICES (`nvidia-smi -L`)"
        )
