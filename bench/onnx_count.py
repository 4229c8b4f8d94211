"""What a network costs, counted on its ONNX graph: multiply-accumulates and activations.

Both are of convolutions and matrix products, those between activations (attention) and those of
recurrent layers among them, as the field counts them: fvcore's `FlopCountAnalysis` and
`ActivationCountAnalysis`, by which timm's tables are made, and the `_ops` of torchvision's weights.
An activation is an element of the output of such a layer (Radosavovic et al. 2020, "Designing
Network Design Spaces", section 3.3, who count convolutions only). A fused multiply-add is one.
Norms, pooling and resizing, which fvcore counts, are not: they are 0.3 to 1.6 % of most networks in
timm's tables, and 6 % of a MobileNetV3.
"""

from __future__ import annotations

import ast
import operator
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, inliner, shape_inference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Shapes = Mapping[str, tuple[int, ...]]

FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
#: Floats that sizes may follow from (the scales of a Resize) are a list no longer than this.
_SCALES = 16
#: Batch, and height, width and channels in any order.
_IMAGE_RANK = 4


@dataclass
class Count:
    """At batch 1. `left_out` says how often each kind of layer could not be counted."""

    macs: int = 0
    activations: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def count(model: onnx.ModelProto) -> Count:
    """Count a graph. The model is changed on the way: its shapes are set, its weights dropped."""
    batch = _settle(model)
    if model.functions:
        model = inliner.inline_local_functions(model)
    with suppress(Exception):  # too odd a graph for inference may still say its shapes itself
        model = shape_inference.infer_shapes(model, data_prop=True)
    found = Count()
    _walk(model.graph, {}, frozenset(), found)
    found.macs //= batch
    found.activations //= batch
    return found


def shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """The sizes of a tensor, None where one is free."""
    return tuple(
        size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None
        for size in value.type.tensor_type.shape.dim
    )


def _settle(model: onnx.ModelProto) -> int:
    """Set a free batch to 1, in the shapes that are written down too, and drop the floats that the
    file holds, but for the few that shapes may depend on; the batch size: that of the first image,
    and 1 where no input is one, for a first axis may be anything."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    known: dict[str, int] = {}
    for value in inputs:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].dim_value:
            if dims[0].dim_param:
                known[dims[0].dim_param] = 1
            dims[0].dim_value = 1
    for value in (*graph.input, *graph.value_info, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            size = _evaluated(dim.dim_param, known) if dim.dim_param else None
            if size is not None:
                dim.dim_value = size
    for tensor in graph.initializer:
        if tensor.data_type in FLOATS and (len(tensor.dims) > 1 or prod(tensor.dims) > _SCALES):
            tensor.ClearField("raw_data")
    images = (each for each in map(shape, inputs) if len(each) == _IMAGE_RANK)
    return next(images, (1,))[0] or 1


_ARITHMETIC: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def _evaluated(expression: str, known: dict[str, int]) -> int | None:
    """What torch writes for a size that follows from the batch, such as "64*batch"."""

    def value(node: ast.AST) -> int:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.Name):
            return known[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            return _ARITHMETIC[type(node.op)](value(node.left), value(node.right))
        raise ValueError

    try:
        return value(ast.parse(expression, mode="eval").body)
    except (KeyError, SyntaxError, ValueError, ZeroDivisionError):
        return None


def _walk(graph: onnx.GraphProto, outer: Shapes, around: frozenset[str], found: Count) -> None:
    """Add what a graph and the graphs inside of it cost. `outer` and `around` are the shapes and
    the weights of the graphs that it is inside of."""
    shapes, weights = dict(outer), around | _weights(graph)
    for value in (*graph.input, *graph.value_info, *graph.output):
        sizes = shape(value)
        known = tuple(size for size in sizes if size is not None)
        # Without a shape it is unknown, not a scalar.
        if value.type.tensor_type.HasField("shape") and len(known) == len(sizes):
            shapes[value.name] = known
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                inside = Count()
                _walk(attribute.g, shapes, weights, inside)
                # How often a branch or a loop runs is not in the graph.
                if inside.activations or inside.left_out:
                    found.left_out[node.op_type] += 1
        if node.domain not in _OWN:
            # ONNX Runtime's optimizer writes FusedConv, FusedMatMul and MultiHeadAttention.
            works = _WORKS.search(node.op_type) or not weights.isdisjoint(node.input)
            if works and node.op_type not in _REWRITES:
                found.left_out[node.op_type] += 1
        elif node.op_type in _UNCOUNTED:
            found.left_out[node.op_type] += 1
        elif node.op_type in _COUNTED:
            try:
                macs = _COUNTED[node.op_type](node, shapes)
                put_out = _states if node.op_type in _RECURRENT else _first_output
                activations = put_out(node, shapes)
            except (KeyError, IndexError, ValueError):
                found.left_out[node.op_type] += 1  # an unknown size somewhere
            else:
                found.macs += macs
                found.activations += activations


def _weights(graph: onnx.GraphProto) -> set[str]:
    """Names of the constants that may be multiplied as a matrix: those of two axes and more."""
    given = [(tensor.name, tensor) for tensor in graph.initializer]
    for node in graph.node:
        given += [(node.output[0], each.t) for each in node.attribute if node.op_type == "Constant"]
    return {name for name, tensor in given if len(tensor.dims) > 1}


def _conv(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Each output element is a product over (input channels / groups) x kernel."""
    return prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])


def _deformable(node: onnx.NodeProto, shapes: Shapes) -> int:
    """As a convolution; finding the places to read from is not counted."""
    return _conv(node, shapes)


def _conv_transpose(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Each input element meets (output channels / groups) x kernel weights."""
    return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])


def _gemm(node: onnx.NodeProto, shapes: Shapes) -> int:
    inner = shapes[node.input[0]][0 if _flag(node, "transA") else 1]
    return prod(shapes[node.output[0]]) * inner


def _matmul(node: onnx.NodeProto, shapes: Shapes) -> int:
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _einsum(node: onnx.NodeProto, shapes: Shapes) -> int:
    """A product for every combination of all indices; KeyError where several at once, or an
    ellipsis, hide how many there are."""
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    if len(terms) > 2 or "." in equation:
        raise KeyError(equation)
    sizes: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        for letter, size in zip(term, shapes[name], strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return prod(sizes.values()) if len(terms) == 2 else 0


def _recurrent(node: onnx.NodeProto, shapes: Shapes) -> int:
    """All weights of an input and of a state meet every step of every sequence, as the equations of
    the operators say; what a gate multiplies element by element is no matrix product."""
    first, second, _ = shapes[node.input[0]]
    return first * second * (prod(shapes[node.input[1]]) + prod(shapes[node.input[2]]))


def _states(node: onnx.NodeProto, shapes: Shapes) -> int:
    """The states of every step, whether the graph reads them all or the last ones only."""
    first, second, _ = shapes[node.input[0]]
    directions, _, hidden = shapes[node.input[2]]
    return first * second * directions * hidden


def _first_output(node: onnx.NodeProto, shapes: Shapes) -> int:
    return prod(shapes[node.output[0]])


def _flag(node: onnx.NodeProto, name: str) -> bool:
    return any(attribute.name == name and attribute.i for attribute in node.attribute)


#: How ONNX names its own operators' domain.
_OWN = {"", "ai.onnx"}
#: What somebody's own operators that multiply are called; and those that do not, though they read
#: weights.
_WORKS = re.compile(r"Attention|Conv(?!ert)|Gemm|MatMul")
_REWRITES = {"DequantizeLinear", "QuantizeLinear"}
#: Ops that multiply and are not counted yet.
_UNCOUNTED = {
    "Attention",
    "ConvInteger",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
}
_RECURRENT = {"GRU", "LSTM", "RNN"}
_COUNTED = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DeformConv": _deformable,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": _matmul,
    **dict.fromkeys(_RECURRENT, _recurrent),
}
