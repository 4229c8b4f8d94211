"""ONNX files of other shapes than an image in and scores out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters.onnx_file import OnnxFile
from tests.conftest import QUICK

#: Needs no runtime but the base's.
FAKE = ["--target", "null-fp32"]


@pytest.mark.parametrize(
    ("kind", "outputs", "words"),
    [
        (TensorProto.FLOAT, [], "has no outputs"),
        (TensorProto.STRING, ["y"], "takes text"),
        (TensorProto.BFLOAT16, ["y"], "takes bfloat16"),
    ],
)
def test_files_that_nothing_can_be_asked_of_are_one_sentence(
    bench: Any, tmp_path: Path, kind: int, outputs: list[str], words: str
) -> None:
    values = [helper.make_tensor_value_info(name, kind, ["N", 4]) for name in ("x", *outputs)]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", values[:1], values[1:]
    )
    onnx.save(helper.make_model(graph), tmp_path / "odd.onnx")
    ran = bench("run", "-m", tmp_path / "odd.onnx", *FAKE, "--json")
    failure = ran.json["failure"]
    assert (failure["stage"], failure["kind"]) == ("describe", "bad-model")
    assert words in failure["message"]


@pytest.mark.parametrize(("batch", "asked"), [(1, 1), ("batch", 1), ("batch", 4)])
def test_a_second_input_without_a_batch_is_fed_as_it_is(
    bench: Any, tmp_path: Path, batch: int | str, asked: int
) -> None:
    def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("MatMul", ["a", "table"], ["y"]),
    ]
    inputs = [value("x", batch, 16), value("table", 16, 10)]
    graph = helper.make_graph(nodes, "two", inputs, [value("y", batch, 10)])
    opsets = [helper.make_opsetid("", 17)]
    path = tmp_path / "two.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    how = ["-t", "cpu-ort-fp32", "-t", "cpu-openvino-fp32", "--batch", str(asked)]
    ran = bench("run", "-m", path, *how, *QUICK, "--json")
    for row in ran.json:
        unavailable = (row["failure"] or {}).get("kind") == "unavailable"
        assert row["status"] == "ok" or unavailable, row["failure"]


def test_weights_beside_the_file_count_wherever_the_graph_holds_them(tmp_path: Path) -> None:
    """onnx writes those of Constant nodes outside with `convert_attribute=True`."""
    path = tmp_path / "net.onnx"
    table = numpy_helper.from_array(np.ones((4, 4), np.float32))
    nodes = [
        helper.make_node("Constant", [], ["w"], value=table),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy"]
    made = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]))
    outside = {"location": "w.data", "size_threshold": 0, "convert_attribute": True}
    onnx.save(made, path, save_as_external_data=True, **outside)
    before = OnnxFile().describe(str(path), "pretrained")
    assert OnnxFile().export(before, tmp_path).companions == ("w.data",)
    (tmp_path / "w.data").write_bytes(np.zeros((4, 4), np.float32).tobytes())
    assert OnnxFile().describe(str(path), "pretrained").weights != before.weights
