"""The canary as a torch program. It is an ONNX graph of six kinds of nodes, written out here; this
is no converter of other people's models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import onnx_graph, timing
from bench.cache import artifact
from bench.errors import StageError

if TYPE_CHECKING:
    from bench.records import Artifact

_KINDS = {"Add", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "Relu"}


def convert(onnx: Artifact, to: Path) -> Artifact:
    """The graph as a torch program with a free batch. Raises StageError for one with other nodes:
    what comes as an ONNX file has no torch program."""
    import onnx as onnx_package
    import torch

    graph = onnx_graph.read(Path(onnx.path)).graph
    strange = sorted({node.op_type for node in graph.node} - _KINDS)
    if strange or len(graph.input) != 1:
        found = ", ".join(strange) or "several inputs"
        raise StageError(
            "no-program", f"torch itself runs no ONNX files, such as this with {found}"
        )
    with timing.lap() as taken:
        module = _module(torch, onnx_package, graph)
        shape = [size.dim_value or 2 for size in graph.input[0].type.tensor_type.shape.dim]
        batch = torch.export.Dim("batch", min=1)
        program = torch.export.export(
            module.eval(), (torch.zeros(*shape),), dynamic_shapes=({0: batch},)
        )
        path = to / "model.pt2"
        torch.export.save(program, path)
    return artifact(
        path,
        form="torch-program",
        made_by="bench",
        build_s=taken.seconds,
        details={"dynamic_batch": True, "inputs": graph.input[0].name, "libraries": ""},
    )


def _module(torch: Any, onnx_package: Any, graph: Any) -> Any:
    functional = torch.nn.functional

    class Graph(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            for tensor in graph.initializer:
                values = torch.from_numpy(onnx_package.numpy_helper.to_array(tensor).copy())
                self.register_buffer(tensor.name, values)

        def forward(self, image: Any) -> Any:
            known = {graph.input[0].name: image, **dict(self.named_buffers())}
            for node in graph.node:
                given = [known[name] for name in node.input]
                how = {
                    each.name: onnx_package.helper.get_attribute_value(each)
                    for each in node.attribute
                }
                known[node.output[0]] = _apply(functional, node.op_type, given, how)
            return known[graph.output[0].name]

    return Graph()


def _apply(functional: Any, kind: str, given: list[Any], how: dict[str, Any]) -> Any:
    if kind == "Conv":
        image, weight, *bias = given
        return functional.conv2d(
            image,
            weight,
            bias[0] if bias else None,
            stride=how.get("strides", [1, 1]),
            padding=how.get("pads", [0, 0])[:2],
            groups=how.get("group", 1),
        )
    if kind == "Gemm":
        image, weight, *bias = given
        return functional.linear(
            image, weight if how.get("transB") else weight.t(), bias[0] if bias else None
        )
    if kind == "GlobalAveragePool":
        return functional.adaptive_avg_pool2d(given[0], 1)
    if kind == "Flatten":
        return given[0].flatten(1)
    return functional.relu(given[0]) if kind == "Relu" else given[0] + given[1]
