"""Which layers int8 does most harm to: each one alone in int8, the rest of the network in fp32.

One alone, and not all but one: where two layers ruin an output, taking the harm of one away changes
nothing.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

from bench.machine import usable_threads
from runners.harm import INPUTS, harm

if TYPE_CHECKING:
    from pathlib import Path

    from bench.contracts import Array, Calibration

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def rank(prepared: Path, quantized: Path, calibration: Calibration) -> list[str]:
    """Names of the layers of `prepared` that are int8 in `quantized`, the most harmed first."""
    import onnx

    whole, int8 = onnx.load(prepared), onnx.load(quantized)
    feeds = [dict(feed) for feed in islice(calibration.feeds(), INPUTS)]
    wanted = _outputs(whole, feeds)
    alone = _Alone(whole, int8)
    layers = [node.name for node in whole.graph.node if alone.is_int8(node)]
    with ThreadPoolExecutor(usable_threads()) as pool:
        found = pool.map(lambda name: harm(wanted, _outputs(alone.model(name), feeds)), layers)
        harms = dict(zip(layers, found, strict=True))
    return sorted(layers, key=lambda name: -harms[name])


def _outputs(model: Any, feeds: list[dict[str, Any]]) -> list[list[Array]]:
    """What the network answers to each feed. Hardly optimized: it is run a few times only."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [session.run(None, feed) for feed in feeds]


class _Alone:
    """The fp32 network with one layer of the int8 network in it."""

    def __init__(self, whole: Any, int8: Any) -> None:
        self._whole = whole
        self._made_by = {name: node for node in int8.graph.node for name in node.output}
        self._constants = {tensor.name: tensor for tensor in int8.graph.initializer}
        self._own = {tensor.name for tensor in whole.graph.initializer}
        self._outputs = {value.name for value in whole.graph.output}
        self._int8 = {
            node.name: node
            for node in int8.graph.node
            if node.op_type not in (_QUANTIZE, _DEQUANTIZE)
        }

    def is_int8(self, node: Any) -> bool:
        there = self._int8.get(node.name)
        return there is not None and any(self._pair(name) for name in there.input)

    def model(self, name: str) -> Any:
        import onnx

        alone = onnx.ModelProto()
        alone.CopyFrom(self._whole)
        nodes: list[Any] = []
        before: list[Any] = []
        after: list[Any] = []
        added: dict[str, Any] = {}
        for node in self._whole.graph.node:
            if node.name != name:
                nodes.append(node)
                continue
            layer = onnx.NodeProto()
            layer.CopyFrom(node)
            for i, source in enumerate(self._int8[name].input):
                pair = self._pair(source)
                if pair:
                    layer.input[i] = self._insert(pair, node.input[i], f"{i}", before)
                    added.update(self._needs(pair))
            for i, target in enumerate(node.output):
                pair = self._pair(target)
                if target in self._outputs and pair:
                    layer.output[i] = f"{target}_whole"
                    self._insert(pair, layer.output[i], "", after, target)
                    added.update(self._needs(pair))
            nodes += [*before, layer, *after]
        del alone.graph.node[:]
        alone.graph.node.extend(nodes)
        alone.graph.initializer.extend(
            tensor for key, tensor in added.items() if key not in self._own
        )
        return alone

    def _pair(self, name: str) -> list[Any]:
        """The nodes that make a tensor int8 and back; one for a weight, which is int8 already."""
        last = self._made_by.get(name)
        if last is None or last.op_type != _DEQUANTIZE:
            return []
        first = self._made_by.get(last.input[0])
        return [last] if first is None else [first, last]

    def _needs(self, pair: list[Any]) -> dict[str, Any]:
        names = (name for node in pair for name in node.input if name in self._constants)
        return {name: self._constants[name] for name in names}

    @staticmethod
    def _insert(pair: list[Any], source: str, mark: str, into: list[Any], target: str = "") -> str:
        """Copies of the pair behind the tensor `source`; the name of what comes out."""
        import onnx

        for i, node in enumerate(pair):
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = f"{node.name}_alone{mark}"
            if len(pair) > 1:
                copy.input[0] = source
            last = i == len(pair) - 1
            copy.output[0] = target if last and target else f"{node.output[0]}_alone{mark}"
            source = copy.output[0]
            into.append(copy)
        return source
