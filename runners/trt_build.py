"""An ONNX file compiled into an engine, by TensorRT on the GPU itself, or ahead of time by
TensorRT-RTX for a named compute capability."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import timing
from bench.cache import artifact
from bench.errors import StageError, UsageError
from runners import trt_operators, trt_options
from runners.trt_api import refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.records import Artifact, Option, Precision
    from runners.trt_api import Api
    from runners.trt_options import Options

#: Layers that do the work, by TensorRT's own names; the fourth was dropped in TensorRT 10.
_COMPUTE = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "FULLY_CONNECTED")
#: How the types are called here.
_TYPES = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8"}


def compile_engine(
    api: Api,
    lowered: Artifact,
    precision: Precision,
    options: Options,
    *,
    batches: Sequence[int],
    strongly_typed: bool,
    ahead_for: str | None,
    device: str,
    to: Path,
) -> Artifact:
    """The engine, with one optimization profile for each batch size where the batch is free, each
    of exactly that size, so that kernels are chosen for it.

    `ahead_for` is the compute capability to compile for without its GPU ("7.5"), None on the GPU
    itself, which is `device`. Raises StageError with the compiler's own reason.
    """
    log = api.logger()
    with timing.lap() as taken:
        builder = _made(api, log, lambda: api.module.Builder(log))
        network = builder.create_network(api.network_flags(strongly_typed=strongly_typed))
        _parse(api, network, log, lowered)
        config = builder.create_builder_config()
        profiles = _add_profiles(builder, network, config, batches)
        _set_flags(api, config, precision, options, strongly_typed)
        if ahead_for:
            config.num_compute_capabilities = 1
            name = "SM" + ahead_for.replace(".", "")
            config.set_compute_capability(getattr(api.module.ComputeCapability, name), 0)
        timings = None if ahead_for else _start_timings(config, options)
        layers = typed_layers(network)
        if strongly_typed or precision == "int8":
            _require_precision(precision, layers)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise refusal(
                api, log, what="compile the model", kind="not-compilable", ahead=bool(ahead_for)
            )
        path = to / "model.engine"
        with path.open("wb") as file:
            file.write(plan)
    details: dict[str, Option] = {
        "compiler": api.title,
        "device": device,
        "onnx_sha256": lowered.sha256,
        "layers_as_typed": _listed(layers),
        "batches": ",".join(map(str, profiles)) or "fixed",
        "strongly_typed": strongly_typed,
        "workspace_mb": options.workspace_mb,
        "version_compatible": options.version_compatible,
        "hardware_compatible": options.hardware_compatible,
    }
    if timings is not None:
        details |= _keep_timings(config, timings, to)
    return artifact(path, form=api.form, made_by=api.title, build_s=taken.seconds, details=details)


def _made(api: Api, log: Any, make: Any) -> Any:
    """What a constructor gives. The bindings raise TypeError where the library gave nothing."""
    try:
        return make()
    except (TypeError, RuntimeError) as error:
        if not log.errors:
            log.errors.append(str(error))
        raise refusal(api, log, what="start", kind="not-compilable") from error


def _parse(api: Api, network: Any, log: Any, lowered: Artifact) -> None:
    parser = api.module.OnnxParser(network, log)
    if parser.parse_from_file(lowered.path):
        return
    if not parser.num_errors:
        raise refusal(api, log, what="read the model", kind="not-convertible")
    raise trt_operators.refused(api.title, parser.get_error(0), lowered)


def _add_profiles(builder: Any, network: Any, config: Any, batches: Sequence[int]) -> list[int]:
    """The batch sizes that got a profile: none where the network fixes its batch."""
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    shapes = {each.name: tuple(each.shape) for each in inputs}
    for name, shape in shapes.items():
        if -1 in shape[1:]:
            raise StageError(
                "free-shape", f"input {name!r} has the shape {shape}: only the batch may be free"
            )
    if not any(-1 in shape for shape in shapes.values()):
        return []
    for batch in batches:
        profile = builder.create_optimization_profile()
        for name, shape in shapes.items():
            exact = tuple(batch if size == -1 else size for size in shape)
            profile.set_shape(name, exact, exact, exact)
        config.add_optimization_profile(profile)
    return list(batches)


def _set_flags(
    api: Api, config: Any, precision: Precision, options: Options, strongly_typed: bool
) -> None:
    trt, flag = api.module, api.module.BuilderFlag
    config.clear_flag(flag.TF32)  # it is on by default, and then fp32 is not fp32
    if not strongly_typed:  # TensorRT 8 and 9: what is not in the network is a flag
        for name in {"fp16": ("FP16",), "int8": ("FP16", "INT8")}.get(precision, ()):
            config.set_flag(getattr(flag, name))
    if options.workspace_mb:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    if options.optimization_level >= 0:
        config.builder_optimization_level = options.optimization_level
    if options.version_compatible:
        config.set_flag(flag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    # So that the engine can say afterwards what each layer runs in; it costs nothing at run time.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED


def _start_timings(config: Any, options: Options) -> bytes:
    """Give the compiler a timing cache; the bytes that it begins with, none where it is new."""
    begin = trt_options.timings(options)
    if not config.set_timing_cache(config.create_timing_cache(begin), False):
        raise UsageError(
            f"timing_cache={options.timing_cache} was made by another version or for another GPU: "
            "leave it out, and keep the timing.cache beside the new engine"
        )
    return begin


def _keep_timings(config: Any, begun: bytes, to: Path) -> dict[str, Option]:
    """Write what was timed beside the engine: the next build can begin with it."""
    written = bytes(config.get_timing_cache().serialize())
    (to / "timing.cache").write_bytes(written)
    kept: dict[str, Option] = {"timing_cache_sha256": hashlib.sha256(written).hexdigest()}
    if begun:
        kept["timing_cache_from_sha256"] = hashlib.sha256(begun).hexdigest()
    return kept


def typed_layers(network: Any) -> Counter[str]:
    """How many compute layers have which type in the network: int8 where every tensor that they
    multiply comes out of a DequantizeLinear."""
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    dequantized = {layer.get_output(0).name for layer in layers if layer.type.name == "DEQUANTIZE"}
    found: Counter[str] = Counter()
    for layer in layers:
        if layer.type.name not in _COMPUTE:
            continue
        given = [layer.get_input(i) for i in range(min(2, layer.num_inputs))]
        names = {each.name for each in given if each is not None}
        kind = layer.get_output(0).dtype.name
        found["int8" if names <= dequantized else _TYPES.get(kind, kind.lower())] += 1
    return found


def _require_precision(precision: Precision, layers: Counter[str]) -> None:
    """Raise StageError when the network does not say what the target says."""
    if precision == "int8" and not layers:
        raise StageError(
            "not-quantizable",
            "the network has no convolution and no matrix product: it would not be int8",
        )
    if precision == "int8" and not layers["int8"]:
        raise StageError(
            "not-quantizable",
            f"the network's convolutions and matrix products are {_listed(layers)}: it would not "
            "be int8; ModelOpt leaves those as they are of which it expects no gain, such as "
            "convolutions of few channels and products with a single vector",
        )
    if precision == "fp16" and not layers["fp16"]:
        raise StageError(
            "wrong-precision",
            "the target says fp16, and the convolutions and matrix products of the model are "
            f"{_listed(layers) or 'nothing: it has none'}",
        )


def _listed(layers: Counter[str]) -> str:
    return " ".join(f"{name}:{n}" for name, n in layers.most_common())
