"""int8 for ONNX Runtime: static Q/DQ, and biases that make up for the rounding of the weights."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import timing
from bench.cache import artifact
from bench.errors import StageError
from bench.machine import observe
from runners import ort_biases, ort_inside, ort_ranking
from runners.refusals import refused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from bench.contracts import Calibration, Feed
    from bench.records import Artifact

#: What ONNX Runtime calls the ways to find a range. Percentiles and entropy need all the values of
#: all layers, which are gigabytes over some hundred images: a histogram takes them in by the few.
METHODS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
_AT_A_TIME = 4
#: Files above this many bytes are quantized with their weights outside of the graph: protobuf holds
#: no more than 2 GB.
_LARGE = 1_500_000_000
#: What its CPU has no int8 kernel for: quantized, they round twice and still compute in fp32. (The
#: quantizer cannot share out the scales of group norms, either.)
_IN_FP32 = {"BatchNormalization", "InstanceNormalization", "LayerNormalization"}
#: The layers that int8 is for.
_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
#: What hands on the values that it is given.
_PASSES = {"Cast", "Dropout", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
#: All that is quantized of a network that chooses its boxes: 256 steps are too few for coordinates.
_OF_CHOOSERS = {"Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "MatMul", "MaxPool", "Relu"}


def quantize(onnx: Artifact, calibration: Calibration, to: Path) -> Artifact:
    """Static Q/DQ: uint8 activations, int8 weights per channel, biases corrected."""
    from bench import onnx_graph

    path = to / "model.onnx"
    with timing.lap() as taken, tempfile.TemporaryDirectory(dir=to) as scratch, _refused(to):
        prepared, ranges = _ready(onnx, calibration, Path(scratch))
        _static(onnx, prepared, ranges, calibration, path)
        corrected = ort_biases.correct(prepared, path, calibration)
    if not any(node.op_type == "QuantizeLinear" for node in onnx_graph.read(path).graph.node):
        raise StageError("not-quantizable", "ONNX Runtime found nothing in the model to quantize")
    return artifact(
        path,
        form="onnx-qdq",
        made_by="onnxruntime.quantization",
        build_s=taken.seconds,
        details={
            "per_channel": True,
            "reduce_range": _reduce_range(),
            "biases_corrected": corrected,
            **{name: said for name, said in onnx.details.items() if name == "batch_axis"},
        },
    )


def rank(onnx: Artifact, calibration: Calibration) -> list[str]:
    """Names of the layers, the one first that int8 does most harm to."""
    with tempfile.TemporaryDirectory() as scratch, _refused(Path(scratch)):
        prepared, ranges = _ready(onnx, calibration, Path(scratch))
        _static(onnx, prepared, ranges, calibration, Path(scratch) / "int8.onnx")
        return ort_ranking.rank(prepared, Path(scratch) / "int8.onnx", calibration)


def _refused(room: Path) -> AbstractContextManager[None]:
    return refused("not-quantizable", "ONNX Runtime cannot quantize the model", room)


def _reduce_range() -> bool:
    """Without VNNI, AVX2 adds pairs of u8 x s8 products in 16 bits, which saturates: 7-bit weights
    avoid that (ONNX Runtime, "Quantize ONNX models", the section on reduce_range)."""
    return not observe().flags & {"avx512_vnni", "avx_vnni", "asimddp"}


def _ready(onnx: Artifact, calibration: Calibration, scratch: Path) -> tuple[Path, Path]:
    """The network as it is going to be quantized, and the file with its ranges."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, some: Sequence[Feed]) -> None:
            self._feeds = iter(some)

        def get_next(self) -> Any:
            return next(self._feeds, None)

    prepared, ranges = scratch / "prepared.onnx", scratch / "ranges.json"
    large = _is_large(onnx)
    quant_pre_process(
        _source(onnx, scratch),
        prepared,
        # Its symbolic shape inference fails on shapes that onnx's own handles.
        skip_symbolic_shape=True,
        # Optimized twice (here, and when it is loaded), reshapes of no candidates fail.
        skip_optimization=_chooses(onnx),
        save_as_external_data=large,
        all_tensors_to_one_file=True,
        external_data_location="prepared.data" if large else None,
    )
    method = getattr(CalibrationMethod, METHODS[calibration.method])
    watched = scratch / "watched.onnx"
    calibrator = create_calibrator(
        prepared, None, str(watched), method, use_external_data_format=large
    )
    calibrator.infer_session = None  # its weights, before they are loaded anew
    calibrator.infer_session = ort_inside.session(watched, optimized=False)
    feeds = calibration.feeds()
    while some := list(islice(feeds, _AT_A_TIME)):
        calibrator.collect_data(Reader(some))
    save_tensors_data(calibrator.compute_data(), ranges)
    return prepared, ranges


def _static(
    onnx: Artifact, prepared: Path, ranges: Path, calibration: Calibration, path: Path
) -> None:
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    kinds = (QDQRegistry.keys() | QLinearOpsRegistry.keys()) - _IN_FP32
    quantize_static(
        prepared,
        path,
        op_types_to_quantize=sorted(kinds & _OF_CHOOSERS if _chooses(onnx) else kinds),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=_reduce_range(),
        nodes_to_exclude=[*calibration.keep, *_behind_the_last(prepared), *_shares(prepared)],
        calibrate_method=getattr(CalibrationMethod, METHODS[calibration.method]),
        calibration_cache_path=ranges,
        use_external_data_format=_is_large(onnx),
    )


def _behind_the_last(prepared: Path) -> list[str]:
    """Names of the nodes that no layer is behind: what they compute is the answer. YOLO puts
    coordinates of hundreds of pixels beside scores up to 1, and in 256 steps of both the scores are
    all zero."""
    from bench import onnx_graph

    graph = onnx_graph.read(prepared).graph
    used: set[str] = set()  # by a layer, or by what leads to one
    behind = []
    for node in reversed(graph.node):
        if node.op_type in _LAYERS or not used.isdisjoint(node.output):
            used.update(node.input)
        else:
            behind.append(node.name)
    return behind


def _shares(prepared: Path) -> list[str]:
    """Names of the softmaxes, and of the layers that read them. The range that ONNX Runtime gives a
    softmax is 0 to 1 whatever it computes: of 577 tokens that share it evenly, as in a DeiT at 384,
    256 steps leave nothing. (NNCF leaves these products in fp32, too.)"""
    from bench import onnx_graph

    shares: set[str] = set()
    names = []
    for node in onnx_graph.read(prepared).graph.node:
        if node.op_type == "Softmax":
            names.append(node.name)
            shares.update(node.output)
        elif not shares.isdisjoint(node.input):
            if node.op_type in _LAYERS:
                names.append(node.name)
            elif node.op_type in _PASSES:
                shares.update(node.output)
    return names


def _is_large(exported: Artifact) -> bool:
    """Whether weights have to lie beside the graph, or do already."""
    return exported.bytes > _LARGE or bool(exported.companions)


def _chooses(exported: Artifact) -> bool:
    """Whether a network chooses its boxes itself; it may do so in a branch."""
    from bench import onnx_graph

    graphs = [onnx_graph.read(Path(exported.path)).graph]
    for graph in graphs:
        for node in graph.node:
            if node.op_type == "NonMaxSuppression":
                return True
            graphs += [each.g for each in node.attribute if each.HasField("g")]
    return False


def _source(exported: Artifact, scratch: Path) -> Path:
    """The network in an opset that knows a scale for each channel (13 and later), with a name for
    each of its layers."""
    import onnx
    from onnx import version_converter

    from bench import onnx_graph

    graph = onnx_graph.read(Path(exported.path))
    if onnx_graph.opset(graph) >= 13 and all(node.name for node in graph.graph.node):
        return Path(exported.path)
    model = onnx.load(exported.path)
    if onnx_graph.opset(model) < 13:
        model = version_converter.convert_version(model, 13)
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    path = scratch / "source.onnx"
    onnx.save(model, path, save_as_external_data=bool(exported.companions), location="weights")
    return path
