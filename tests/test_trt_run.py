"""TensorRT engines built and run, on fakes of TensorRT and pycuda that compute what an engine would
and know no call that the real ones do not have (`tests/test_trt_seam.py`)."""

from __future__ import annotations

import sys
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from bench import contracts
from bench.cache import artifact
from bench.check import reference
from bench.errors import StageError, Unavailable, UsageError
from bench.records import Artifact, Target
from runners import cuda_device
from runners.trt import TrtRunner
from runners.trt_session import executed_layers
from tests import fake_pycuda, fake_tensorrt
from tests.builders import message_of, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

T4 = Target("t4-fp32", "t4", "tensorrt", "fp32", "gpu")


class NoCalibration:
    source, n, fingerprint, method, keep, max_drop = "none", 0, "0", "max", (), 1.0

    def feeds(self) -> Iterator[Any]:
        return iter(())

    def score(self, outputs: Any) -> float:
        raise AssertionError("nothing is evaluated here")


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_pycuda.Faults]:
    """A T4 with TensorRT 11, and what goes wrong on it."""
    made = fake_pycuda.Faults()
    package = types.ModuleType("pycuda")
    package.driver = fake_pycuda.module(made)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", package.driver)
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module())
    monkeypatch.setattr(cuda_device, "libcuda", fake_pycuda.Libcuda())
    fake_pycuda.Context.stack().clear()
    yield made
    fake_pycuda.DeviceAllocation.memory.clear()
    assert not fake_pycuda.Context.stack(), "a context was left current"


@pytest.fixture
def source(tiny_onnx: Path) -> Artifact:
    return artifact(tiny_onnx, form="onnx", made_by="test", build_s=0.0)


def built(
    source: Artifact, to: Path, target: Target = T4, batches: tuple[int, ...] = (1, 3)
) -> Any:
    runner = TrtRunner()
    return runner.compile(runner.lower(source, target, NoCalibration(), to), target, batches, to)


def images(batch: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"input": rng.standard_normal((batch, 3, 16, 16)).astype(np.float32)}


def computed(session: contracts.Session, feed: contracts.Feed) -> Any:
    session.stage(feed)
    session.step()
    return np.array(session.fetch()[0])


def wanted(source: Artifact, feed: dict[str, Any]) -> Any:
    with reference(source, len(feed["input"])) as [session]:
        return computed(session, feed)


@pytest.mark.parametrize("options", [{}, {"cuda_graph": True}, {"blocking_wait": True}])
@pytest.mark.parametrize("batch", [1, 3])
def test_an_engine_computes_what_the_network_computes(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path, batch: int, options: Any
) -> None:
    target = replace(T4, options=options)
    assert TrtRunner().probe(target) is None
    engine = built(source, tmp_path, target)
    with TrtRunner().open(engine, target, batch=batch, threads=1) as [session]:
        assert session.inputs[0].shape == (batch, 3, 16, 16)
        for seed in (0, 1, 0):
            feed = images(batch, seed)
            np.testing.assert_allclose(
                computed(session, feed), wanted(source, feed), rtol=1e-4, atol=1e-5
            )
        flags = session.flags()
    assert flags["runtime"] == "TensorRT 11.1.0"
    assert flags["cuda_graph"] is bool(options.get("cuda_graph"))
    assert flags["wait"] == ("blocking" if "blocking_wait" in options else "auto")
    assert flags["events_us"] == 500.0
    assert flags["executed"] == "int8:1"
    assert flags["profile"] == f"({batch}, 3, 16, 16)"
    assert flags["gpu_uuid"] == "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"


def test_a_driver_that_tells_no_uuid_costs_nothing_else(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = fake_pycuda.Libcuda()
    silent.status = 801  # not supported
    monkeypatch.setattr(cuda_device, "libcuda", silent)
    engine = built(source, tmp_path)
    with TrtRunner().open(engine, T4, batch=1, threads=1) as [session]:
        assert "gpu_uuid" not in session.flags()


def test_a_step_returns_when_the_gpu_has_finished(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path
) -> None:
    engine = built(source, tmp_path)
    with TrtRunner().open(engine, T4, batch=1, threads=1) as [session]:
        session.stage(images(1))
        streams = [each for each in fake_pycuda.Stream.by_handle.values() if each.queue]
        assert not streams, "stage has to wait for its copies"
        session.step()
        assert not any(each.queue for each in fake_pycuda.Stream.by_handle.values())


def test_another_thread_borrows_the_context_and_gives_it_back(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path
) -> None:
    """pycuda ends the process when a thread ends that still holds it."""
    engine = built(source, tmp_path)
    with (
        TrtRunner().open(engine, T4, batch=1, threads=1, streams=2) as sessions,
        ThreadPoolExecutor(2) as pool,
    ):
        feeds = [images(1, seed) for seed in (1, 2)]
        found = list(pool.map(computed, sessions, feeds))
        for feed, output in zip(feeds, found, strict=True):
            np.testing.assert_allclose(output, wanted(source, feed), rtol=1e-4, atol=1e-5)
        assert pool.submit(lambda: len(fake_pycuda.Context.stack())).result() == 0


def test_what_decides_an_engine_is_written_down(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path
) -> None:
    options = {"workspace_mb": 64, "optimization_level": 5, "version_compatible": True}
    engine = built(source, tmp_path, replace(T4, options=options))
    assert engine.format == "tensorrt-engine"
    assert engine.made_by == engine.details["compiler"] == "TensorRT 11.1.0"
    assert engine.details["device"] == "Tesla T4, compute capability 7.5"
    assert engine.details["batches"] == "1,3"
    assert engine.details["workspace_mb"] == 64
    assert engine.details["version_compatible"] is True
    assert len(engine.details["timing_cache_sha256"]) == 64
    head = head_of(engine)
    assert head["workspace"] == 64 << 20
    assert head["level"] == 5
    assert head["network_flags"] == 1 << fake_tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert fake_tensorrt.BuilderFlag.TF32 not in head["flags"], "fp32 is not tf32"


def head_of(engine: Artifact) -> Any:
    import json

    return json.loads(Path(engine.path).read_bytes().split(b"\n")[1])


def test_a_timing_cache_is_begun_with_and_kept(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    first.mkdir()
    engine = built(source, first)
    kept = first / "timing.cache"
    again = replace(T4, options={"timing_cache": str(kept)})
    second = built(source, tmp_path, again)
    assert second.details["timing_cache_from_sha256"] == engine.details["timing_cache_sha256"]
    identity = TrtRunner().identity(again)
    assert identity["timing_cache"] == engine.details["timing_cache_sha256"]
    assert identity["device"] == "Tesla T4, compute capability 7.5"
    kept.write_bytes(b"of another GPU")
    with refused(UsageError, "timing_cache=", "leave it out"):
        built(source, tmp_path, again)
    kept.unlink()
    with refused(UsageError, "cannot be read"):
        built(source, tmp_path, again)


@pytest.mark.parametrize(
    ("precision", "flags"), [("fp32", set()), ("fp16", {"FP16"}), ("int8", {"FP16", "INT8"})]
)
def test_tensorrt_8_is_told_precisions_by_flags(
    faults: fake_pycuda.Faults,
    source: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: Any,
    flags: set[str],
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module("8.5.2.2"))
    target = replace(T4, precision=precision)
    runner = TrtRunner()
    if precision == "int8":
        engine = runner.compile(quantized(source, tmp_path), target, (1,), tmp_path)
    else:
        engine = runner.build(source, target, NoCalibration(), tmp_path)
    head = head_of(engine)
    old = fake_tensorrt.OldBuilderFlag
    assert {old(flag).name for flag in head["flags"]} == flags
    assert (
        head["network_flags"] == 1 << fake_tensorrt.OldNetworkDefinitionCreationFlag.EXPLICIT_BATCH
    )
    assert engine.details["strongly_typed"] is False


def quantized(source: Artifact, to: Path) -> Artifact:
    """The convolution's input and weights through Q/DQ."""
    model = onnx.load(source.path)
    scale = onnx.numpy_helper.from_array(np.float32(0.05), "scale")
    zero = onnx.numpy_helper.from_array(np.int8(0), "zero")
    model.graph.initializer.extend([scale, zero])
    for name in ("input", "w1"):
        for kind, given, made in (
            ("QuantizeLinear", name, f"{name}_q"),
            ("DequantizeLinear", f"{name}_q", f"{name}_dq"),
        ):
            node = onnx.helper.make_node(kind, [given, "scale", "zero"], [made])
            model.graph.node.insert(0 if kind[0] == "Q" else 1, node)
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    conv.input[0], conv.input[1] = "input_dq", "w1_dq"
    onnx.save(model, to / "qdq.onnx")
    return artifact(to / "qdq.onnx", form="onnx-qdq", made_by="test", build_s=0.0)


def test_layers_are_counted_as_the_network_types_them(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path
) -> None:
    int8 = replace(T4, precision="int8")
    engine = TrtRunner().compile(quantized(source, tmp_path), int8, (1,), tmp_path)
    assert engine.details["layers_as_typed"] == "int8:1 fp16:1"
    with refused(StageError, "not be int8"):
        TrtRunner().compile(source, int8, (1,), tmp_path)


# What goes wrong


def test_a_stale_engine_is_never_loaded(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = built(source, tmp_path)
    before = TrtRunner().identity(T4)
    monkeypatch.setattr(fake_pycuda.Device, "NAME", "NVIDIA A10")
    monkeypatch.setattr(fake_pycuda.Device, "CAPABILITY", (8, 6))
    with refused(StageError, "Tesla T4", "NVIDIA A10", "builds it anew"):
        open_and_close(engine)
    assert TrtRunner().identity(T4) != before, "so it is built again, not found in the cache"
    monkeypatch.undo()


def test_an_engine_of_another_version_is_stale(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = built(source, tmp_path)
    compatible = built(source, tmp_path, replace(T4, options={"version_compatible": True}))
    before = TrtRunner().identity(T4)
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module("11.2.0"))
    with refused(StageError, "TensorRT 11.1.0", "TensorRT 11.2.0"):
        open_and_close(engine)
    assert TrtRunner().identity(T4) != before
    open_and_close(compatible)


def test_an_engine_of_tensorrt_rtx_is_never_timed_as_tensorrts(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path
) -> None:
    engine = replace(
        built(source, tmp_path), format="tensorrt-rtx-engine", made_by="TensorRT-RTX 1.7"
    )
    with refused(StageError, "TensorRT-RTX 1.7", "not TensorRT"):
        open_and_close(engine)


def open_and_close(engine: Artifact, batch: int = 1, target: Target = T4) -> None:
    with TrtRunner().open(engine, target, batch=batch, threads=1):
        pass


def test_a_batch_that_was_not_built(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path
) -> None:
    engine = built(source, tmp_path)
    with refused(StageError, "built for batch 1, 3", "2 is asked", "--batch 2"):
        open_and_close(engine, batch=2)


def test_not_enough_memory_to_pin(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path
) -> None:
    """As a GPU with 84 GB free said when a buffer of terabytes was asked for."""
    engine = built(source, tmp_path)
    faults.bytes_pinned = 100
    with refused(StageError, "the host cannot give", "pinned memory", "smaller batch"):
        open_and_close(engine)


def test_a_broken_engine(faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path) -> None:
    engine = built(source, tmp_path)
    Path(engine.path).write_bytes(b"not an engine")
    with refused(StageError, "cannot load the engine", "Magic tag does not match"):
        open_and_close(engine)


def test_not_enough_memory_on_the_gpu(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path
) -> None:
    engine = built(source, tmp_path)
    faults.bytes_free = 100
    with refused(StageError, "not enough GPU memory", "smaller batch"):
        open_and_close(engine)
    fake_pycuda.DeviceAllocation.memory[-1] = np.zeros(1, np.uint8)  # none for the engine itself
    with pytest.raises(StageError) as caught:
        open_and_close(engine)
    assert caught.value.kind == "oom"
    assert "not enough GPU memory" in message_of(caught.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("cuInit failed: no CUDA-capable device is detected", "no GPU is visible"),
        ("cuInit failed: system has unsupported display driver / cuda driver combination",
         "driver is too old"),
        ("cuInit failed: CUDA driver version is insufficient for CUDA runtime version",
         "driver is too old"),
    ],
)  # fmt: skip
def test_a_gpu_that_cannot_be_used(faults: fake_pycuda.Faults, said: str, words: str) -> None:
    faults.init = fake_pycuda.LogicError(said)
    reason = TrtRunner().probe(T4)
    assert reason is not None
    assert words in reason
    assert reason.splitlines() == [reason]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        # pycuda's own library is linked against the driver's...
        ("libcuda.so.1: cannot open shared object file", "there is no NVIDIA driver here"),
        # ...and the driver may lack what it was compiled with.
        ("_driver.cpython-312.so: undefined symbol: cuArrayCreate_v2", "--force-reinstall"),
    ],
)
def test_a_pycuda_that_cannot_be_loaded(
    faults: fake_pycuda.Faults, monkeypatch: pytest.MonkeyPatch, said: str, words: str
) -> None:
    class Missing:
        def __getattr__(self, name: str) -> Any:
            raise ImportError(said)

    monkeypatch.delitem(sys.modules, "pycuda.driver")
    monkeypatch.setitem(sys.modules, "pycuda", Missing())
    monkeypatch.setattr(sys, "meta_path", [_Finder(said), *sys.meta_path])
    reason = TrtRunner().probe(T4)
    assert reason is not None
    assert words in reason
    assert said in reason


class _Finder:
    """Finds pycuda.driver, which then cannot be imported."""

    def __init__(self, said: str) -> None:
        self._said = said

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "pycuda.driver":
            raise ImportError(self._said)


def test_without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    reason = TrtRunner().probe(T4)
    assert reason is not None
    assert "TensorRT cannot be imported" in reason
    assert "pip install 'frontier-bench[tensorrt]'" in reason


def test_a_tensorrt_that_is_too_old(
    faults: fake_pycuda.Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module("8.4.1.5"))
    reason = TrtRunner().probe(T4)
    assert reason is not None
    assert "8.4.1.5 has no named-tensor API" in reason
    assert "8.5" in reason


def test_strong_types_where_there_are_none(
    faults: fake_pycuda.Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module("8.6.1"))
    reason = TrtRunner().probe(replace(T4, options={"strongly_typed": True}))
    assert reason is not None
    assert "has no strongly typed networks" in reason


def network_of(kind: str, to: Path) -> Artifact:
    """One node of a kind, on a fixed batch."""
    shape = [1, 2, 2]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, ["input"], ["output"])],
        "one",
        [onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, None)],
    )
    path = to / "one.onnx"
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return artifact(path, form="onnx", made_by="test", build_s=0.0)


def test_an_operator_that_the_parser_does_not_have(
    faults: fake_pycuda.Faults, tmp_path: Path
) -> None:
    with pytest.raises(StageError) as caught:
        built(network_of("Det", tmp_path), tmp_path)
    assert caught.value.kind == "unsupported-op"
    assert "No importer registered for op" in message_of(caught.value)
    assert "another runner" in message_of(caught.value)


def test_a_refusal_carries_the_compilers_own_reason(
    faults: fake_pycuda.Faults, tmp_path: Path
) -> None:
    with pytest.raises(StageError) as caught:
        built(network_of("Sinh", tmp_path), tmp_path)
    assert caught.value.kind == "not-compilable"
    assert message_of(caught.value) == (
        "TensorRT 11.1.0 cannot compile the model: Internal Error (Could not find any "
        "implementation for node Sinh_1)"
    )


def test_a_fixed_batch(faults: fake_pycuda.Faults, tmp_path: Path) -> None:
    engine = built(network_of("Identity", tmp_path), tmp_path)
    assert engine.details["batches"] == "fixed"
    open_and_close(engine)
    with refused(StageError, "fixed at batch 1", "2 is asked"):
        open_and_close(engine, batch=2)


def test_a_capture_that_fails(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = fake_pycuda.Libcuda()
    broken.status = 901
    monkeypatch.setattr(cuda_device, "libcuda", broken)
    target = replace(T4, options={"cuda_graph": True})
    engine = built(source, tmp_path, target)
    with refused(StageError, "cannot be captured", "cuda_graph=false", "901"):
        open_and_close(engine, target=target)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workspace": 1}, "no option 'workspace': it has"),
        ({"workspace_mb": "much"}, "a whole number was expected"),
        ({"cuda_graph": 1}, "true or false was expected"),
        ({"strongly_typed": "perhaps"}, "one of auto, true, false"),
        ({"workspace_mb": -1}, "workspace_mb=-1: a number from 0 to 1048576"),
        ({"workspace_mb": 1 << 60}, "a number from 0 to 1048576 was expected"),
        ({"optimization_level": 6}, "a number from -1 to 5 was expected"),
    ],
)
def test_options(options: Any, words: str) -> None:
    with refused(UsageError, words):
        TrtRunner().probe(replace(T4, options=options))


def test_a_file_that_is_in_another_precision_already(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path
) -> None:
    qdq = replace(quantized(source, tmp_path), format="onnx")
    runner = TrtRunner()
    int8 = replace(T4, precision="int8")
    assert runner.lower(qdq, int8, NoCalibration(), tmp_path) == qdq
    with refused(StageError, "the target says fp32, and the ONNX file is int8 already"):
        runner.lower(qdq, T4, NoCalibration(), tmp_path)


def test_without_modelopt_a_lowered_file_still_runs(
    faults: fake_pycuda.Faults, source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    int8 = replace(T4, precision="int8")
    assert TrtRunner().probe(int8) is None
    qdq = quantized(source, tmp_path)
    assert TrtRunner().lower(qdq, int8, NoCalibration(), tmp_path) == qdq
    with refused(Unavailable, "modelopt", "pip install 'frontier-bench[modelopt]'"):
        TrtRunner().lower(source, int8, NoCalibration(), tmp_path)


def test_the_inspectors_words_of_several_versions() -> None:
    """8.5 to 10 spell types in their own ways; a layer without any is no compute layer."""
    told = """{"Layers": [
        {"LayerType": "CaskConvolution", "Outputs": [{"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}]},
        {"LayerType": "CaskGemmConvolution", "Outputs": [{"Format/Datatype": "Row major linear FP32"}]},
        {"LayerType": "gemm", "Outputs": [{"Format/Datatype": "Int8 NHWC"}]},
        {"LayerType": "NoOp", "Outputs": [{"Format/Datatype": "Int8 NHWC"}]}], "Bindings": []}"""  # noqa: E501
    assert executed_layers(told) == {"fp16": 1, "fp32": 1, "int8": 1}
    assert not executed_layers('{"Layers": ["conv1", "conv2"]}')
    assert not executed_layers("")


def test_nobody_compiles_ahead_of_time_for_a_jetson() -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    orin = Target("orin-nx-fp16", "orin-nx", "tensorrt", "fp16", "gpu")
    source = Artifact("x", "onnx-fp16", "0", 0, "x", 0.0)
    with refused(Unavailable, "Orin NX has 8.7", "build on the device itself"):
        TrtRunner().compile(source, orin, (1,), Path(), ahead=True)


@pytest.fixture
def digits_cache(tmp_path: Path) -> Path:
    """A cache with an exported network: torch itself looks for what the fakes stand in for."""
    from bench.launch import call
    from bench.messages import Prepare, Prepared
    from bench.records import Job
    from bench.timing import Deadline

    pytest.importorskip("torch")
    job = Job("builtin:digits-lenet", Target("x", "cpu", "ort", "fp32"))
    call(Prepare(job, str(tmp_path), fresh=False), Prepared, Deadline.after(240))
    return tmp_path


@pytest.mark.slow
def test_the_whole_line_of_a_run(
    digits_cache: Path, faults: fake_pycuda.Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepared, timed beside its canary, and evaluated at another batch size than it is timed at:
    in this process, where the fakes are."""
    import gc
    import io

    from bench.messages import Block, Evaluate, Evaluated, Finish, Measure, Prepare, WarmUp
    from bench.records import Data, Job, Procedure
    from bench.stages import measure as measuring
    from bench.stages.evaluate import evaluate
    from bench.stages.prepare import prepare
    from bench.teller import Teller

    monkeypatch.setattr(measuring, "pin", lambda threads: None)
    job = Job("builtin:digits-lenet", T4, procedure=Procedure(batch=2), data=Data(limit=40))
    channel = io.BytesIO()
    tell = Teller(channel)
    prepared = prepare(Prepare(job, str(digits_cache), fresh=False), tell)
    built = prepared.timed.built
    assert built.format == "tensorrt-engine"
    assert built.details["batches"] == "1,2,8", "the check's, what is timed, the evaluation's"
    assert prepared.check is not None
    assert prepared.check.cosine > 0.9999
    assert prepared.canary is not None

    request = Measure(job, prepared.timed, prepared.canary, prepared.packages)
    commands = iter([WarmUp(), Block(0.02), Finish()])
    try:
        observed = measuring.measure(request, tell, commands)
    finally:
        gc.enable()
    assert observed.environment.flags["runtime"] == "TensorRT 11.1.0"
    assert observed.environment.flags["profile"] == "(2, 1, 8, 8)"
    assert b"canary_ns" in channel.getvalue()

    found = evaluate(
        Evaluate(job, prepared.model, prepared.exported, built, str(digits_cache), fresh=False),
        tell,
    )
    assert isinstance(found, Evaluated)
    assert found.accuracy.n == 40
    assert found.accuracy.agreement == 100.0
