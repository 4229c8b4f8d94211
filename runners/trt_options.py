"""What can be asked of the tensorrt runner with `-o KEY=VALUE`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.records import Target

_WORDS = {"bool": "true or false", "int": "a whole number", "str": "a word"}


@dataclass(frozen=True)
class Options:
    """The options of a target, read. Those of the compiler are part of the engine's details, those
    of the run are among its flags."""

    #: Memory that a kernel may use while it runs, in MiB; 0: all that the GPU has.
    workspace_mb: int = 0
    #: How long the compiler searches, 0 to 5; -1: its own default. (TensorRT 8.6 and later.)
    optimization_level: int = -1
    #: A timing cache to begin with, so that the same kernels are chosen again.
    timing_cache: str = ""
    #: An engine that later versions and other GPUs load too, and that may be slower.
    version_compatible: bool = False
    hardware_compatible: bool = False
    #: Types come from the network alone. "auto": where the installed version can.
    strongly_typed: str = "auto"
    #: One launch a step instead of one a kernel.
    cuda_graph: bool = False
    #: Sleep until the GPU has finished, where CUDA would rather spin: a core less, a latency more.
    blocking_wait: bool = False


_CHOICES = {"strongly_typed": ("auto", "true", "false")}


def read(target: Target) -> Options:
    """Raises UsageError for an option that there is not, or a value that it cannot have."""
    known = {field.name: str(field.type) for field in fields(Options)}
    found: dict[str, str | int | bool] = {}
    for key, value in target.options.items():
        if key not in known:
            raise UsageError(
                f"the tensorrt runner has no option {key!r}: it has {', '.join(sorted(known))}"
            )
        kind = known[key]
        if kind == "str":  # `-o strongly_typed=false` arrives as a truth value
            value = str(value).lower() if isinstance(value, bool) else str(value)
        elif type(value).__name__ != kind:
            raise UsageError(f"{key}={value}: {_WORDS[kind]} was expected")
        if key in _CHOICES and value not in _CHOICES[key]:
            raise UsageError(f"{key}={value}: one of {', '.join(_CHOICES[key])} was expected")
        found[key] = value  # type: ignore[assignment]
    return Options(**found)  # type: ignore[arg-type]
