"""int8 as the CPU runtimes are given it: what stays in fp32, and what makes up for the rounding."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench import check, plugins, targets
from bench.agreement import cosine_similarity
from bench.cache import artifact
from bench.calibration import Calibration
from bench.errors import StageError
from bench.machine import observe
from exporters.onnx_file import OnnxFile
from runners import trt_bias

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def plain(path: Path) -> Path:
    """Two convolutions."""
    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w2", "b2"], ["output"], "second"),
    ]
    weights = {"w1": normal(8, 3, 3, 3), "b1": normal(8), "w2": normal(4, 8, 1, 1), "b2": normal(4)}
    return written(path, nodes, weights, [1, 3, 8, 8])


@pytest.mark.parametrize("target", INT8)
def test_too_little_memory_is_no_fault_of_the_network(target: str, tmp_path: Path) -> None:
    [where] = targets.select([target])
    runner: Any = plugins.runner(where.runner)
    source = artifact(plain(tmp_path / "net.onnx"), form="onnx", made_by="test", build_s=0.0)

    class TooLarge:
        source, n, fingerprint, keep, method = "none", 1, "0", (), runner.methods[0]

        def feeds(self) -> Any:
            raise MemoryError

    with pytest.raises(MemoryError):
        runner.build(source, where, TooLarge(), tmp_path)
    with pytest.raises(MemoryError):
        runner.rank(source, where, TooLarge())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("target", ["cpu-ort-int8", "cpu-openvino-fp32"])
def test_a_full_disk_is_no_fault_of_the_network(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, to = plain(tmp_path / "net.onnx"), tmp_path / "to"
    to.mkdir()
    for name in ("model.onnx", "model.bin"):
        (to / name).symlink_to("/dev/full")
    if "openvino" in target:  # which does not say why it cannot write
        with pytest.raises(StageError, match=r"OpenVINO cannot write .*model.xml: .*quota"):
            in_both(source, target, to)
        usage = shutil.disk_usage(to)._replace(free=4096)
        monkeypatch.setattr("bench.paths.shutil.disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="No space left on device"):
        in_both(source, target, to)


def test_a_file_that_a_full_disk_cut_off_is_no_fault_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime writes what fits, and says nothing."""

    def cut_off(_: Any, prepared: Path, **__: Any) -> None:
        usage = shutil.disk_usage(prepared.parent)._replace(free=0)
        monkeypatch.setattr("bench.paths.shutil.disk_usage", lambda _: usage)
        prepared.write_bytes(b"\x08")

    monkeypatch.setattr("onnxruntime.quantization.shape_inference.quant_pre_process", cut_off)
    with pytest.raises(OSError, match="No space left on device"):
        in_both(plain(tmp_path / "net.onnx"), "cpu-ort-int8", tmp_path)


def test_biases_are_corrected_wherever_they_come_from(tmp_path: Path) -> None:
    """As TensorRT is given Q/DQ: weights rounded in the graph, biases as they are in the file."""
    many, rng = 16, np.random.default_rng(1)
    image = rng.uniform(0, 1, (1, many, 8, 8)).astype(np.float32)
    kinds = ["initializer", "identity", "constant", "none", "computed"]
    bias = {kind: rng.normal(0, 5, 4).astype(np.float32) for kind in (*kinds, "more")}
    weights = {"step": np.full(4, 0.2, np.float32), "zero": np.zeros(4, np.int8)}
    weights |= {f"w {kind}": rng.normal(0, 0.25, (4, many, 1, 1)).astype("f") for kind in kinds}
    weights |= {"b initializer": bias["initializer"], "same": bias["identity"]}
    weights |= {"some": bias["computed"], "more": bias["more"]}
    given = numpy_helper.from_array(bias["constant"])
    biases = [
        helper.make_node("Identity", ["same"], ["b identity"]),
        helper.make_node("Constant", [], ["b constant"], value=given),
        helper.make_node("Add", ["some", "more"], ["b computed"]),
    ]
    convolutions, rounding, rounded = [], [], []
    for kind in kinds:
        name = [] if kind == "none" else [f"b {kind}"]
        scale = ["step", "zero"]
        q = helper.make_node("QuantizeLinear", [f"w {kind}", *scale], [f"q {kind}"], axis=0)
        d = helper.make_node("DequantizeLinear", [f"q {kind}", *scale], [f"d {kind}"], axis=0)
        rounding += [q, d]
        for weight, those in (("w", convolutions), ("d", rounded)):
            reads = ["input", f"{weight} {kind}", *name]
            those.append(helper.make_node("Conv", reads, [f"y {kind}"], f"conv {kind}"))
    together = helper.make_node("Concat", [f"y {kind}" for kind in kinds], ["output"], axis=1)
    whole = [*biases, *convolutions, together]
    source = written(tmp_path / "net.onnx", whole, weights, image.shape)
    quantized = written(
        tmp_path / "qdq.onnx", [*biases, *rounding, *rounded, together], weights, image.shape
    )

    class OneImage:
        def feeds(self) -> Any:
            return iter([{"input": image}])

    def means(path: Path) -> Any:
        made = artifact(path, form="onnx", made_by="test", build_s=0.0)
        with check.reference(made) as [session]:
            [answer] = check.outputs(session, {"input": image})
        return answer.mean(axis=(0, 2, 3)).reshape(len(kinds), 4)

    wanted, before = means(source), means(quantized)
    assert np.abs(before - wanted).max(axis=1).min() > 0.1
    calibration: Any = OneImage()
    assert trt_bias.correct(source, quantized, calibration) == 4
    found = means(quantized)
    assert found[:4] == pytest.approx(wanted[:4], abs=1e-4)
    assert found[4] == pytest.approx(before[4], abs=1e-6), "a bias that is computed stays"


@pytest.mark.parametrize("keep", [(), ("head 2",)])
def test_each_user_of_a_bias_is_corrected_for_itself(keep: tuple[str, ...], tmp_path: Path) -> None:
    """As in the head of a detector, which looks at several levels of a pyramid. Where one of them
    stays in fp32, its weights are still those that the others share."""
    weight = np.full((8, 16, 1, 1), 0.4 / 127, np.float32)  # rounded down, but for one a channel
    weight[:, 0] = 1
    factors = (4, 1, 0.25)
    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
    ]
    weights: dict[str, Any] = {"w1": normal(16, 3, 3, 3), "b1": np.ones(16, np.float32)}
    weights |= {"ws": weight, "bs": np.zeros(8, np.float32)}
    for i, factor in enumerate(factors):
        weights[f"factor {i}"] = np.float32(factor)
        nodes += [
            helper.make_node("Mul", ["b", f"factor {i}"], [f"level {i}"], f"level {i}"),
            helper.make_node("Conv", [f"level {i}", "ws", "bs"], [f"found {i}"], f"head {i}"),
        ]
    found_in = [f"found {i}" for i in range(len(factors))]
    nodes.append(helper.make_node("Concat", found_in, ["output"], "output", axis=1))
    path = written(tmp_path / "net.onnx", nodes, weights, [1, 3, 16, 16])
    wanted, found = (
        np.stack(each).reshape(-1, len(factors), 8 * 256).mean(axis=(0, 2))
        for each in in_both(path, "cpu-ort-int8", tmp_path, keep=keep)
    )
    assert found == pytest.approx(wanted, rel=0.02)
