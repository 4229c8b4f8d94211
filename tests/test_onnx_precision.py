"""What an ONNX file computes in: fp32 means fp32, and what is quantized already runs as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench import check, plugins, targets
from bench.agreement import cosine_similarity
from bench.cache import Cache, artifact
from bench.calibration import Calibration
from bench.errors import StageError, UsageError
from bench.records import Job, Recipe
from bench.stages import calibrate
from exporters.onnx_file import OnnxFile
from tests.builders import refused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.records import Artifact, Target

RNG = np.random.default_rng(0)
SHAPE = [1, 4, 8, 8]
WEIGHT = RNG.standard_normal((4, 4, 3, 3)).astype(np.float32)


def written(
    path: Path, nodes: Sequence[Any], constants: dict[str, Any], functions: Sequence[Any] = ()
) -> Artifact:
    """A network from input to output."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 4, "h", "w"])],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    opsets += [helper.make_opsetid("own", 1)] if functions else []
    whole = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=9)
    onnx.save(whole, path)
    return artifact(path, form="onnx", made_by="test", build_s=0.0)


def quantized(path: Path, *, weights_alone: bool = False) -> Artifact:
    """A convolution between Q/DQ, as quantizers write it."""
    constants = {
        "scale": np.float32(0.05),
        "zero": np.uint8(128),
        "w": np.clip(np.round(WEIGHT / 0.03), -127, 127).astype(np.int8),
        "w_scale": np.float32(0.03),
        "w_zero": np.int8(0),
    }
    held = "input" if weights_alone else "x"
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["x"], "dq"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["weight"], "w_dq"),
        helper.make_node("Conv", [held, "weight"], ["output"], "conv", pads=[1, 1, 1, 1]),
    ]
    return written(path, nodes[2:] if weights_alone else nodes, constants)


def on(name: str) -> tuple[Any, Target]:
    [target] = targets.select([name])
    runner: Any = plugins.runner(target.runner)
    if problem := runner.probe(target):
        pytest.skip(problem)
    return runner, target


def calibration(source: Artifact, n: int = 2) -> Calibration:
    model = OnnxFile().describe(source.path, "pretrained")
    return Calibration.of(model, None, n, "default")


@pytest.mark.parametrize("name", ["cpu-ort-int8", "cpu-openvino-int8"])
def test_what_is_quantized_already_runs_as_it_is(name: str, tmp_path: Path) -> None:
    runner, target = on(name)
    source = quantized(tmp_path / "net.onnx")
    how = calibration(source)
    built = runner.build(source, target, how, tmp_path)
    assert built.made_by == {"ort": "test", "openvino": "openvino"}[target.runner]
    [feed, _] = how.feeds()
    with check.reference(source) as [session]:
        wanted = check.outputs(session, feed)[0]
    with runner.open(built, target, batch=1, threads=1) as [session]:
        found = check.outputs(session, feed)[0]
    assert cosine_similarity(wanted, found) > 0.95


@pytest.mark.parametrize("name", ["cpu-ort-int8", "cpu-openvino-int8"])
def test_its_row_says_that_nothing_was_calibrated(bench: Any, tmp_path: Path, name: str) -> None:
    on(name)
    row = bench("compile", "-m", quantized(tmp_path / "net.onnx").path, "-t", name, "--json").json
    assert row["status"] == "ok", row["failure"]
    assert not any("calibration" in said for made in row["artifacts"] for said in made["details"])
    [note] = [note for note in row["notes"] if "calibrated" in note]
    assert "quantized already" in note
    assert "is the file itself" in note


@pytest.mark.parametrize(
    ("recipe", "max_drop"), [(Recipe("entropy"), None), (Recipe(keep=2), None), (Recipe(), 1.0)]
)
def test_how_to_quantize_it_is_not_to_be_said(
    tmp_path: Path, recipe: Recipe, max_drop: float | None
) -> None:
    runner, target = on("cpu-ort-int8")
    source = quantized(tmp_path / "net.onnx")
    job = Job(source.path, target, recipe=recipe, max_drop=max_drop)
    model = calibration(source).model
    nobody: Any = None
    with refused(UsageError, source.path, "quantized already", "--calibration", "--max-drop"):
        calibrate.choose(job, model, None, source, runner, "", Cache(tmp_path / "c"), nobody)


@pytest.mark.parametrize("name", ["cpu-ort-fp32", "cpu-openvino-fp32"])
def test_fp32_refuses_it_and_says_who_runs_it(name: str, tmp_path: Path) -> None:
    runner, target = on(name)
    source = quantized(tmp_path / "net.onnx")
    with refused(StageError, "QuantizeLinear", "cpu-ort-int8 or cpu-openvino-int8"):
        runner.build(source, target, calibration(source), tmp_path)


@pytest.mark.parametrize("name", ["cpu-ort-int8", "cpu-openvino-int8"])
def test_weights_that_are_stored_as_int8_do_not_make_int8(name: str, tmp_path: Path) -> None:
    runner, target = on(name)
    source = quantized(tmp_path / "net.onnx", weights_alone=True)
    with refused(StageError, "only the weights", "DequantizeLinear", "made from"):
        runner.build(source, target, calibration(source), tmp_path)


def as_constant(values: Any) -> Any:
    return helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(values))


CONV = {"pads": [1, 1, 1, 1]}
IN_FLOAT64 = [
    helper.make_node("Cast", ["input"], ["x"], to=TensorProto.DOUBLE),
    helper.make_node("Conv", ["x", "w"], ["y"], **CONV),
    helper.make_node("Cast", ["y"], ["output"], to=TensorProto.FLOAT),
]


def in_a_branch(nodes: Sequence[Any]) -> Any:
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    branch = helper.make_graph(nodes, "branch", [], [output])
    return helper.make_node("If", ["yes"], ["output"], then_branch=branch, else_branch=branch)


def in_a_function(nodes: Sequence[Any]) -> Any:
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_function("own", "layer", ["input", "w"], ["output"], nodes, opsets)


@pytest.mark.parametrize(
    ("nodes", "constants", "functions", "words"),
    [
        (
            [
                as_constant(WEIGHT.astype(np.float16)),
                helper.make_node("Cast", ["w"], ["w32"], to=TensorProto.FLOAT),
                helper.make_node("Conv", ["input", "w32"], ["output"]),
            ],
            {},
            [],
            "half-precision weights",
        ),
        (IN_FLOAT64, {"w": WEIGHT.astype(np.float64)}, [], "float64"),
        (
            [in_a_branch(IN_FLOAT64)],
            {"w": WEIGHT.astype(np.float64), "yes": np.bool_(True)},
            [],
            "float64",
        ),
        (
            [helper.make_node("layer", ["input", "w"], ["output"], domain="own")],
            {"w": WEIGHT.astype(np.float64)},
            [in_a_function(IN_FLOAT64)],
            "float64",
        ),
        (
            [
                helper.make_node("Cast", ["input"], ["x"], to=TensorProto.FLOAT16),
                helper.make_node("MatMul", ["x", "x"], ["y"]),
                helper.make_node("Cast", ["y"], ["output"], to=TensorProto.FLOAT),
            ],
            {},
            [],
            "fp16",
        ),
        (
            [helper.make_node("MatMulNBits", list("abc"), ["output"], domain="com.microsoft")],
            {},
            [],
            "MatMulNBits",
        ),
        (
            [helper.make_node("QAttention", list("abc"), ["output"], domain="com.microsoft")],
            {},
            [],
            "QAttention",
        ),
        (
            [in_a_branch([helper.make_node("MatMulInteger", ["a", "b"], ["output"])])],
            {},
            [],
            "MatMulInteger",
        ),
    ],
    ids=["constant", "double", "branch", "function", "cast", "bits", "attention", "integer"],
)
def test_fp32_refuses_what_computes_in_something_else(
    tmp_path: Path, nodes: Any, constants: Any, functions: Any, words: str
) -> None:
    runner, target = on("cpu-ort-fp32")
    source = written(tmp_path / "net.onnx", nodes, constants, functions)
    with refused(StageError, "the target says fp32", words):
        runner.build(source, target, calibration(source), tmp_path)


def test_fp32_takes_what_is_fp32_where_it_counts(tmp_path: Path) -> None:
    """Sizes and coordinates may be of any type; QuickGelu begins with a Q, and is no Q/DQ."""
    nodes = [
        helper.make_node("QuickGelu", ["input"], ["x"], domain="com.microsoft"),
        helper.make_node("Conv", ["x", "w"], ["y"], **CONV),
        helper.make_node("Cast", ["y"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Mul", ["wide", "two"], ["wider"]),
        helper.make_node("Cast", ["wider"], ["output"], to=TensorProto.FLOAT),
    ]
    source = written(tmp_path / "net.onnx", nodes, {"w": WEIGHT, "two": np.float64(2)})
    runner, target = on("cpu-ort-fp32")
    assert runner.build(source, target, calibration(source), tmp_path) is source


# The runners' own options and inputs


@pytest.mark.parametrize(("given", "read"), [(True, "1"), (False, "0"), (1, "1")])
def test_options_that_are_true_are_true_for_onnx_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool | int, read: str
) -> None:
    """It compares with "1": "True" turned off what was to be turned on."""
    import onnxruntime

    seen: list[Any] = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, providers: seen.append(options) or real(path, options, providers),
    )
    key = "session.intra_op.allow_spinning"
    runner, target = on("cpu-ort-fp32")
    source = written(tmp_path / "net.onnx", [helper.make_node("Relu", ["input"], ["output"])], {})
    with runner.open(source, replace(target, options={key: given}), batch=1, threads=1):
        assert seen[0].get_session_config_entry(key) == read


def test_options_that_are_not_onnx_runtimes() -> None:
    runner, target = on("cpu-ort-fp32")
    with refused(UsageError, "'sesion.use_env_allocators'", "session.intra_op"):
        runner.probe(replace(target, options={"sesion.use_env_allocators": 1}))


@pytest.mark.parametrize("kind", ["Identity", "Dropout"])
def test_openvino_calls_inputs_as_the_file_does(kind: str, tmp_path: Path) -> None:
    """Its converter drops what does nothing, and keeps the name behind it."""
    runner, target = on("cpu-openvino-fp32")
    nodes = [
        helper.make_node(kind, ["input"], ["a0"]),
        helper.make_node("Conv", ["a0", "w"], ["output"], **CONV),
    ]
    source = written(tmp_path / "net.onnx", nodes, {"w": WEIGHT})
    built = runner.build(source, target, calibration(source), tmp_path)
    [feed, _] = calibration(source).feeds()
    with check.reference(source) as [session]:
        wanted = check.outputs(session, feed)[0]
    with runner.open(built, target, batch=1, threads=1) as [session]:
        assert [spec.name for spec in session.inputs] == ["input"]
        np.testing.assert_allclose(check.outputs(session, feed)[0], wanted, atol=1e-4)
