"""What an ONNX file tells without its weights being read: inputs, outputs, parameters."""

from __future__ import annotations

import re
import tempfile
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from bench import onnx_count
from bench.errors import StageError, first_line
from bench.records import Facts, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.records import Artifact

    _Body = onnx.GraphProto | onnx.FunctionProto

#: ONNX's own operators of quantized networks.
_QUANTIZED = {
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
}
#: What others call theirs (ONNX Runtime's QAttention, DynamicQuantizeMatMul, MatMulNBits, ...; its
#: QuickGelu is none).
_QUANTIZED_BY_OTHERS = re.compile(r"Q(?!uick)|.*(Quantize|Integer|NBits|Bnb4)")


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
        {ExternalDataInfo(each).location for each in tensors(model) if uses_external_data(each)}
    )


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Those of the graph, of the graphs within its nodes, and of the model's own functions."""
    for each in _bodies(model.graph, *model.functions):
        yield from each.node


def inside(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Those of the branches and loops of a node, and of what is within them."""
    for each in _bodies(*_branches(node)):
        yield from each.node


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All that hold values: initializers, and what is written in the nodes themselves."""
    for body in _bodies(model.graph, *model.functions):
        sparse = []
        if isinstance(body, onnx.GraphProto):
            yield from body.initializer
            sparse += body.sparse_initializer
        for attribute in (each for node in body.node for each in node.attribute):
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("sparse_tensor"):
                sparse.append(attribute.sparse_tensor)
            yield from attribute.tensors
            sparse += attribute.sparse_tensors
        for each in sparse:
            yield from (each.values, each.indices)


def _bodies(*roots: _Body) -> Iterator[_Body]:
    """These, and every branch and loop in them."""
    waiting = [*roots]
    for body in waiting:  # which grows on the way
        yield body
        for node in body.node:
            waiting += _branches(node)


def _branches(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def quantized(model: onnx.ModelProto) -> set[str]:
    """The operators by which a file computes with quantized numbers or holds such weights; none in
    one that was never quantized."""
    own = {(each.domain, each.name) for each in model.functions}
    return {
        node.op_type
        for node in nodes(model)
        if node.op_type in _QUANTIZED
        or (
            node.domain not in ("", "ai.onnx")
            and (node.domain, node.op_type) not in own
            and _QUANTIZED_BY_OTHERS.match(node.op_type)
        )
    }


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
            onnx_count.shape(value),
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
        )
        for value in given
    )


def batch_axis(model: onnx.ModelProto) -> str:
    """What the file calls the free first axis of its first input; empty where it has no name."""
    name = inputs(model)[0].name
    [value] = [each for each in model.graph.input if each.name == name]
    return next((dim.dim_param for dim in value.type.tensor_type.shape.dim), "")


def fix(model: onnx.ModelProto, spec: TensorSpec) -> None:
    """Give an input the sizes in `spec`, and with it all that has names of them."""
    [given] = [value for value in model.graph.input if value.name == spec.name]
    named = {}
    for dim, size in zip(given.type.tensor_type.shape.dim, spec.shape, strict=True):
        if size is not None:
            named[dim.dim_param] = size
            dim.dim_value = size
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param and dim.dim_param in named:
                dim.dim_value = named[dim.dim_param]


def output_shape(model: onnx.ModelProto) -> tuple[int | None, ...]:
    """The shape of the first output, None where a size is free; empty where nothing is said."""
    return onnx_count.shape(model.graph.output[0]) if model.graph.output else ()


def opset(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators, 0 where none is used."""
    return max((entry.version for entry in model.opset_import if not entry.domain), default=0)


def facts(exported: Artifact) -> Facts:
    """Parameters, and what is counted on the graph (`bench.onnx_count`), without its weights.

    Parameters are those that the exporter says it found, for it folds norms into weights and writes
    tables out; else the elements of all initializers that are floating-point, or were before they
    were quantized, without scales and zero points.
    """
    model = read(Path(exported.path))
    stated = exported.details.get("parameters")
    params = stated if isinstance(stated, int) else _elements(model)
    found = onnx_count.count(model)
    # Folding reads the weights: not those of a file that is too large for protobuf.
    folded = None if exported.companions or not found.left_out else _folded(exported)
    if folded is not None:
        again = onnx_count.count(folded)
        found = min(found, again, key=lambda each: sum(each.left_out.values()))
    if not found.left_out:
        return Facts(params, found.macs, found.activations)
    said = ", ".join(f"{n} {kind}" for kind, n in sorted(found.left_out.items()))
    return Facts(params, None, None, least_macs=found.macs, uncounted=said)


#: Which inputs of the operators of int8 can be weights and biases; the others are scales and zero
#: points.
_LEARNT = {
    "ConvInteger": (0, 1),
    "DequantizeLinear": (0,),
    "MatMulInteger": (0, 1),
    "QGemm": (0, 3, 6),
    "QLinearConv": (0, 3, 8),
    "QLinearMatMul": (0, 3),
    "QuantizeLinear": (0,),
}


def _elements(model: onnx.ModelProto) -> int:
    learnt: set[str] = set()
    scales: set[str] = set()
    for node in model.graph.node:
        if (places := _LEARNT.get(node.op_type)) is not None:
            for i, name in enumerate(node.input):
                (learnt if i in places else scales).add(name)
    return sum(
        prod(tensor.dims)
        for tensor in model.graph.initializer
        if len(tensor.dims) > 0
        and (tensor.data_type in onnx_count.FLOATS or tensor.name in learnt)
        and tensor.name not in scales
    )


def _folded(exported: Artifact) -> onnx.ModelProto | None:
    """The graph with all that is computed of sizes computed, as detectors do of their input's,
    where shape inference gets lost; None where ONNX Runtime does not take it."""
    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as scratch:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(scratch) / "model.onnx")
        options.log_severity_level = 3
        axis = str(exported.details.get("batch_axis", "batch"))
        options.add_free_dimension_override_by_name(axis, 1)
        try:
            ort.InferenceSession(exported.path, options, ["CPUExecutionProvider"])
            return onnx.load(options.optimized_model_filepath, load_external_data=False)
        except Exception:  # its exceptions share no base class but Exception
            return None
