"""What an ONNX file computes in, as its graph says: a target's precision is what is measured."""

from __future__ import annotations

from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, inliner, shape_inference

from bench import onnx_count, onnx_graph
from bench.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.records import Precision

#: Floats that are not fp32.
_OTHER: dict[int, str] = {
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.DOUBLE: "float64",
}
_HALVES = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
#: The layers whose type is the network's.
_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
#: By these alone, a network holds integers and computes in floats.
_OF_WEIGHTS = {"DequantizeLinear", "MatMulBnb4", "MatMulNBits"}
#: No shape follows from a list of floats that is longer.
_SCALES = 16


def is_int8(model: onnx.ModelProto) -> bool:
    """Whether a file is quantized already, so that an int8 target takes it as it is. Raises
    StageError "wrong-precision" where only its weights are."""
    found = onnx_graph.quantized(model)
    if found and found <= _OF_WEIGHTS:
        raise StageError(
            "wrong-precision",
            f"only the weights of the ONNX file are quantized ({_listed(found)}), it computes in "
            "floating point: give the file that it was made from",
        )
    return bool(found)


def require_unquantized(model: onnx.ModelProto, precision: Precision) -> None:
    """Raise StageError "wrong-precision" for a quantized file."""
    if found := onnx_graph.quantized(model):
        raise StageError(
            "wrong-precision",
            f"the target says {precision}, and the ONNX file holds {_listed(found)}: it is "
            "quantized already; take cpu-ort-int8 or cpu-openvino-int8, which run it as it is",
        )


def require_fp32(model: onnx.ModelProto) -> None:
    """Raise StageError "wrong-precision" when the file itself says that it does not compute in
    fp32. The model's weights are dropped on the way."""
    require_unquantized(model, "fp32")
    found = None
    if any(tensor.data_type in _HALVES for tensor in onnx_graph.tensors(model)):
        found = "holds half-precision weights"
    elif others := sorted(_OTHER[kind] for kind in _types(model) & _OTHER.keys()):
        found = f"computes convolutions or matrix products in {', '.join(others)}"
    if found:
        raise StageError(
            "wrong-precision",
            f"the target says fp32, and the ONNX file {found}: export it in fp32",
        )


def _types(model: onnx.ModelProto) -> set[int]:
    """The types of what the layers read, as far as they can be known."""
    for tensor in onnx_graph.tensors(model):  # which inference would copy
        if tensor.data_type in onnx_count.FLOATS and prod(tensor.dims) > _SCALES:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
    with suppress(Exception):  # too odd a graph for inference may still say its types itself
        if model.functions:
            model = inliner.inline_local_functions(model)
        model = shape_inference.infer_shapes(model)
    found: set[int] = set()
    _walk(model.graph, {}, found)
    return found


def _walk(graph: onnx.GraphProto, outer: Mapping[str, int], found: set[int]) -> None:
    types = dict(outer)
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in _LAYERS:
            found.update(types.get(name, TensorProto.UNDEFINED) for name in node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _walk(attribute.g, types, found)


def _listed(operators: set[str]) -> str:
    return ", ".join(sorted(operators))
