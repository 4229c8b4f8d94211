"""What can be asked of the tensorrt runner with `-o KEY=VALUE`; of which version, on which GPU."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.records import Target
    from runners.trt_api import Api

_WORDS = {"bool": "true or false", "int": "a whole number", "str": "a word"}


@dataclass(frozen=True)
class Options:
    """The options of a target, read. Those of the compiler are part of the engine's details, those
    of the run are among its flags."""

    #: Memory that a kernel may use while it runs, in MiB; 0: all that the GPU has.
    workspace_mb: int = 0
    #: How long the compiler searches, 0 to 5; -1: its own default.
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
#: What a number may be; a workspace up to 1 TiB, which no GPU has.
_RANGES = {"workspace_mb": (0, 1 << 20), "optimization_level": (-1, 5)}


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
        low, high = _RANGES.get(key, (value, value))
        if not low <= value <= high:  # type: ignore[operator]
            raise UsageError(f"{key}={value}: a number from {low} to {high} was expected")
        found[key] = value  # type: ignore[assignment]
    return Options(**found)  # type: ignore[arg-type]


def timings(options: Options) -> bytes:
    """The timing cache to begin with, empty where none is named. Raises UsageError."""
    if not options.timing_cache:
        return b""
    try:
        return Path(options.timing_cache).read_bytes()
    except OSError as error:
        raise UsageError(
            f"timing_cache={options.timing_cache} cannot be read: {error.strerror}"
        ) from error


def lacking(options: Options, api: Api) -> str | None:
    """Why the version that is installed cannot do what is asked; None when it can."""
    trt, flags = api.module, api.module.BuilderFlag
    if options.strongly_typed == "true" and not api.strongly_typed:
        return (
            f"{api.title} has no strongly typed networks, which came with TensorRT 9: leave out "
            "strongly_typed=true"
        )
    if options.strongly_typed == "false" and not hasattr(flags, "FP16"):
        return (
            f"{api.title} has strongly typed networks alone (flags for precisions ended with "
            "TensorRT 10): leave out strongly_typed=false"
        )
    came_with_8_6: tuple[tuple[str, bool, Any, str], ...] = (
        (
            "optimization_level",
            options.optimization_level >= 0,
            trt.IBuilderConfig,
            "builder_optimization_level",
        ),
        ("version_compatible", options.version_compatible, flags, "VERSION_COMPATIBLE"),
        ("hardware_compatible", options.hardware_compatible, trt, "HardwareCompatibilityLevel"),
    )
    for name, asked, where, needed in came_with_8_6:
        if asked and not hasattr(where, needed):
            return (
                f"{api.title} does not know {name}, which came with TensorRT 8.6: leave it out, or "
                "update TensorRT"
            )
    return None


def unfit(options: Options, capability: str, *, jetson: bool) -> str | None:
    """Why what is asked is not for a GPU of that compute capability ("7.5"), or for a Jetson's;
    None when it is."""
    if not options.hardware_compatible:
        return None
    only = "hardware_compatible=true is for compute capability 8.0 (Ampere) and later"
    if jetson:
        return f"{only}, and not for Jetson boards: leave it out"
    if tuple(map(int, capability.split("."))) < (8, 0):
        return f"{only}, and this is {capability}: leave it out"
    return None
