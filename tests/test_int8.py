"""int8 as the CPU runtimes are given it: what stays in fp32, and what makes up for the rounding."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench import check, plugins, targets
from bench.agreement import cosine_similarity
from bench.cache import artifact
from bench.calibration import Calibration
from bench.machine import observe
from exporters.onnx_file import OnnxFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RNG = np.random.default_rng(0)
INT8 = ["cpu-ort-int8", "cpu-openvino-int8"]


def written(
    path: Path, nodes: Sequence[Any], weights: dict[str, Any], shape: Sequence[int], opset: int = 17
) -> Path:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    whole = onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=opsets, ir_version=9)
    )
    onnx.save(whole, path)
    return path


def normal(*shape: int) -> Any:
    return (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def in_both(
    path: Path,
    target: str,
    to: Path,
    n: int = 4,
    method: str | None = None,
    keep: tuple[str, ...] = (),
) -> tuple[list[Any], list[Any]]:
    """What the network computes of its calibration inputs in fp32, and in int8 on a target."""
    [where] = targets.select([target])
    runner: Any = plugins.runner(where.runner)
    model = OnnxFile().describe(str(path), "pretrained")
    source = artifact(path, form="onnx", made_by="test", build_s=0.0)
    how = replace(Calibration.of(model, None, n, method or runner.methods[0]), keep=keep)
    to.mkdir(exist_ok=True)
    built = runner.build(source, where, how, to)
    with check.reference(source) as [session]:
        wanted = [check.outputs(session, feed)[0] for feed in how.feeds()]
    with runner.open(built, where, batch=1, threads=1) as [session]:
        return wanted, [check.outputs(session, feed)[0] for feed in how.feeds()]


@pytest.mark.parametrize("target", INT8)
def test_coordinates_and_the_scores_beside_them_outlive_int8(target: str, tmp_path: Path) -> None:
    """As YOLO's head ends: corners of hundreds of pixels and scores of hundredths in one tensor."""
    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w2", "b2"], ["c"], "second"),
        helper.make_node("Split", ["c", "sizes"], ["left", "right", "logits"], "split", axis=1),
        helper.make_node("Sub", ["grid", "left"], ["low"], "low"),
        helper.make_node("Add", ["grid", "right"], ["high"], "high"),
        helper.make_node("Add", ["low", "high"], ["both"], "both"),
        helper.make_node("Div", ["both", "two"], ["centre"], "centre"),
        helper.make_node("Sub", ["high", "low"], ["size"], "size"),
        helper.make_node("Concat", ["centre", "size"], ["cells"], "cells", axis=1),
        helper.make_node("Mul", ["cells", "stride"], ["boxes"], "boxes"),
        helper.make_node("Sub", ["logits", "rare"], ["unlikely"], "unlikely"),
        helper.make_node("Sigmoid", ["unlikely"], ["scores"], "scores"),
        helper.make_node("Concat", ["boxes", "scores"], ["output"], "output", axis=1),
    ]
    weights = {
        "w1": normal(16, 3, 3, 3),
        "b1": normal(16),
        "w2": normal(12, 16, 1, 1),
        "b2": normal(12),
        "sizes": np.array([2, 2, 8]),
        "grid": np.stack(np.meshgrid(np.arange(16.0), np.arange(16.0)))[None].astype(np.float32),
        "two": np.float32(2),
        "stride": np.float32(40),
        "rare": np.float32(4),
    }
    path = written(tmp_path / "net.onnx", nodes, weights, [1, 3, 16, 16])
    wanted, found = map(np.concatenate, in_both(path, target, tmp_path))
    assert cosine_similarity(wanted[:, 4:], found[:, 4:]) > 0.99
    assert np.abs(wanted[:, :2] - found[:, :2]).mean() < 0.5  # pixels of 640


@pytest.mark.parametrize("target", INT8)
def test_attention_that_is_shared_by_many_outlives_int8(target: str, tmp_path: Path) -> None:
    """600 tokens share each one's attention: a 600th each, which 256 steps of 1 cannot tell
    from nothing. (On a CPU without int8 instructions OpenVINO adds pairs of products in 16 bits,
    which overflow: 0.90 on such a one.)"""
    exact = "ort" in target or {"avx512_vnni", "avx_vnni"} & observe().flags
    nodes = [
        *(helper.make_node("MatMul", ["input", f"w{x}"], [x], x) for x in "qkv"),
        helper.make_node("Transpose", ["k"], ["k_t"], "transpose", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "k_t"], ["logits"], "logits"),
        helper.make_node("Softmax", ["logits"], ["shares"], "shares", axis=-1),
        helper.make_node("MatMul", ["shares", "v"], ["mixed"], "mixed"),
        helper.make_node("MatMul", ["mixed", "wo"], ["output"], "output"),
    ]
    weights = {f"w{x}": normal(16, 16) for x in "qkvo"}
    weights["wq"] /= 10  # no token stands out
    path = written(tmp_path / "net.onnx", nodes, weights, [1, 600, 16])
    for wanted, found in zip(*in_both(path, target, tmp_path), strict=True):
        assert cosine_similarity(wanted, found) > (0.99 if exact else 0.85)


def two_layers(path: Path, *, second: Any) -> Path:
    """Two convolutions; the second one's input has nothing but zeros in channel 1."""
    first, bias = normal(16, 3, 3, 3), normal(16)
    first[1], bias[1] = 0, -1
    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w2", "b2"], ["output"], "second"),
    ]
    weights = {"w1": first, "b1": bias, "w2": second, "b2": normal(8)}
    return written(path, nodes, weights, [1, 3, 16, 16])


@pytest.mark.parametrize(
    ("target", "method"),
    [
        ("cpu-openvino-int8", "accurate-bias"),
        ("cpu-openvino-int8", "performance"),
        ("cpu-ort-int8", "percentile"),
        ("cpu-ort-int8", "entropy"),
    ],
)
def test_every_method_makes_an_int8_that_computes_the_same(
    target: str, method: str, tmp_path: Path
) -> None:
    path = two_layers(tmp_path / "net.onnx", second=normal(8, 16, 1, 1))
    wanted, found = map(np.concatenate, in_both(path, target, tmp_path, method=method))
    assert 0.99 < cosine_similarity(wanted, found) < 1


def test_openvino_keeps_the_layer_that_int8_ruins(tmp_path: Path) -> None:
    """A weight, of what is always zero, beside which all others are rounded to nothing."""
    ov = pytest.importorskip("openvino")
    from runners import ov_int8

    target = "cpu-openvino-int8"

    ruined = normal(8, 16, 1, 1)
    ruined[:, 1] = 400
    path = two_layers(tmp_path / "net.onnx", second=ruined)
    model = OnnxFile().describe(str(path), "pretrained")
    how = Calibration.of(model, None, 4, "mixed")
    ranked = ov_int8.rank(ov.Core().read_model(path), how)
    assert [name.partition("/")[0] for name in ranked] == ["second", "first"]
    lost, saved = (
        cosine_similarity(*map(np.concatenate, in_both(path, target, tmp_path / name, keep=keep)))
        for name, keep in (("all", ()), ("kept", (ranked[0],)))
    )
    assert lost < 0.99 < saved


@pytest.mark.parametrize("opset", [17, 18])
def test_the_mean_of_what_int8_computes_is_right(opset: int, tmp_path: Path) -> None:
    """Weights that are all rounded down beside one that says how coarsely: the lost part of the
    mean comes back with the biases."""
    weight = np.full((8, 16, 3, 3), 0.4 / 127, np.float32)
    weight[:, 0, 1, 1] = 1
    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w2", "b2"], ["output"], "second"),
    ]
    ones = np.ones(16, np.float32)
    weights = {"w1": normal(16, 3, 3, 3), "b1": ones, "w2": weight, "b2": np.zeros(8, np.float32)}
    path = written(tmp_path / "net.onnx", nodes, weights, [1, 3, 16, 16], opset)
    wanted, found = (np.mean(each) for each in in_both(path, "cpu-ort-int8", tmp_path))
    assert abs(found - wanted) < 0.02 * wanted  # without them, 0.3
