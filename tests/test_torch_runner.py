"""Torch programs and the runner that runs them: on the CPU for real, on CUDA's calls as far as a
stand-in for `torch.cuda` goes."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench import canary, plugins, targets
from bench.cache import Cache
from bench.check import outputs, reference
from bench.errors import StageError, UsageError
from bench.machine import observe
from bench.records import Target
from tests.builders import refused
from tests.conftest import QUICK, WORKED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.contracts import Session
    from bench.records import Artifact

torch = pytest.importorskip("torch")

#: One thread: two that spin for each other wait for ever on a busy machine.
ONE = ["--threads", "1"]
BF16 = pytest.mark.skipif(
    not observe().flags & {"avx512_bf16", "amx_bf16", "bf16"}, reason="this CPU has no bf16"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Artifact]:
    """A small network with its own weights, as a torch program and as ONNX."""
    exporter: Any = plugins.exporter("builtin")
    model = exporter.describe("digits-lenet", "pretrained")
    folders = tmp_path_factory.mktemp("program"), tmp_path_factory.mktemp("onnx")
    return exporter.program(model, folders[0]), exporter.export(model, folders[1])


def target(name: str = "cpu-torch-fp32", **options: Any) -> Target:
    (chosen,) = targets.select([name])
    return replace(chosen, options=options)


@contextmanager
def opened(program: Artifact, on: Target, *, batch: int = 1, streams: int = 1) -> Iterator[Any]:
    with plugins.runner("torch").open(
        program, on, batch=batch, threads=1, streams=streams
    ) as sessions:
        yield sessions


def feed(session: Session, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.standard_normal([size or 1 for size in spec.shape]).astype(spec.dtype)
        for spec in session.inputs
    }


def gap(program: Artifact, onnx: Artifact, on: Target, batch: int = 1) -> float:
    """The largest difference from the ONNX file, as a share of the largest output."""
    with opened(program, on, batch=batch) as [session], reference(onnx, batch) as [other]:
        given = feed(session)
        (found,), (wanted,) = outputs(session, given), outputs(other, given)
    assert found.shape == wanted.shape
    assert found.dtype == np.float32
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("batch", [1, 3])
def test_a_program_computes_what_the_onnx_file_computes(
    made: tuple[Artifact, Artifact], batch: int
) -> None:
    assert gap(*made, target(), batch) < 1e-5
    assert gap(*made, target(channels_last=True), batch) < 1e-5


@BF16
def test_bf16_is_bf16(made: tuple[Artifact, Artifact]) -> None:
    assert 1e-5 < gap(*made, target("cpu-torch-bf16")) < 0.05
    with opened(made[0], target("cpu-torch-bf16")) as [session]:
        assert session.flags()["weights"] == "bfloat16"


@pytest.mark.slow
def test_compiled_is_the_same_network(made: tuple[Artifact, Artifact]) -> None:
    assert gap(*made, target(mode="compile"), 2) < 1e-5


def test_a_session_says_what_it_does(made: tuple[Artifact, Artifact]) -> None:
    with opened(made[0], target(), streams=2) as sessions:
        first, second = sessions
        assert first.flags() == {
            "threads": 1,
            "mode": "eager",
            "weights": "float32",
            "channels_last": False,
        }
        given = feed(first, 1), feed(second, 2)
        first.stage(given[0])
        second.stage(given[1])
        first.step()
        second.step()
        assert not np.allclose(first.fetch()[0], second.fetch()[0])


def test_fp32_is_fp32_and_tf32_is_tf32(made: tuple[Artifact, Artifact]) -> None:
    """The switches that decide it on a GPU."""
    for precision, on in (("tf32", True), ("fp32", False)):
        with opened(made[0], replace(target(), precision=precision)):
            assert torch.backends.cuda.matmul.allow_tf32 is on
            assert torch.backends.cudnn.allow_tf32 is on


def test_the_canary_is_a_program_too(tmp_path: Path) -> None:
    ready = canary.ready(plugins.runner("torch"), target(), "key", Cache(tmp_path / "cache"))
    onnx = canary.write(tmp_path)
    assert ready.built.format == "torch-program"
    assert gap(ready.built, onnx, target()) < 1e-5


def test_a_network_fixed_at_batch_1(made: tuple[Artifact, Artifact]) -> None:
    fixed = replace(made[0], details={**made[0].details, "dynamic_batch": False})
    with opened(fixed, target()) as [session]:
        assert session.inputs[0].shape[0] == 1
    with refused(StageError, "fixed at batch 1", "batch 2"), opened(fixed, target(), batch=2):
        pass


class Halves(torch.nn.Module):  # type: ignore[misc]
    """Forgets that its input may be no float32."""

    def forward(self, x: Any) -> Any:
        return x @ torch.ones(x.shape[-1], 2, dtype=torch.float32)


def write(module: Any, to: Path, example: Any) -> Artifact:
    from bench.records import Model, TensorSpec
    from exporters import torch_program

    spec = TensorSpec("x", (None, *example.shape[1:]), "float32")
    return torch_program.write(module, [example], Model("net", "py", "w", None, (spec,)), to)


@BF16
def test_what_cannot_be_cast_is_one_sentence(tmp_path: Path) -> None:
    program = write(Halves(), tmp_path, torch.zeros(2, 4))
    with opened(program, target()) as [session]:
        assert outputs(session, {"x": np.ones((1, 4), np.float32)})[0].tolist() == [[4.0, 4.0]]
    with (
        refused(StageError, "bf16"),
        opened(program, target("cpu-torch-bf16")) as [session],
    ):
        outputs(session, {"x": np.ones((1, 4), np.float32)})


class Branches(torch.nn.Module):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        return x if x.sum() > 0 else -x


def test_what_cannot_be_traced_is_one_sentence(tmp_path: Path) -> None:
    with refused(StageError, "torch.export cannot trace net"):
        write(Branches(), tmp_path, torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"mod": "eager"}, "no option 'mod'"),
        ({"mode": "fast"}, "eager, compile, graph"),
        ({"mode": "graph"}, "for the CPU"),
        ({"channels_last": 1}, "true or false"),
    ],
)
def test_an_option_that_there_is_not(options: dict[str, Any], word: str) -> None:
    with refused(UsageError, word):
        plugins.runner("torch").probe(target(**options))


def test_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = plugins.runner("torch")
    assert "is for GPUs" in (runner.probe(replace(target(), precision="tf32")) or "")
    on_gpu = target("cuda-torch-bf16")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "without CUDA" in (runner.probe(on_gpu) or "")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "nvidia-smi" in (runner.probe(on_gpu) or "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    assert "Tesla T4 has compute capability 7.5 and no bf16" in (runner.probe(on_gpu) or "")
    assert runner.probe(target("cuda-torch-fp16")) is None
    assert runner.probe(target("cuda-torch-fp32", mode="graph")) is None


class StandIn:
    """torch with a CUDA device that is the CPU, and a diary of what was asked of it."""

    def __init__(self) -> None:
        self.diary: list[str] = []
        self.cuda = SimpleNamespace(
            Stream=lambda: SimpleNamespace(synchronize=lambda: self.diary.append("wait")),
            set_stream=lambda _: self.diary.append("on stream"),
            synchronize=lambda: self.diary.append("wait for all"),
            CUDAGraph=lambda: SimpleNamespace(replay=lambda: self.diary.append("replay")),
            graph=self._graph,
            get_device_properties=lambda _: SimpleNamespace(uuid="1234"),
        )

    @contextmanager
    def _graph(self, graph: Any, stream: Any) -> Iterator[None]:
        self.diary.append("capture")
        yield

    def device(self, name: str) -> Any:
        assert name == "cuda"
        return torch.device("cpu")

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    return StandIn()


def session_on(cuda: StandIn, program: Artifact, **options: Any) -> Any:
    from runners.torch_runner import TorchSession

    loaded = torch.export.load(program.path)
    with torch.inference_mode():
        return TorchSession(cuda, loaded, program, target("cuda-torch-fp32", **options), 1, 1)


def test_a_step_on_a_gpu_returns_when_its_stream_has_finished(
    cuda: StandIn, made: tuple[Artifact, Artifact]
) -> None:
    session = session_on(cuda, made[0])
    assert cuda.diary == ["wait for all"]
    for call in (lambda: session.stage(feed(session)), session.step, session.fetch):
        cuda.diary.clear()
        call()
        assert cuda.diary == ["on stream", "wait"]
    assert session.flags()["gpu_uuid"] == "1234"
    assert session.flags()["cuda_graph"] is False


def test_a_cuda_graph_is_captured_warm_and_replayed(
    cuda: StandIn, made: tuple[Artifact, Artifact]
) -> None:
    session = session_on(cuda, made[0], mode="graph")
    before, after = cuda.diary[: cuda.diary.index("capture")], cuda.diary[-1]
    assert before.count("on stream") == 3
    assert after == "capture"
    cuda.diary.clear()
    session.step()
    assert cuda.diary == ["on stream", "replay", "wait"]
    assert session.flags()["cuda_graph"] is True


def test_no_memory_is_one_sentence(cuda: StandIn, made: tuple[Artifact, Artifact]) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmany lines")

    session = session_on(cuda, made[0])
    session._call = full
    with refused(StageError, "smaller --batch"):
        session.step()


def test_an_onnx_file_has_no_program(bench: Any, tiny_onnx: Path) -> None:
    ran = bench("run", "-m", tiny_onnx, "-t", "cpu-torch-fp32", *ONE, *QUICK, "--json")
    assert ran.status == 1
    assert ran.json["failure"]["kind"] == "no-program"
    assert "comes as an ONNX file" in ran.json["failure"]["message"]


@pytest.mark.slow
def test_the_whole_path(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    model = ["-m", "builtin:digits-lenet", *ONE, *QUICK]
    assert bench("run", *model, "-t", "cpu-ort-fp32").status in WORKED
    assert not (tmp_path / "cache" / "program").exists()  # nobody asked for one
    ran = bench("run", *model, "-t", "cpu-torch-fp32", "--json")
    assert ran.status in WORKED
    row = ran.json
    assert row["artifacts"][-1]["format"] == "torch-program"
    assert row["check"]["cosine"] > 0.9999
    assert row["accuracy"]["value"] == row["accuracy"]["reference"]
    assert row["latency"]["canary_ratio"] > 0
    assert row["environment"]["flags"]["mode"] == "eager"
    assert "torch" in row["environment"]["versions"]
