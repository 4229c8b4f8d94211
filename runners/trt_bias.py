"""What rounding the weights takes from a convolution's mean output, given back to its bias.

ModelOpt rounds weights and leaves the shift that this gives every channel; symmetric ranges, which
TensorRT asks for, make the activations coarse enough already (Nagel et al. 2019, "Data-free
quantization through weight equalization and bias correction", section 4.2).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bench.contracts import Calibration

#: Images that means are taken over: they settle sooner than ranges do.
_IMAGES = 64


def correct(source: Path, quantized: Path, calibration: Calibration) -> int:
    """Add (W - Wq) E[x] to the bias of each quantized convolution, E[x] being the mean of its input
    in the original network; how many were corrected. One whose bias is computed stays as it is. The
    border of the image, where a kernel sees padding, is taken for the inside."""
    import onnx
    from onnx import numpy_helper

    original, model = onnx.load(source), onnx.load(quantized)
    reads = {node.name: node.input[0] for node in original.graph.node if node.op_type == "Conv"}
    made_by = {name: node for node in model.graph.node for name in node.output}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type == "Conv" and node.name in reads:
            lost = _rounded_off(node.input[1], made_by, tensors)
            if lost is not None and (old := _bias(node, made_by, tensors)) is not None:
                found.append((node, lost, old))
    means = _channel_means(original, [reads[node.name] for node, *_ in found], calibration)
    for node, lost, old in found:
        groups = next((each.i for each in node.attribute if each.name == "group"), 1)
        inputs = means[reads[node.name]].reshape(groups, -1)
        parts = zip(np.split(lost, groups), inputs, strict=True)
        shift = np.concatenate([part @ mean for part, mean in parts])
        name = f"{node.name}_corrected_bias"
        new = (old.astype(np.float64) + shift).astype(old.dtype)
        model.graph.initializer.append(numpy_helper.from_array(new, name))
        del node.input[2:]
        node.input.append(name)
    onnx.save(model, quantized)
    return len(found)


def _rounded_off(
    name: str, made_by: dict[str, Any], tensors: dict[str, Any]
) -> NDArray[np.float64] | None:
    """What rounding takes from the weights (out, in, ...), summed over the kernel: (out, in). None
    for weights that are not quantized here."""
    from onnx import numpy_helper

    back = made_by.get(name)
    rounding = made_by.get(back.input[0]) if back and back.op_type == "DequantizeLinear" else None
    if rounding is None or rounding.op_type != "QuantizeLinear" or rounding.input[0] not in tensors:
        return None
    weight = numpy_helper.to_array(tensors[rounding.input[0]]).astype(np.float64)
    step = numpy_helper.to_array(tensors[rounding.input[1]]).astype(np.float64)
    step = step.reshape(-1, *[1] * (weight.ndim - 1))
    rounded = np.rint(weight / step).clip(-128, 127) * step
    lost: NDArray[np.float64] = (weight - rounded).reshape(*weight.shape[:2], -1).sum(axis=2)
    return lost


def _bias(node: Any, made_by: dict[str, Any], tensors: dict[str, Any]) -> Any:
    """The bias of a quantized convolution, zero in the type that it computes in where it has none;
    None where it is no constant. (Exporters write one of several equal biases, and let the others
    be the Identity of it.)"""
    from onnx import numpy_helper

    if len(node.input) < 3 or not node.input[2]:
        rounding = made_by[made_by[node.input[1]].input[0]]
        return np.zeros(1, numpy_helper.to_array(tensors[rounding.input[0]]).dtype)
    name, maker = node.input[2], made_by.get(node.input[2])
    while maker is not None and maker.op_type == "Identity":
        name, maker = maker.input[0], made_by.get(maker.input[0])
    found = tensors.get(name)
    if maker is not None and maker.op_type == "Constant":
        found = next((each.t for each in maker.attribute if each.name == "value"), None)
    return None if found is None else numpy_helper.to_array(found)


def _channel_means(model: Any, names: list[str], calibration: Calibration) -> dict[str, Any]:
    """The mean of each channel of tensors (batch, channels, ...) of the model over images."""
    import onnx
    import onnxruntime as ort

    given = {each.name for each in model.graph.input}
    wanted = list(dict.fromkeys(names))
    inside = [name for name in wanted if name not in given]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inside)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    sums: dict[str, Any] = dict.fromkeys(wanted, 0.0)
    n = 0
    for n, feed in enumerate(islice(calibration.feeds(), _IMAGES), 1):  # noqa: B007
        found = dict(zip(inside, session.run(inside, dict(feed)), strict=True)) if inside else {}
        for name in wanted:
            values = np.asarray(found.get(name, feed.get(name)), np.float64)
            sums[name] = sums[name] + values.mean(axis=(0, *range(2, values.ndim)))
    return {name: total / max(n, 1) for name, total in sums.items()}
