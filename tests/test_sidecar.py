"""The file beside an ONNX file that says how it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from bench import onnx_graph, plugins, targets
from bench.calibration import Calibration
from bench.errors import UsageError
from bench.records import Output
from exporters.onnx_file import OnnxFile
from exporters.sidecar import read
from tests.builders import refused
from tests.conftest import QUICK, write_network

GOOD = 'task = "classification"\nsize = [16, 16]\n'
DETECTION = GOOD.replace("classification", "detection")


def sidecar(tmp_path: Path, text: str) -> Path:
    """An ONNX file (3 x 16 x 16) with that beside it."""
    network = write_network(tmp_path / "net.onnx")
    (tmp_path / "net.toml").write_text(text)
    return network


def test_the_least_that_a_sidecar_says(tmp_path: Path) -> None:
    model = OnnxFile().describe(str(sidecar(tmp_path, GOOD)), "pretrained")
    assert model.task == "classification"
    assert model.output == Output("scores")
    assert model.preprocess is not None
    how = model.preprocess
    assert (how.height, how.width, how.mean, how.std) == (16, 16, (0,) * 3, (1,) * 3)
    assert (how.shorter_side, how.letterbox) == (None, None)


def test_all_that_it_may_say(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    text = """
    task = "detection"
    size = [16, 16]
    resize = "letterbox"
    place = "top-left"
    pad = 127.5
    channels = "BGR"
    scale = 1
    mean = [1, 2, 3]
    std = [4, 5, 6]
    output = "yolox"
    labels = "names.txt"
    strides = [8]
    score_threshold = 0.1
    nms_iou = 0.5
    """
    found = read(sidecar(tmp_path, text), None)
    assert found is not None
    assert found.labels == ("ant", "bee")
    assert (found.output.decoder, found.output.strides, found.output.nms_iou) == (
        "yolox",
        (8,),
        0.5,
    )
    how = found.preprocess
    assert (how.letterbox, how.pad, how.mode, how.scale) == ("top-left", 127.5, "BGR", 1)
    assert (how.mean, how.std) == ((1, 2, 3), (4, 5, 6))


def test_a_background_class_has_to_be_placed(tmp_path: Path) -> None:
    network = write_network(tmp_path / "net.onnx", classes=1001)
    (tmp_path / "net.toml").write_text(GOOD)
    with refused(UsageError, "net.toml", "1,001 outputs", "label_offset = 1"):
        OnnxFile().describe(str(network), "pretrained")
    (tmp_path / "net.toml").write_text(GOOD + "label_offset = 1")
    assert len(OnnxFile().describe(str(network), "pretrained").labels) == 1000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task =", "not TOML"),
        ("size = [16, 16]\n", "task"),
        ('task = "painting"\nsize = [16, 16]', "painting"),
        ('task = "painting"\nsize = [16, 16]', "one of classification, detection, instance-"),
        (GOOD + 'output = "yolov8"', "one of scores, boxes, yolox"),
        (GOOD + "colour = 3", "colour"),
        (GOOD + "mean = [1, 2]", "mean needs 1 number, or 3"),
        (GOOD + "std = [0]", "above 0"),
        (GOOD + "scale = -1", "above 0"),
        (GOOD + "label_offset = -1", "not below"),
        (GOOD + "strides = []", "above 0"),
        (GOOD + 'resize = "crop"', "shorter_side"),
        (GOOD + 'labels = "none.txt"', "none.txt"),
        (GOOD + "std = [1, nan, 1]", "std is nan, it must be a finite number above 0"),
        (GOOD + "mean = [-inf]", "mean is -inf, it must be a finite number"),
        (GOOD + "scale = inf", "scale is inf, it must be a finite number above 0"),
        (GOOD + "scale = 1e999", "scale is inf, it must be a finite number above 0"),
        (GOOD + "pad = nan", "pad is nan, it must be a finite number"),
        (GOOD + "score_threshold = nan", "score_threshold is nan, it must be a finite number from"),
        (GOOD + "nms_iou = inf", "nms_iou is inf, it must be a finite number from 0 to 1"),
        (GOOD + "nms_iou = 1.5", "nms_iou is 1.5, it must be a finite number from 0 to 1"),
        (GOOD + 'output = "yolox"', '"yolox" does not go with task = "classification", which has'),
        (DETECTION + 'output = "scores"', "which has boxes, yolox, yolo, detr"),
        (DETECTION + 'output = "class-map"', "which has boxes, yolox, yolo, detr"),
        (GOOD + "label_offset = 10", "label_offset = 10 leaves none of the network's 10 outputs"),
        (GOOD.replace("[16, 16]", "[32, 16]"), "makes inputs of shape (3, 32, 16)"),
        (GOOD + 'channels = "L"', "makes inputs of shape (1, 16, 16)"),
        (GOOD + 'layout = "NHWC"', "makes inputs of shape (16, 16, 3)"),
    ],
)
def test_a_bad_sidecar_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with refused(UsageError, "net.toml", words):
        OnnxFile().describe(str(sidecar(tmp_path, text)), "pretrained")


def test_labels_in_a_file_that_begins_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n", encoding="utf-8-sig")
    found = read(sidecar(tmp_path, GOOD + 'labels = "names.txt"'), None)
    assert found is not None
    assert found.labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("kind", "dtype", "mean"),
    [
        (TensorProto.UINT8, "uint8", 0),
        (TensorProto.INT32, "int32", 0),
        (TensorProto.INT8, "int8", 128),
    ],
)
def test_whole_numbers_are_pixels_as_they_are(
    tmp_path: Path, kind: int, dtype: str, mean: int
) -> None:
    """Divided by 255 all of them are 0, and every image black."""
    network = sidecar(tmp_path, GOOD)
    model = onnx.load(network)
    model.graph.input[0].type.tensor_type.elem_type = kind
    onnx.save(model, network)
    right = f"{GOOD}scale = 1\nmean = [{mean}]\n"
    for text in (GOOD, f"{right}std = [0.5]", f"{GOOD}scale = 1\nmean = [0.5]"):
        network.with_suffix(".toml").write_text(text)
        with refused(UsageError, "net.toml", dtype, f"scale = 1, mean = [{mean}], std = [1]"):
            OnnxFile().describe(str(network), "pretrained")
    network.with_suffix(".toml").write_text(right)
    assert OnnxFile().describe(str(network), "pretrained").task == "classification"


def test_a_file_of_two_inputs_has_no_sidecar(tmp_path: Path) -> None:
    network = sidecar(tmp_path, GOOD)
    model = onnx.load(network)
    model.graph.input.append(
        helper.make_tensor_value_info("image_shape", TensorProto.FLOAT, [1, 2])
    )
    onnx.save(model, network)
    with refused(UsageError, "net.toml", "takes 2 (input, image_shape)", "timed, not evaluated"):
        OnnxFile().describe(str(network), "pretrained")
    network.with_suffix(".toml").unlink()
    assert OnnxFile().describe(str(network), "pretrained").task is None


def test_every_decoder_goes_with_its_task(tmp_path: Path) -> None:
    for task, decoders in {
        "classification": ["scores"],
        "detection": ["boxes", "yolox", "yolo", "detr"],
        "instance-segmentation": ["boxes"],
        "segmentation": ["class-map", "class-scores"],
    }.items():
        for decoder in decoders:
            text = GOOD.replace("classification", task) + f'output = "{decoder}"'
            model = OnnxFile().describe(str(sidecar(tmp_path, text)), "pretrained")
            assert model.output == Output(decoder)


@pytest.mark.parametrize("line", ["std = [nan]", 'output = "yolox"'])
def test_a_bad_sidecar_ends_its_own_job_alone(
    bench: Any, tmp_path: Path, tiny_onnx: Path, line: str
) -> None:
    network = sidecar(tmp_path, GOOD + line)
    ran = bench("run", "-m", network, "-m", tiny_onnx, "-t", "cpu-ort-fp32", *QUICK, "--json")
    bad, good = ran.json
    assert bad["failure"]["kind"] == "usage"
    assert "net.toml" in bad["failure"]["message"]
    assert good["failure"] is None


def of_any_size(path: Path, **outside: Any) -> Path:
    """A network whose images may have any number and size."""
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["a"]),
        helper.make_node("GlobalAveragePool", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "any",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor("w", TensorProto.FLOAT, [4, 3, 3, 3], [0.1] * 108)],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path, **outside)
    return path


@pytest.mark.parametrize("beside", [False, True])
def test_a_size_that_the_file_leaves_open_is_the_sidecars(tmp_path: Path, beside: bool) -> None:
    how = {"save_as_external_data": True, "location": "w", "size_threshold": 0} if beside else {}
    path = of_any_size(tmp_path / "net.onnx", **how)
    (tmp_path / "net.toml").write_text(GOOD.replace("[16, 16]", "[24, 16]"))
    before = path.read_bytes()
    model = OnnxFile().describe(str(path), "pretrained")
    assert [spec.shape for spec in model.inputs] == [(None, 3, 24, 16)]
    (tmp_path / "made").mkdir()
    exported = OnnxFile().export(model, tmp_path / "made")
    assert Path(exported.path).parent == tmp_path / "made"
    assert onnx_graph.inputs(onnx.load(exported.path)) == model.inputs
    assert onnx_graph.facts(exported).macs == 22 * 14 * 4 * 27
    assert path.read_bytes() == before


@pytest.mark.parametrize("target", ["cpu-ort-fp32", "cpu-openvino-fp32"])
def test_every_runtime_takes_a_file_with_an_open_size(
    bench: Any, tmp_path: Path, target: str
) -> None:
    path = of_any_size(tmp_path / "net.onnx")
    (tmp_path / "net.toml").write_text(GOOD)
    row = bench("compile", "-m", path, "-t", target, "--json").json
    unavailable = (row["failure"] or {}).get("kind") == "unavailable"
    assert row["status"] == "ok" or unavailable, row["failure"]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_onnx_runtime_fixes_a_batch_of_any_name(tmp_path: Path, precision: str) -> None:
    """As OpenVINO does: a free shape costs time in every call."""
    path = of_any_size(tmp_path / "net.onnx")
    (tmp_path / "net.toml").write_text(GOOD)
    model = OnnxFile().describe(str(path), "pretrained")
    (tmp_path / "made").mkdir()
    exported = OnnxFile().export(model, tmp_path / "made")
    [target] = targets.select([f"cpu-ort-{precision}"])
    runner: Any = plugins.runner("ort")
    how = Calibration.of(model, None, 2, "minmax")
    built = runner.build(exported, target, how, tmp_path)
    with runner.open(built, target, batch=2, threads=1) as [session]:
        assert [spec.shape for spec in session.inputs] == [(2, 3, 16, 16)]
