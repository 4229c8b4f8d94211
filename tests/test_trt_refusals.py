"""What TensorRT cannot do, said in one sentence with the remedy: options of other versions or GPUs,
operators that it does not have, and what it says itself."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bench import machine, targets
from bench.cache import artifact
from bench.errors import StageError, Unavailable, UsageError
from runners import trt
from runners.trt import TrtRunner
from runners.trt_api import Api, refusal
from tests import fake_pycuda, fake_tensorrt
from tests.builders import message_of, refused
from tests.test_trt_run import T4, NoCalibration, built, faults, network_of, source

if TYPE_CHECKING:
    from pathlib import Path

    from bench.records import Artifact

__all__ = ["faults", "source"]  # fixtures
RTX = "tensorrt_rtx_bindings"


def reason(target: Any) -> str:
    found = TrtRunner().probe(target)
    assert found is not None
    assert found.splitlines() == [found]
    return found


@pytest.mark.parametrize(
    ("version", "option", "words"),
    [
        ("8.5.2.2", {"optimization_level": 5}, ["8.5.2.2 does not know optimization_level", "8.6"]),
        ("8.5.2.2", {"version_compatible": True}, ["version_compatible", "8.6", "update"]),
        ("8.5.2.2", {"hardware_compatible": True}, ["hardware_compatible", "8.6", "leave it out"]),
        ("8.6.1", {"strongly_typed": True}, ["no strongly typed networks", "TensorRT 9"]),
        ("11.1.0", {"strongly_typed": False}, ["strongly typed networks alone", "TensorRT 10"]),
    ],
)
def test_options_of_other_versions(
    faults: fake_pycuda.Faults,
    source: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    option: Any,
    words: list[str],
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module(version))
    target = replace(T4, options=option)
    said = reason(target)
    assert all(word in said for word in words)
    with refused(Unavailable, *words):
        built(source, tmp_path, target)


def test_tensorrt_8_5_builds_without_them(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module("8.5.2.2"))
    target = replace(T4, options={"strongly_typed": False, "workspace_mb": 64})
    assert TrtRunner().probe(target) is None
    assert built(source, tmp_path, target).made_by == "TensorRT 8.5.2.2"


def test_engines_for_other_gpus_begin_with_ampere(
    faults: fake_pycuda.Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = replace(T4, options={"hardware_compatible": True})
    assert "8.0 (Ampere) and later, and this is 7.5: leave it out" in reason(target)
    monkeypatch.setattr(fake_pycuda.Device, "CAPABILITY", (8, 6))
    assert TrtRunner().probe(target) is None
    orin = replace(machine.observe(), board="NVIDIA Jetson Orin NX Developer Kit")
    monkeypatch.setattr(trt, "observe", lambda: orin)
    assert "not for Jetson boards" in reason(target)


def test_options_that_mean_nothing_ahead_of_time(bench: Any, tiny_onnx: Path) -> None:
    """Those that a device would refuse are refused without it, too."""
    for target, option, status, said in [
        ("t4-fp16", "hardware_compatible=true", 3, "this is 7.5: leave it out"),
        ("orin-nx-fp16", "hardware_compatible=true", 3, "not for Jetson boards"),
        ("t4-fp16", "timing_cache=/nofile", 2, "timing_cache=/nofile: no kernel is timed where"),
        ("t4-fp16", "workspace_mb=-1", 2, "a number from 0 to 1048576 was expected"),
    ]:
        ran = bench("compile", "-m", tiny_onnx, "-t", target, "-o", option)
        assert ran.status == status, ran.err
        assert said in ran.err


def test_a_timing_cache_that_is_not_there(faults: fake_pycuda.Faults) -> None:
    with refused(UsageError, "timing_cache=/nofile cannot be read"):
        TrtRunner().probe(replace(T4, options={"timing_cache": "/nofile"}))


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("strongly_typed=false", ["strongly typed networks alone", "leave out"]),
        ("version_compatible=true", ["libnvinfer-lean", "leave out version_compatible=true"]),
    ],
)
def test_options_that_tensorrt_rtx_has_not(
    bench: Any, tmp_path: Path, option: str, words: list[str]
) -> None:
    pytest.importorskip(RTX)
    path = convolution_and("Relu", tmp_path / "half.onnx", precision=np.float16)
    ran = bench("compile", "-m", path, "-t", "t4-fp16", "-o", option)
    assert ran.status == 3
    assert all(word in ran.err for word in words), ran.err


# Operators


@pytest.mark.parametrize("version", ["11.1.0", "8.6.1"])
@pytest.mark.parametrize("kind", ["Unique", "Compress"])
def test_an_operator_is_named_where_the_parser_does_not(
    faults: fake_pycuda.Faults,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    kind: str,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module(version))
    with pytest.raises(StageError) as caught:
        built(network_of(kind, tmp_path), tmp_path)
    assert caught.value.kind == "unsupported-op"
    assert f"what the model needs: operator {kind}; export it" in message_of(caught.value)


@pytest.mark.parametrize("version", ["11.1.0", "8.6.1"])
def test_what_the_parser_says_of_an_operator_that_it_has(
    faults: fake_pycuda.Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module(version))
    with refused(StageError, "read the model: operator Multinomial: only one sample is supported"):
        built(network_of("Multinomial", tmp_path), tmp_path)


def test_a_file_that_the_parser_cannot_read(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the error is about no node."""
    (tmp_path / "broken.onnx").write_bytes(b"not an ONNX file")
    broken = replace(source, path=str(tmp_path / "broken.onnx"))
    for version in ("11.1.0", "8.6.1"):
        monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module(version))
        with refused(StageError, "cannot read the model: Failed to parse the file"):
            TrtRunner().compile(broken, T4, (1,), tmp_path)


def convolution_and(
    kind: str, path: Path, opset: int = 17, domain: str = "", precision: Any = np.float32
) -> Path:
    """A network of a convolution and one operator, which may be of somebody's own."""
    weight, one = np.full((32, 3, 3, 3), 0.1, precision), np.ones(32, precision)
    typed = helper.np_dtype_to_tensor_dtype(weight.dtype)
    given = ["c", *(["one"] if kind == "LayerNormalization" else [])]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "w"], ["c"], pads=[1] * 4),
            helper.make_node(kind, given, ["output"], domain=domain),
        ],
        "two",
        [helper.make_tensor_value_info("input", typed, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("output", typed, ["batch", 32, 32, 32])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(one, "one")],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


@pytest.mark.parametrize("target", ["t4-fp16", "t4-int8"])
def test_an_operator_of_somebodys_own(bench: Any, tmp_path: Path, target: str) -> None:
    pytest.importorskip("modelopt")
    path = convolution_and("Own", tmp_path / "own.onnx", domain="my.domain")
    ran = bench("compile", "-m", path, "-t", target, "--json")
    assert ran.json["failure"]["kind"] == "unsupported-op"
    said = ran.json["failure"]["message"]
    assert "operator my.domain.Own, which is not of ONNX's own operators" in said
    assert "another runner" in said


@pytest.mark.parametrize(("kind", "opset"), [("LayerNormalization", 17), ("Gelu", 20)])
def test_what_a_jetpack_5_board_does_not_have(
    bench: Any, tmp_path: Path, kind: str, opset: int
) -> None:
    path = convolution_and(kind, tmp_path / "new.onnx", opset)
    for target in ("xavier-nx-fp16", "xavier-nx-int8"):
        failure = bench("compile", "-m", path, "-t", target, "--json").json["failure"]
        assert failure["kind"] == "unsupported-op"
        assert f"operator {kind}, which TensorRT 8.5 does not have" in failure["message"]
        assert "export it in opset 16" in failure["message"]


def test_what_has_no_form_in_an_older_opset(tmp_path: Path) -> None:
    """For a board with flags for precisions whose TensorRT is newer than 8.5."""
    [orin] = targets.select(["orin-nx-fp16"])
    orin = replace(orin, options={"strongly_typed": False})
    path = convolution_and("Gelu", tmp_path / "new.onnx", 20)
    new = artifact(path, form="onnx", made_by="test", build_s=0.0)
    with refused(StageError, "opset 17", "(Gelu has no older form): export it in that opset"):
        TrtRunner().lower(new, orin, NoCalibration(), tmp_path, ahead=True)


def test_a_network_without_any_product_cannot_be_int8(
    faults: fake_pycuda.Faults, tmp_path: Path
) -> None:
    with refused(StageError, "no convolution and no matrix product"):
        int8 = replace(T4, precision="int8")
        TrtRunner().compile(network_of("Identity", tmp_path), int8, (1,), tmp_path)


# Errors of the compiler


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "10: [optimizer.cpp::computeCosts::3728] Error Code 10: Internal Error (Could not find "
            "any implementation for node {ForeignNode[node_layer_norm...node_linear_3]}.)",
            "Internal Error (Could not find any implementation for node "
            "{ForeignNode[node_layer_norm...node_linear_3]}.)",
        ),
        (
            "6: The engine plan file is not compatible with this version of TensorRT, expecting "
            "library version 8.5.2.2 got 8.6.1.6, please rebuild.",
            "The engine plan file is not compatible with this version of TensorRT, expecting "
            "library version 8.5.2.2 got 8.6.1.6, please rebuild",
        ),
        (
            "[blobInfo.cpp::getInfo::123] Error Code 1: Serialization (Version tag does not match)",
            "Serialization (Version tag does not match)",
        ),
        (
            "IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (no node "
            "{ForeignNode[blocks.0.h...head.cpp]}. In computeCosts at /_src/optimizer.cpp:9)",
            "Internal Error (no node {ForeignNode[blocks.0.h...head.cpp]})",
        ),
    ],
)
def test_a_reason_without_where_it_came_from(said: str, reason: str) -> None:
    log = Api("TensorRT", fake_tensorrt.module()).logger()
    log.log(log.Severity.ERROR, said)
    api = Api("TensorRT", fake_tensorrt.module("8.6.1"))
    error = refusal(api, log, what="go on", kind="not-compilable")
    assert message_of(error) == f"TensorRT 8.6.1 cannot go on: {reason}"


@pytest.mark.parametrize("lacking", [MemoryError("8 GB"), OSError(28, "No space left on device")])
def test_what_the_machine_lacks_is_no_fault_of_the_network(
    source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: Exception
) -> None:
    def lacks(*_: Any) -> None:
        raise lacking

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)  # ModelOpt is here
    monkeypatch.setattr("runners.trt_onnx._halve", lacks)
    monkeypatch.setattr("runners.trt_onnx._to_qdq", lacks)
    fp16, int8 = replace(T4, precision="fp16"), replace(T4, precision="int8")
    for target in (fp16, int8):
        with pytest.raises(type(lacking), match=str(lacking.args[-1])):
            TrtRunner().lower(source, target, NoCalibration(), tmp_path, ahead=True)
    with pytest.raises(type(lacking), match=str(lacking.args[-1])):
        TrtRunner().rank(source, int8, NoCalibration())
