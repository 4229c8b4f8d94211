"""The ONNX file that TensorRT is given: in fp16, or with explicit Q/DQ in int8 and fp16.

TensorRT 11 has neither the INT8 calibrator nor flags for precisions: types are the network's own.
Explicit Q/DQ is also what TensorRT 8.5 to 10 take, and it can be checked on ONNX Runtime, on a
machine without a GPU. ONNX Runtime's own Q/DQ is not it: TensorRT refuses its int32 biases, and
what it leaves in fp32 Turing's int8 and fp16 kernels cannot take.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import timing
from bench.cache import artifact
from bench.errors import StageError, Unavailable
from runners import ort_ranking, trt_bias, trt_operators
from runners.refusals import refused

if TYPE_CHECKING:
    from bench.contracts import Calibration
    from bench.records import Artifact, Option, Precision

#: What `lower` makes of an exported file, by precision.
FORMS = {"fp16": "onnx-fp16", "int8": "onnx-qdq"}
#: How ranges are found. Entropy, which is ModelOpt's default, cost two MobileNets 2.6 and 16 points
#: of top-1, max 0.9 and 0.2 (`benchmarks/tensorrt_accuracy.py`).
METHODS = ("max", "entropy")
#: The last opset that the parser of TensorRT 8.5 reads, whose networks are not strongly typed.
OLD_OPSET = 17
INSTALL = "pip install 'frontier-bench[modelopt]'"


def _require_modelopt(precision: Precision) -> None:
    from importlib.util import find_spec

    needed = ("modelopt", "onnx_graphsurgeon", "onnxslim", "polygraphy", "lief", "cppimport")
    if gone := [name for name in needed if find_spec(name) is None]:
        raise Unavailable(
            f"to make {precision} of the network, {', '.join(gone)} is needed: {INSTALL}; a file "
            "that `bench compile` made elsewhere can be run as it is"
        )


def lower(
    onnx: Artifact,
    precision: Precision,
    calibration: Calibration,
    to: Path,
    *,
    strongly_typed: bool,
) -> Artifact:
    """The network in the target's precision. A file that is in it already is taken as it is; so is
    any for fp16 where the compiler has a flag for it (not `strongly_typed`)."""
    found = _precision(onnx)
    as_it_is = found == precision or (found, precision, strongly_typed) == ("fp32", "fp16", False)
    if found != "fp32" and not as_it_is:
        raise StageError(
            "wrong-precision", f"the target says {precision}, and the ONNX file is {found} already"
        )
    if as_it_is and (strongly_typed or not _too_new(onnx)):
        return onnx
    if not as_it_is:
        trt_operators.require_own(onnx)
        _require_modelopt(precision)
    path = to / "lowered.onnx"
    details: dict[str, Option] = {}
    if precision == "int8":
        refusal = "not-quantizable", "ModelOpt cannot quantize the model"
    else:
        refusal = "not-convertible", "ModelOpt cannot convert the model"
    scratched = tempfile.TemporaryDirectory(dir=to)
    with timing.lap() as taken, _quiet(), scratched as scratch, refused(*refusal, to):
        source = _own_copy(onnx, Path(scratch))
        if as_it_is:
            source.rename(path)
        elif precision == "int8":
            rest = "fp16" if strongly_typed else "fp32"
            details = _quantize(source, path, calibration, rest)
        else:
            _halve(source, path)
        if not strongly_typed:
            _make_older(path)
    return artifact(
        path,
        form="onnx" if as_it_is else FORMS[precision],
        made_by="onnx" if as_it_is else "modelopt",
        build_s=taken.seconds,
        details=details,
    )


def _too_new(onnx: Artifact) -> bool:
    from bench import onnx_graph

    return onnx_graph.opset(onnx_graph.read(Path(onnx.path))) > OLD_OPSET


def _make_older(path: Path) -> None:
    """Bring a file to the opset that TensorRT 8.5 reads."""
    import onnx as library
    from onnx import version_converter

    from bench import onnx_graph

    model = library.load(path)
    if onnx_graph.opset(model) > OLD_OPSET:
        try:
            model = version_converter.convert_version(model, OLD_OPSET)
        except Exception as error:
            raise trt_operators.stopped(error, OLD_OPSET) from error
        for node in model.graph.node:  # the converter leaves one that came with opset 18
            for each in [each for each in node.attribute if each.name == "noop_with_empty_axes"]:
                node.attribute.remove(each)
    model.ir_version = min(model.ir_version, 8)
    library.save(model, path)


def _precision(onnx: Artifact) -> str:
    """What a file computes in, as its graph says."""
    from onnx import TensorProto

    from bench import onnx_graph

    model = onnx_graph.read(Path(onnx.path))
    if onnx_graph.quantized(model):
        return "int8"
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    return "fp16" if TensorProto.FLOAT16 in kinds else "fp32"


def _own_copy(onnx: Artifact, scratch: Path) -> Path:
    """The network in a folder of its own, for ModelOpt writes beside what it reads; with a name for
    each node, for it converts nodes by their names and leaves those without any as they are. Older
    opsets know no scale for each channel."""
    import onnx as library
    from onnx import version_converter

    from bench import onnx_graph

    model = library.load(onnx.path)
    if onnx_graph.opset(model) < 13:
        model = version_converter.convert_version(model, 13)
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    path = scratch / "model.onnx"
    library.save(model, path)
    return path


def rank(onnx: Artifact, calibration: Calibration) -> list[str]:
    """Names of the layers that int8 harms, the most harmed first."""
    _require_modelopt("int8")
    refusal = refused("not-quantizable", "the layers cannot be ranked")
    with _quiet(), tempfile.TemporaryDirectory() as scratch, refusal:
        source = _own_copy(onnx, Path(scratch))
        quantized = source.with_name("quantized.onnx")
        _to_qdq(source, quantized, calibration, "fp32")
        return ort_ranking.rank(source, quantized, calibration)


def _quantize(source: Path, path: Path, calibration: Calibration, rest: str) -> dict[str, Option]:
    """int8 weights per channel and activations per tensor, both symmetric; the rest in `rest`."""
    from bench import onnx_graph

    _to_qdq(source, path, calibration, rest)
    if not any(node.op_type == "QuantizeLinear" for node in onnx_graph.read(path).graph.node):
        raise StageError("not-quantizable", "ModelOpt found nothing in the model to quantize")
    corrected = trt_bias.correct(source, path, calibration)
    return {"per_channel": True, "not_quantized_in": rest, "biases_corrected": corrected}


def _to_qdq(source: Path, path: Path, calibration: Calibration, rest: str) -> None:
    from modelopt.onnx.quantization import quantize

    quantize(
        str(source),
        quantize_mode="int8",
        calibration_data_reader=_reader(calibration),
        calibration_method=calibration.method if calibration.method in METHODS else METHODS[0],
        calibration_eps=["cpu"],
        high_precision_dtype=rest,
        nodes_to_exclude=[re.escape(name) for name in calibration.keep],  # it takes patterns
        output_path=str(path),
        log_level="ERROR",
    )


def _reader(calibration: Calibration) -> Any:
    """Calibration feeds as ONNX Runtime's quantization reads them; ModelOpt looks at the first one
    on its own."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rewind()

        def rewind(self) -> None:
            self._feeds = calibration.feeds()

        def get_first(self) -> Any:
            return next(calibration.feeds())

        def get_next(self) -> Any:
            return next(self._feeds, None)

    return Reader()


def _halve(source: Path, path: Path) -> None:
    """Every value in fp16, but for the inputs and outputs, which stay what they are."""
    import onnx as library
    from modelopt.onnx.autocast import convert_to_f16

    library.save(convert_to_f16(library.load(source), keep_io_types=True), path)


@contextmanager
def _quiet() -> Iterator[None]:
    """ModelOpt tells of its progress and of a missing GPU; what matters is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
