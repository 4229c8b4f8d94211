"""Biases that make up for the rounding of the weights."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from runners import ort_inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from bench.contracts import Calibration

#: Images that the means of the bias correction are taken over: means settle sooner than ranges.
_MEANS = 64


def correct(prepared: Path, quantized: Path, calibration: Calibration) -> int:
    """Add to each convolution's bias what the rounding of its weights takes from the mean of its
    output: (W - Wq) E[x], with the mean input of each channel over calibration images; how many
    biases were corrected (Nagel et al. 2019, "Data-free quantization through weight equalization
    and bias correction", section 4.2). The border of the image, where a kernel sees padding, is
    taken for the inside.

    It is what ONNX Runtime's own quantization lacks: on two MobileNets top-1 lost 1.5 points
    without it, and 1.0 and 0.6 with it (`docs/benchmarks.md`).
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(prepared, load_external_data=False)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    ours = onnx.load(quantized)
    _part(ours.graph)
    known = {tensor.name: tensor for tensor in ours.graph.initializer}
    convolutions = list(_quantized(model, ours))
    ranks = {node.input[0]: len(weights[node.input[1]].dims) for node, _, _ in convolutions}
    means = dict(_channel_means(model, prepared.parent, ranks, calibration))
    for node, (weight, weight_step), (bias, bias_step) in convolutions:
        lost = _rounded_off(
            numpy_helper.to_array(weights[node.input[1]], str(prepared.parent)),
            numpy_helper.to_array(known[weight]).astype(np.float64),
            numpy_helper.to_array(known[weight_step]).astype(np.float64),
        )
        groups = next((each.i for each in node.attribute if each.name == "group"), 1)
        inputs = means[node.input[0]].reshape(groups, -1)
        shift = np.concatenate(
            [part @ mean for part, mean in zip(np.split(lost, groups), inputs, strict=True)]
        )
        step = numpy_helper.to_array(known[bias_step]).astype(np.float64)
        whole = numpy_helper.to_array(known[bias]).astype(np.float64)
        limits = np.iinfo(np.int32)
        moved = np.rint(whole + shift / step).clip(limits.min, limits.max).astype(np.int32)
        known[bias].CopyFrom(numpy_helper.from_array(moved, bias))
    for beside in quantized.parent.glob(f"{quantized.name}.*"):
        beside.unlink()  # a quarter of the weights fits into the graph again
    # Knowing the shapes of a detector's candidates, ONNX Runtime fuses reshapes into ones that
    # fail where there are none; it works out again what it needs.
    del ours.graph.value_info[:]
    onnx.save(ours, quantized)
    return len(convolutions)


def _part(graph: Any) -> None:
    """Give each convolution a bias of its own, where several nodes read one: as the head of a
    detector does, which looks at several levels, and loses something else in each. (The quantizer
    does so for those alone that it is to quantize.)"""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    for node in list(graph.node):
        if node.op_type != "Conv" or len(node.input) < 3 or readers[node.input[2]] == 1:
            continue
        back = made_by.get(node.input[2])
        if back is not None and back.op_type == "DequantizeLinear" and back.input[0] in tensors:
            whole = graph.initializer.add()
            whole.CopyFrom(tensors[back.input[0]])
            graph.node.insert(0, back)
            own = graph.node[0]
            own.name = own.output[0] = node.input[2] = f"{node.output[0]}_bias"
            own.input[0] = whole.name = f"{node.output[0]}_bias_quantized"


def _quantized(model: Any, ours: Any) -> Iterator[tuple[Any, Sequence[str], Sequence[str]]]:
    """The convolutions of the model whose weights and biases are quantized in `ours`, each with the
    names that both have there: of the integers, and of their scale."""
    before = {node.name: node for node in model.graph.node if node.op_type == "Conv"}
    held = {tensor.name for tensor in ours.graph.initializer}
    stored = {
        node.output[0]: node.input[:2]
        for node in ours.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in held
    }
    for node in ours.graph.node:
        if node.name in before and len(node.input) == 3 and stored.keys() >= set(node.input[1:]):
            _, weight, bias = node.input
            yield before[node.name], stored[weight], stored[bias]


def _rounded_off(
    weight: NDArray[np.float32], whole: NDArray[np.float64], step: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What rounding takes from the weights (out, in, ...), summed over the kernel: (out, in)."""
    rounded = whole * step.reshape(-1, *[1] * (weight.ndim - 1))
    difference: NDArray[np.float64] = (weight - rounded).reshape(*weight.shape[:2], -1).sum(axis=2)
    return difference


def _channel_means(
    model: Any, folder: Path, ranks: dict[str, int], calibration: Calibration
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """The mean of each channel of tensors (batch, channels, ...) of the model, named with their
    ranks, over images. Weights that are kept beside the graph lie in `folder`."""
    if not ranks:
        return
    session = _probe(model, folder, ranks)
    every = [session.run(None, dict(feed)) for feed in islice(calibration.feeds(), _MEANS)]
    for name, means in zip(ranks, zip(*every, strict=True), strict=True):
        yield name, np.mean(means, axis=0, dtype=np.float64).reshape(-1)


def _probe(model: Any, folder: Path, ranks: dict[str, int]) -> Any:
    """A session of the model that gives the means of what is computed inside: taken there, not
    every input of every convolution is held at once."""
    import onnx

    from bench import onnx_graph

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    graph = probe.graph
    del graph.output[:]
    for i, (name, rank) in enumerate(ranks.items()):
        axes, mean = [0, *range(2, rank)], f"mean of channels {i}"
        graph.output.append(onnx.ValueInfoProto(name=mean))
        if onnx_graph.opset(probe) < 18:
            graph.node.append(onnx.helper.make_node("ReduceMean", [name], [mean], axes=axes))
        else:
            over = f"axes of {mean}"
            graph.initializer.append(onnx.numpy_helper.from_array(np.array(axes), over))
            graph.node.append(onnx.helper.make_node("ReduceMean", [name, over], [mean]))
    _prune(graph, [each.name for each in graph.output])
    onnx.save(probe, folder / "probe.onnx")
    return ort_inside.session(folder / "probe.onnx")


def _prune(graph: Any, outputs: list[str]) -> None:
    """Leave only the nodes that the outputs need: what a detector does with its candidates would be
    run all the same, and ONNX Runtime stumbles over some that have none."""
    from bench import onnx_graph

    needed = set(outputs)
    kept = []
    for node in reversed(graph.node):  # in the order of the graph, so what is needed comes before
        if needed.isdisjoint(node.output):
            continue
        kept.append(node)
        needed.update(node.input)
        # A branch, and a branch within it, reads what lies around it.
        needed.update(name for inner in onnx_graph.inside(node) for name in inner.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(weights)
