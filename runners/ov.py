"""OpenVINO on the CPU: fp32, bf16, and int8 by NNCF post-training quantization."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import timing
from bench.cache import artifact
from bench.contracts import ACCURACY_AWARE
from bench.errors import StageError, UsageError
from bench.paths import require_room
from bench.records import TensorSpec
from runners import ov_int8
from runners.ov_int8 import reason

if TYPE_CHECKING:
    from bench.contracts import Array, Calibration, Feed
    from bench.records import Artifact, Option, Precision, Target

#: What is not quantized in an int8 model runs as fp32, not as bf16, so that the two differ in one
#: thing only.
_HINT: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
#: Properties that options of ours set.
_OURS = {"NUM_STREAMS": "--streams", "INFERENCE_NUM_THREADS": "--threads"}
#: How the CPU plug-in names the precisions it executes, and what must (not) be among them.
_INT8 = {"i8", "u8"}
_COMPUTE = {"Convolution", "Deconvolution", "FullyConnected", "MatMul"}


class OpenVinoRunner:
    """The artifact is OpenVINO IR with uncompressed weights; it is compiled when opened."""

    precisions: tuple[Precision, ...] = ("fp32", "bf16", "int8")
    packages: tuple[str, ...] = ("openvino", "nncf")
    methods = tuple(ov_int8.METHODS)

    def probe(self, target: Target) -> str | None:
        try:
            import openvino
        except ImportError as error:
            return f"openvino cannot be imported ({error}): pip install 'frontier-bench[openvino]'"
        if strange := [key for key in target.options if not key.isupper()]:
            raise UsageError(
                f"the openvino runner has no option {strange[0]!r}: its options are OpenVINO's "
                "properties, such as SCHEDULING_CORE_TYPE=PCORE_ONLY"
            )
        for key, option in _OURS.items():
            if key in target.options:
                raise UsageError(f"{key} is set by {option}, which results are told apart by")
        if target.precision == "bf16":
            able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            if "BF16" not in able:
                return (
                    "this CPU has no bf16 instructions (avx512_bf16, amx_bf16), so OpenVINO would "
                    "run fp32 and call it bf16: use cpu-openvino-fp32"
                )
        if target.precision == "int8":
            from importlib.util import find_spec

            if find_spec("nncf") is None:
                return "nncf is not installed: pip install 'frontier-bench[openvino]'"
        return None

    def probe_build(self, target: Target) -> str | None:
        """IR is made for no CPU in particular; what bf16 needs is asked of the one that runs it."""
        return self.probe(
            replace(target, precision="fp32") if target.precision == "bf16" else target
        )

    def build(self, onnx: Artifact, target: Target, calibration: Calibration, to: Path) -> Artifact:
        """ONNX to IR; for int8, quantized on the way, unless it is quantized."""
        from bench import onnx_graph  # here: onnx has no place in a process that measures
        from runners import onnx_precision

        details: dict[str, Option] = {}
        graph = onnx_graph.read(Path(onnx.path))
        if target.precision != "int8":
            onnx_precision.require_unquantized(graph, target.precision)
        quantizes = target.precision == "int8" and not onnx_precision.is_int8(graph)
        with timing.lap() as taken:
            try:
                model = _converted(onnx)
            except Exception as error:  # its converter's own and the core's have no common base
                raise StageError(
                    "not-convertible", f"OpenVINO cannot read the model: {reason(error)}"
                ) from error
            _name_inputs(model, [spec.name for spec in onnx_graph.inputs(graph)])
            if quantizes:
                model = ov_int8.quantize(model, calibration)
                details = {"nncf": ov_int8.METHODS[calibration.method]}
                if calibration.method == ACCURACY_AWARE:  # it chooses itself what to keep
                    details["kept"] = "\n".join(ov_int8.in_fp32(model))
            _save(model, to / "model.xml")
        return artifact(
            to / "model.xml",
            form="openvino-ir",
            made_by="nncf" if quantizes else "openvino",
            build_s=taken.seconds,
            companions=["model.bin"],
            details=details,
        )

    def rank(self, onnx: Artifact, target: Target, calibration: Calibration) -> Sequence[str]:
        return ov_int8.rank(_converted(onnx), calibration)

    @contextmanager
    def open(
        self, built: Artifact, target: Target, *, batch: int, threads: int, streams: int = 1
    ) -> Iterator[list[OpenVinoSession]]:
        """Streams are those of one compiled model: two would pin themselves to the same core."""
        import openvino as ov

        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            # Left alone, a CPU that has bf16 silently computes fp32 models in it.
            "INFERENCE_PRECISION_HINT": _HINT[target.precision],
            "INFERENCE_NUM_THREADS": threads * streams,
            "NUM_STREAMS": streams,
            **target.options,
        }
        core = ov.Core()
        try:
            model = core.read_model(built.path)
            _fix_batch(model, batch)
            compiled = core.compile_model(model, "CPU", config)
        except RuntimeError as error:
            raise StageError(
                "not-compilable", f"OpenVINO refuses the model: {reason(error)}"
            ) from error
        executed = _executed(compiled)
        _require_precision(target.precision, executed)
        yield [OpenVinoSession(compiled, executed) for _ in range(streams)]


class OpenVinoSession:
    """A synchronous request on its own tensors. Inputs are copied into them: with another tensor
    for every call the request spends 1.5 µs in finding its way anew."""

    def __init__(self, compiled: Any, executed: Counter[str]) -> None:
        self._compiled = compiled
        self._executed = executed
        self._request = compiled.create_infer_request()
        self._held = {
            name: self._request.get_input_tensor(i).data
            for i, port in enumerate(compiled.inputs)
            for name in port.names
        }
        self._outputs = range(len(compiled.outputs))
        self.inputs: Sequence[TensorSpec] = [
            TensorSpec(_name(port), tuple(port.shape), port.element_type.to_dtype().name)
            for port in compiled.inputs
        ]

    def stage(self, feed: Feed) -> None:
        for name, values in feed.items():
            np.copyto(self._held[name], values)

    def step(self) -> None:
        self._request.infer(share_outputs=True)

    def fetch(self) -> Sequence[Array]:
        return [self._request.get_output_tensor(i).data for i in self._outputs]

    def flags(self) -> Mapping[str, Option]:
        get = self._compiled.get_property
        return {
            "threads": int(get("INFERENCE_NUM_THREADS")) // int(get("NUM_STREAMS")),
            "streams": int(get("NUM_STREAMS")),
            "precision_hint": get("INFERENCE_PRECISION_HINT").get_type_name(),
            "executed": " ".join(f"{name}:{n}" for name, n in self._executed.most_common()),
        }


def _converted(onnx: Artifact) -> Any:
    """The network with its constants folded and its layers fused, as OpenVINO's converter leaves
    it. Merely read, NNCF does not recognise its biases, and silently corrects none: that cost
    yolox_nano 12 points of mAP (`docs/benchmarks.md`)."""
    import openvino as ov

    return ov.convert_model(onnx.path)


def _name_inputs(model: Any, names: Sequence[str]) -> None:
    """Give back the names in the ONNX graph: of an input that a Dropout reads, which does nothing,
    the converter keeps the Dropout's alone."""
    known = {name for port in model.inputs for name in port.names}
    unnamed = [port for port in model.inputs if port.names.isdisjoint(names)]
    lost = [name for name in names if name not in known]
    for port, name in zip(unnamed, lost, strict=False):
        port.get_tensor().add_names({name})
        port.get_node().set_friendly_name(name)


def _name(port: Any) -> str:
    """An input's name in the ONNX graph. It is also called like the output of an Identity that
    reads it, by which `any_name` may call it."""
    name: str = port.get_node().get_friendly_name()
    return name if name in port.names else port.any_name


def _save(model: Any, path: Path) -> None:
    """Write IR. Raises OSError where the disk is full, and StageError for what else is wrong: what
    OpenVINO says is "iostream error"."""
    import openvino as ov

    try:
        # The default would halve the weights to fp16: another artifact than was asked for.
        ov.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        require_room(path.parent)
        raise StageError(
            "not-written", f"OpenVINO cannot write {path}: {reason(error)}: is a quota reached?"
        ) from error


def _fix_batch(model: Any, batch: int) -> None:
    """A fixed shape is what is deployed for latency; a free one costs time in every call. An input
    beside the first may have no batch."""
    shapes = {}
    for i, port in enumerate(model.inputs):
        shape = port.partial_shape
        if shape.rank.get_length() and shape[0].is_dynamic:
            shape[0] = batch
            shapes[port] = shape
        elif i == 0 and shape.rank.get_length() and shape[0].get_length() != batch:
            raise StageError(
                "fixed-batch",
                f"the model is fixed at batch {shape[0].get_length()}, and batch {batch} is asked",
            )
    if shapes:
        model.reshape(shapes)


def _executed(compiled: Any) -> Counter[str]:
    """How many compute layers (convolutions, matrix products) run in which precision."""
    layers: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        if "layerType" in info and info["layerType"].astype(str) in _COMPUTE:
            layers[info["runtimePrecision"].astype(str)] += 1
    return layers


def _require_precision(precision: Precision, executed: Counter[str]) -> None:
    """Raise StageError when what runs is not what the target says."""
    seen = set(executed)
    wrong = {
        "fp32": bool(seen - {"f32"}),
        "bf16": "bf16" not in seen,
        "int8": not seen & _INT8,
    }[precision]
    if wrong:
        found = ", ".join(f"{name} ({n})" for name, n in executed.most_common())
        raise StageError(
            "wrong-precision",
            f"the target says {precision}, and OpenVINO runs the convolutions and matrix products "
            f"as {found or 'nothing: the model has none'}",
        )
