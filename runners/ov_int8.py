"""int8 for OpenVINO: NNCF's post-training quantization."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.contracts import ACCURACY_AWARE
from runners.harm import INPUTS, harm
from runners.refusals import refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from bench.contracts import Array, Calibration, Feed

#: What NNCF is asked for, the default first; `performance` is NNCF's own default, and less exact.
METHODS = {
    "mixed": "preset mixed (asymmetric activations), fast bias correction",
    "accurate-bias": "preset mixed, bias correction layer by layer",
    "performance": "preset performance (symmetric activations), fast bias correction",
    ACCURACY_AWARE: "preset mixed, layers that cost accuracy back to fp32",
}
#: What hands on the values that it is given: a layer behind it sees what was quantized before it.
_PASSES = {
    "Concat", "Interpolate", "MaxPool", "Pad", "Reshape", "ShuffleChannels", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "StridedSlice", "Transpose", "Unsqueeze", "VariadicSplit",
}  # fmt: skip
#: Arithmetic that stays in fp32 in a network that chooses its boxes: 256 steps are too few for
#: coordinates.
_OF_COORDINATES = ["Add", "Divide", "Maximum", "Minimum", "Multiply", "Subtract"]
#: The layers that int8 is for, and what is no work at all.
_LAYERS = {"Convolution", "ConvolutionBackpropData", "GroupConvolution", "MatMul"}
_NO_WORK = {"Constant", "Parameter", "Result"}
#: What stands between a weight and its layer.
_SOURCES = {"Constant", "Convert"}


def quantize(model: Any, calibration: Calibration) -> Any:
    """The network in int8, by the method that is asked for."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    model = _clean(model)
    with _refused():
        if calibration.method == ACCURACY_AWARE:
            return _accuracy_aware(model, calibration)
        return nncf.quantize(model, _feeds(calibration), **_asked(model, calibration))


def _refused() -> AbstractContextManager[None]:
    return refused("not-quantizable", "NNCF cannot quantize the model", reason=reason)


def rank(model: Any, calibration: Calibration) -> list[str]:
    """Names of the layers, the one first that int8 does most harm to: each one alone in int8, the
    rest of the network in fp32."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    model = _clean(model)
    with _refused():
        # Weights as they are, behind a FakeQuantize that can be taken out.
        plain = nncf.AdvancedQuantizationParameters(backend_params={"compress_weights": False})
        how = _asked(model, calibration)
        int8 = nncf.quantize(model, _feeds(calibration), **how, advanced_parameters=plain)
    feeds = list(islice(calibration.feeds(), INPUTS))
    layers = _layers(int8)
    wanted = _outputs(_only(int8, set()), feeds)
    harms = {name: harm(wanted, _outputs(_only(int8, of), feeds)) for name, of in layers.items()}
    return sorted(layers, key=lambda name: -harms[name])


def _asked(model: Any, calibration: Calibration) -> dict[str, Any]:
    import nncf

    symmetric = calibration.method == "performance"
    preset = nncf.QuantizationPreset.PERFORMANCE if symmetric else nncf.QuantizationPreset.MIXED
    names = [*calibration.keep, *_behind_the_last(model)]
    types = _OF_COORDINATES if _chooses(model) else []
    # A type that the network has not got is no mistake, as a name is.
    scope = nncf.IgnoredScope(names=names, types=types, validate=not types)
    return {
        "preset": preset,
        "subset_size": calibration.n,
        "fast_bias_correction": calibration.method != "accurate-bias",
        "ignored_scope": scope if names or types else None,
    }


def _behind_the_last(model: Any) -> list[str]:
    """Names of the nodes that no layer is behind: what they compute is the answer, for which 256
    steps are too few (YOLO's coordinates, beside scores up to 1)."""
    used: set[str] = set()  # by a layer, or by what leads to one
    behind = []
    for node in reversed(model.get_ordered_ops()):
        name = node.get_friendly_name()
        if node.get_type_name() in _LAYERS or name in used:
            sources = (port.get_source_output().get_node() for port in node.inputs())
            used.update(source.get_friendly_name() for source in sources)
        elif node.get_type_name() not in _NO_WORK:
            behind.append(name)
    return behind


def _chooses(model: Any) -> bool:
    """Whether a network chooses its boxes itself; it may do so in a branch."""
    graphs = [model]
    for graph in graphs:
        for node in graph.get_ops():
            if node.get_type_name() == "NonMaxSuppression":
                return True
            if node.get_type_name() == "If":
                graphs += [node.get_then_body(), node.get_else_body()]
    return False


def _feeds(calibration: Calibration) -> Any:
    import nncf

    return nncf.Dataset([dict(feed) for feed in calibration.feeds()])


def _clean(model: Any) -> Any:
    """Reading ONNX leaves nodes that lead nowhere, which NNCF stumbles over; a copy has none."""
    return model.clone()


def _accuracy_aware(model: Any, calibration: Calibration) -> Any:
    """NNCF takes back to fp32 what costs most accuracy, until what is left is little enough. It
    measures on the images that calibrate: those that are reported on are not seen here."""
    import nncf

    feeds = [dict(feed) for feed in calibration.feeds()]

    def validate(compiled: Any, items: Iterable[tuple[int, Feed]]) -> tuple[float, None]:
        request = compiled.create_infer_request()
        return calibration.score({i: _answer(request, feed) for i, feed in items}), None

    # NNCF takes an error of its validation for another kind of it: let it come here.
    calibration.score({0: _outputs(model, feeds[:1])[0]})
    return nncf.quantize_with_accuracy_control(
        model,
        nncf.Dataset(feeds),
        nncf.Dataset(list(enumerate(feeds))),
        validate,
        max_drop=calibration.max_drop,
        **_asked(model, calibration),
    )


def _outputs(model: Any, feeds: Sequence[Feed]) -> list[list[Array]]:
    """What the network answers to each feed, in fp32 but for what is quantized in it."""
    import openvino as ov

    config = {"INFERENCE_PRECISION_HINT": "f32"}
    request = ov.Core().compile_model(model, "CPU", config).create_infer_request()
    return [_answer(request, feed) for feed in feeds]


def _answer(request: Any, feed: Feed) -> list[Array]:
    request.infer(dict(feed))
    return [np.array(tensor.data) for tensor in request.output_tensors]


def _layers(int8: Any) -> dict[str, set[str]]:
    """The layers that take quantized values, and the names of what quantizes for each."""
    found: dict[str, set[str]] = {}
    for node in int8.get_ordered_ops():
        if node.get_type_name() in {"FakeQuantize", "Result", *_PASSES, *_SOURCES}:
            continue
        if quantizers := _quantizers(node):
            found[node.get_friendly_name()] = quantizers
    return found


def in_fp32(int8: Any) -> list[str]:
    """Names of the convolutions and products that nothing is quantized for."""
    taken = _layers(int8)
    every = [node for node in int8.get_ordered_ops() if node.get_type_name() in _LAYERS]
    return [name for name in (node.get_friendly_name() for node in every) if name not in taken]


def _quantizers(node: Any) -> set[str]:
    found = set()
    for port in node.inputs():
        source = port.get_source_output().get_node()
        if source.get_type_name() == "FakeQuantize":
            found.add(source.get_friendly_name())
        elif source.get_type_name() in _PASSES:
            found |= _quantizers(source)
    return found


def _only(int8: Any, names: set[str]) -> Any:
    """A copy of the network in which nothing but those quantizers is left."""
    copy = int8.clone()
    for node in copy.get_ordered_ops():
        if node.get_type_name() == "FakeQuantize" and node.get_friendly_name() not in names:
            before = node.input_value(0)
            for port in node.output(0).get_target_inputs():
                port.replace_source_output(before)
    return copy


def reason(error: Exception) -> str:
    """The last line that says something: OpenVINO puts file and line numbers first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
