"""Facts that an ONNX graph tells: its inputs, its parameters, its multiply-accumulates."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, shape_inference
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from bench.errors import StageError, first_line
from bench.records import Facts, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Shapes = Mapping[str, Sequence[int]]

    from bench.records import Artifact


def read(path: Path) -> onnx.ModelProto:
    """The graph of a file, without its external weights.

    Raises StageError "bad-model" with one sentence when the file is not a whole ONNX model.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise StageError("bad-model", f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # protobuf has its own DecodeError, not public in every version
        raise StageError("bad-model", f"{path} is not an ONNX file") from error
    if not model.graph.node:
        raise StageError("bad-model", f"{path} is not an ONNX file, or has no nodes")
    for name in companions(model):
        if not (path.parent / name).is_file():
            raise StageError("bad-model", f"{path} keeps weights in {name}, which is missing")
    return model


def verify(path: Path) -> None:
    """Raise StageError "bad-model" when `onnx.checker` refuses the file."""
    try:
        onnx.checker.check_model(str(path))
    except Exception as error:  # ValidationError, and RuntimeError from C++
        reason = first_line(error)
        raise StageError("bad-model", f"{path} is not valid ONNX: {reason}") from error


def companions(model: onnx.ModelProto) -> list[str]:
    """Names of the files beside the model that hold its weights."""
    return sorted(
        {
            ExternalDataInfo(tensor).location
            for tensor in model.graph.initializer
            if uses_external_data(tensor)
        }
    )


def inputs(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """The graph's inputs, without the initializers that old opsets list among them."""
    constants = {tensor.name for tensor in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in constants]
    for value in given:
        if not value.type.tensor_type.elem_type:
            raise StageError("bad-model", f"input {value.name!r} is no tensor")
    return tuple(
        TensorSpec(
            value.name,
            tuple(_shape(value)),
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
        )
        for value in given
    )


def output_shape(model: onnx.ModelProto) -> tuple[int | None, ...]:
    """The shape of the first output, None where a size is free; empty where nothing is said."""
    return tuple(_shape(model.graph.output[0])) if model.graph.output else ()


def opset(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators, 0 where none is used."""
    return max((entry.version for entry in model.opset_import if not entry.domain), default=0)


def _shape(value: onnx.ValueInfoProto) -> Iterator[int | None]:
    for size in value.type.tensor_type.shape.dim:
        yield size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None


def facts(exported: Artifact) -> Facts:
    """Parameters, and multiply-accumulates at batch 1.

    Parameters are the elements of all floating-point initializers. MACs are those of convolutions
    and matrix products, as the field counts them; None where shapes cannot be inferred.
    """
    model = read(Path(exported.path))
    params = sum(
        prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type in _FLOATS and len(tensor.dims) > 0
    )
    return Facts(params=params, macs=_macs(model))


_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


def _macs(model: onnx.ModelProto) -> int | None:
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].dim_value:
            dims[0].dim_value = 1
    try:
        graph = shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # a graph too odd for inference still has a latency
        return None
    shapes = {
        value.name: list(_shape(value))
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")  # without one it is unknown, not a scalar
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    whole = {name: tuple(filter(None, shape)) for name, shape in shapes.items() if all(shape)}
    total = 0
    for node in graph.node:
        # How often a branch or a loop runs is not in the graph.
        loops = any(attribute.HasField("g") for attribute in node.attribute)
        if loops or node.op_type in _UNCOUNTED:
            return None
        if node.op_type in _COUNTED:
            try:
                total += _COUNTED[node.op_type](node, whole)
            except (KeyError, IndexError):
                return None  # an unknown size somewhere: no count is better than a wrong one
    batch = next((whole[v.name][0] for v in graph.input if whole.get(v.name)), 1)
    return total // batch


def _conv(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Each output element is a product over (input channels / groups) x kernel."""
    return prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])


def _conv_transpose(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Each input element meets (output channels / groups) x kernel weights."""
    return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])


def _gemm(node: onnx.NodeProto, shapes: Shapes) -> int:
    inner = shapes[node.input[0]][0 if _flag(node, "transA") else 1]
    return prod(shapes[node.output[0]]) * inner


def _matmul(node: onnx.NodeProto, shapes: Shapes) -> int:
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _flag(node: onnx.NodeProto, name: str) -> bool:
    return any(attribute.name == name and attribute.i for attribute in node.attribute)


#: Ops that multiply and are not counted yet.
_UNCOUNTED = {
    "ConvInteger",
    "DeformConv",
    "Einsum",
    "GRU",
    "LSTM",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "RNN",
}
_COUNTED = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
