"""`bench compile`: engines for a T4, compiled for real by TensorRT for RTX where there is none;
and the artifacts of other runners."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench import plugins, targets
from bench.accuracy import figures, inference
from bench.accuracy.ledger import Ledger
from bench.check import REFERENCE
from bench.records import Artifact
from exporters.builtin_zoo import BuiltinZoo
from tests.conftest import write_network

SHARED = Path(
    os.environ.get("BENCH_SHARED_DATA", Path(__file__).parent.parent.parent / "shared" / "data")
)
RTX = "tensorrt_rtx_bindings"
T4 = ["-t", "t4-fp16", "-t", "t4-int8"]


def compiled(bench: Any, *arguments: str | Path) -> Any:
    ran = bench("compile", *arguments, "--json")
    assert ran.out, ran.err
    assert ran.status == 0, ran.err
    return ran.json


def assert_is_rtx(row: Any, layers: str) -> None:
    """An engine of TensorRT for RTX, which says so wherever it is named."""
    assert row["status"] == "ok", row["failure"]
    made = row["compiled"]
    assert made["format"] == "tensorrt-rtx-engine"
    assert made["made_by"].startswith("TensorRT-RTX ")
    assert made["details"]["compiler"] == made["made_by"]
    assert made["details"]["device"] == "compute capability 7.5"
    assert Path(made["path"]).stat().st_size > 10_000
    assert row["layers"].get(layers, 0) > 0
    assert "fp32" not in row["layers"]
    assert made["build_s"] > 0
    assert any("the engine itself has not run" in note for note in row["notes"])


@pytest.mark.slow
def test_a_digits_network_for_a_t4(bench: Any, tmp_path: Path) -> None:
    pytest.importorskip(RTX)
    fp16, int8 = compiled(bench, "-m", "builtin:digits-resnet", *T4)
    assert_is_rtx(fp16, "fp16")
    assert fp16["layers"].keys() == {"fp16"}
    assert fp16["check"]["cosine"] > 0.9999
    assert_is_rtx(int8, "int8")
    assert [each["format"] for each in int8["artifacts"]] == [
        "onnx",
        "onnx-qdq",
        "tensorrt-rtx-engine",
    ]
    lowered = int8["artifacts"][1]
    assert lowered["details"]["calibration"].startswith("digits")
    assert int8["compiled"]["details"]["onnx_sha256"] == lowered["sha256"]
    listed = Path(lowered["path"]).with_name("calibration.txt").read_text().splitlines()
    assert len(listed) == lowered["details"]["calibration_n"] > 100
    # What the compiler was given is as accurate as fp32, on images that did not calibrate it.
    exported = Artifact(**int8["artifacts"][0])
    before, after = (
        top1(each, tmp_path / str(i)) for i, each in enumerate((exported, Artifact(**lowered)))
    )
    assert before > 95
    assert abs(after - before) <= 1
    again = bench("compile", "-m", "builtin:digits-resnet", "-t", "t4-int8")
    assert again.status == 0
    assert int8["compiled"]["path"] in again.out, "the same artifact, from the cache"
    assert "tensorrt-rtx-engine by TensorRT-RTX" in again.out


def top1(made: Artifact, ledger: Path) -> float:
    """Top-1 on ONNX Runtime over the digits that evaluate."""
    model = BuiltinZoo().describe("digits-resnet", "pretrained")
    dataset = BuiltinZoo().dataset(model)
    assert dataset is not None
    how = figures.scorer(model, dataset)
    as_written = replace(REFERENCE, options={"session.disable_quant_qdq": 1})

    def opened(batch: int, threads: int, streams: int) -> Any:
        return plugins.runner("ort").open(
            made, as_written, batch=batch, threads=threads, streams=streams
        )

    seen = inference.predict(opened, dataset.test, how, model, Ledger(ledger, ""))
    found = [each.prediction for each in seen]
    truths = [each.truth for each in dataset.test]
    return figures.accuracy(how, model, dataset, found, found, truths).value


@pytest.mark.slow
@pytest.mark.timeout(900)  # on a machine with much else to do
@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet50"])
def test_a_network_of_a_zoo_for_a_t4(bench: Any, name: str) -> None:
    pytest.importorskip(RTX)
    pytest.importorskip("timm")
    fp16, int8 = compiled(bench, "-m", f"timm:{name}", "--weights", "random", *T4)
    assert_is_rtx(fp16, "fp16")
    assert_is_rtx(int8, "int8")
    assert int8["layers"]["int8"] > 50
    assert any("calibrated on synthetic images" in note for note in int8["notes"])


def detector(path: Path, opset: int = 17) -> Path:
    """A backbone of four convolutions and two heads on two scales, as one-shot detectors are."""
    rng = np.random.default_rng(0)
    tensors, nodes = [], []

    def conv(given: str, name: str, channels: tuple[int, int], stride: int = 1) -> str:
        shape = (channels[1], channels[0], 3, 3)
        weight = (rng.standard_normal(shape) / np.sqrt(9 * channels[0])).astype(np.float32)
        tensors.append(numpy_helper.from_array(weight, f"{name}_w"))
        pads, strides = [1, 1, 1, 1], [stride, stride]
        nodes.append(
            helper.make_node("Conv", [given, f"{name}_w"], [name], pads=pads, strides=strides)
        )
        nodes.append(helper.make_node("Relu", [name], [f"{name}_r"]))
        return f"{name}_r"

    x = conv("images", "stem", (3, 32), 2)
    fine = conv(x, "fine", (32, 64), 2)
    coarse = conv(fine, "coarse", (64, 64), 2)
    tensors.append(numpy_helper.from_array(np.array([0, 24, -1], np.int64), "to"))
    for i, level in enumerate((fine, coarse)):
        head = conv(level, f"head{i}", (64, 24))
        nodes.append(helper.make_node("Reshape", [head, "to"], [f"flat{i}"]))
    nodes.append(helper.make_node("Concat", ["flat0", "flat1"], ["boxes"], axis=2))
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 24, 320])],
        tensors,
    )
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def narrow(path: Path) -> Path:
    """Three convolutions too narrow for int8 to gain anything, and two that are wide enough."""
    rng = np.random.default_rng(0)
    tensors, nodes, given = [], [], "image"
    for i, (wide, wider) in enumerate([(3, 4), (4, 4), (4, 4), (4, 64), (64, 64)]):
        weight = rng.standard_normal((wider, wide, 3, 3)) / np.sqrt(9 * wide)
        weight = weight.astype(np.float32)
        tensors.append(numpy_helper.from_array(weight, f"w{i}"))
        nodes.append(helper.make_node("Conv", [given, f"w{i}"], [f"y{i}"]))
        nodes.append(helper.make_node("Relu", [f"y{i}"], [f"x{i}"]))
        given = f"x{i}"
    graph = helper.make_graph(
        nodes,
        "narrow",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info(given, TensorProto.FLOAT, [1, 64, 22, 22])],
        tensors,
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


@pytest.mark.slow
def test_int8_that_is_mostly_something_else_says_so(bench: Any, tmp_path: Path) -> None:
    pytest.importorskip(RTX)
    row = compiled(bench, "-m", narrow(tmp_path / "narrow.onnx"), "-t", "t4-int8")
    assert row["layers"] == {"fp16": 3, "int8": 2}
    (note,) = [note for note in row["notes"] if "lesser part" in note]
    assert "2 of 5 compute layers, 3 in fp16" in note


@pytest.mark.slow
def test_a_detector_for_a_t4(bench: Any, tmp_path: Path) -> None:
    """YOLOX where it is at hand, whose nodes have no names and whose opset is 11; else a small
    one."""
    pytest.importorskip(RTX)
    real = SHARED / "models" / "yolox_nano.onnx"
    path = real if real.is_file() else detector(tmp_path / "detector.onnx")
    fp16, int8 = compiled(bench, "-m", path, *T4)
    assert_is_rtx(fp16, "fp16")
    assert_is_rtx(int8, "int8")
    assert fp16["compiled"]["details"]["batches"] == "fixed"


def test_the_compilers_refusal_is_a_failure_with_its_own_reason(
    bench: Any, tiny_onnx: Path
) -> None:
    pytest.importorskip(RTX)
    ran = bench("compile", "-m", tiny_onnx, "-t", "t4-fp32", "--json")
    assert ran.status == 1
    assert ran.json["status"] == "failed"
    assert ran.json["compiled"] is None
    assert ran.json["failure"]["stage"] == "build"
    assert ran.json["failure"]["kind"] == "not-compilable"
    assert "FP32 GEMM is not supported" in ran.json["failure"]["message"]
    assert "FP32 GEMM is not supported" in ran.err


@pytest.mark.slow
def test_where_nobody_compiles_the_network_for_the_device_is_kept(
    bench: Any, tmp_path: Path
) -> None:
    """What a board with its own TensorRT can be given: Q/DQ in fp32 for one with flags."""
    pytest.importorskip(RTX)
    path = detector(tmp_path / "detector.onnx")
    ran = bench("compile", "-m", path, "-t", "xavier-nx-int8", "--json")
    assert ran.status == 3
    assert ran.json["failure"]["kind"] == "unavailable"
    assert "Xavier NX has 7.2" in ran.json["failure"]["message"]
    lowered = ran.json["artifacts"][-1]
    assert lowered["format"] == "onnx-qdq"
    assert lowered["details"]["not_quantized_in"] == "fp32"
    assert lowered["path"] in ran.err
    made = onnx.load(lowered["path"])
    assert TensorProto.FLOAT16 not in {tensor.data_type for tensor in made.graph.initializer}
    assert made.opset_import[0].version == 17, "the last that TensorRT 8.5 reads"
    onnx.checker.check_model(made)


def test_fp16_for_a_board_with_flags_is_the_same_network_in_an_older_opset(
    bench: Any, tmp_path: Path
) -> None:
    pytest.importorskip("modelopt")
    path = detector(tmp_path / "detector.onnx", opset=20)
    ran = bench("compile", "-m", path, "-t", "xavier-nx-fp16", "--json")
    lowered = ran.json["artifacts"][-1]
    assert lowered["format"] == "onnx"
    assert onnx.load(lowered["path"]).opset_import[0].version == 17


def test_no_target_of_a_gpu_runs_without_it(bench: Any, tiny_onnx: Path) -> None:
    """That it compiles here does not make it run here, `--anyway` or not."""
    [t4] = targets.select(["t4-fp16"])
    for more in ([], ["--anyway"]):
        ran = bench("run", "-m", tiny_onnx, "-t", "t4-fp16", "--json", *more)
        if more and plugins.runner("tensorrt").probe(t4) is None:
            pytest.skip("there is a GPU with TensorRT")
        assert ran.status == 3
        assert ran.json["failure"]["kind"] == "unavailable"
        assert ran.json["latency"] is None


@pytest.mark.parametrize("target", ["cpu-ort-fp32", "cascade-lake-fp32"])
def test_targets_of_other_runners_are_built_too(bench: Any, tiny_onnx: Path, target: str) -> None:
    """OpenVINO's IR is made for no CPU in particular, so a CPU that is not here will do."""
    if "cascade" in target:
        pytest.importorskip("openvino")
    row = compiled(bench, "-m", tiny_onnx, "-t", target)
    assert row["compiled"]["format"] == ("onnx" if "ort" in target else "openvino-ir")
    assert row["check"]["cosine"] > 0.9999
    assert row["layers"] == {}


def test_a_build_is_no_result(bench: Any, tiny_onnx: Path, own_store: Path) -> None:
    compiled(bench, "-m", tiny_onnx, "-t", "cpu-ort-fp32")
    assert not own_store.exists() or bench("list", "results", "--json").json == []


def test_the_table_of_builds(bench: Any, tiny_onnx: Path) -> None:
    ran = bench("compile", "-m", tiny_onnx, "-t", "cpu-ort-fp32", "-t", "xavier-nx-fp16")
    assert ran.status in (1, 3)
    assert all(len(line) <= 80 for line in ran.out.splitlines() if "/" not in line)
    assert "onnx by" in ran.out
    assert "xavier-nx-fp16: failed at build" in ran.err


def test_what_was_built_is_copied_out(bench: Any, tiny_onnx: Path, tmp_path: Path) -> None:
    out = tmp_path / "built"
    asked = ("-m", tiny_onnx, "-t", "cpu-openvino-fp32", "-t", "xavier-nx-fp16", "--out", out)
    ran, refused = bench("compile", *asked, "--json").json
    path = Path(ran["compiled"]["path"])
    assert path.parent.parent == out
    assert path.parent.name.startswith("tiny.onnx-cpu-openvino-fp32-")
    assert path.with_suffix(".bin").is_file()
    lowered = Path(refused["artifacts"][-1]["path"])  # what trtexec compiles on the board
    assert lowered.parent.parent == out
    assert lowered.is_file()


def test_two_of_one_name_are_copied_beside_each_other(bench: Any, tmp_path: Path) -> None:
    """Zoos of files call each of them model.onnx."""
    for i, folder in enumerate("ab"):
        (tmp_path / folder).mkdir()
        write_network(tmp_path / folder / "model.onnx", classes=10 + i)
    asked = [word for folder in "ab" for word in ("-m", tmp_path / folder / "model.onnx")]
    out = tmp_path / "out"
    rows = bench("compile", *asked, "-t", "cpu-ort-fp32", "--out", out, "--json").json
    assert len({row["compiled"]["path"] for row in rows}) == 2
    assert len(list(out.iterdir())) == 2
    refused = bench("compile", *asked, "-t", "cpu-ort-fp32", "--out", tmp_path / "a/model.onnx")
    assert refused.status == 2
    assert "--out" in refused.err


def test_wrong_usage(bench: Any, tiny_onnx: Path, tmp_path: Path) -> None:
    wrong = [
        (["-t", "t4-fp17"], "unknown target"),
        (["-t", "t4-fp16", "-o", "workspace=1"], "no option 'workspace'"),
        (["-t", "t4-fp16", "--calib", str(tmp_path)], "--calib needs --data"),
        (["-t", "t4-fp16", "--data", str(tmp_path / "none")], "does not exist"),
    ]
    for words, said in wrong:
        ran = bench("compile", "-m", tiny_onnx, *words)
        assert ran.status == 2, words
        assert said in ran.err
