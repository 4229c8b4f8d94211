"""What many tests need: the command line called in this process, a store of its own for each test,
one cache for all, and a small network as an ONNX file."""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from hypothesis import settings
from onnx import TensorProto, helper, numpy_helper

from bench import cli, comparison, messages, rounds, targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Tests are collected with the targets that are shipped, whatever the user has of their own.
_NO_TARGETS = TemporaryDirectory(prefix="bench-no-targets-")
os.environ["BENCH_TARGETS"] = _NO_TARGETS.name

# Machines are shared, and how fast they are is not what these tests are about. A CI draws the same
# examples every time: what it finds is of the change, not of the draw.
settings.register_profile("calm", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("calm")

#: As little measuring as the procedure allows: tests ask whether it works, not how fast it is.
QUICK = ["--processes", "2", "--min-seconds", "0.05", "--max-seconds", "0.05"]

#: Exit statuses of a run that worked: on a busy machine a real timing may rightly be INVALID (6),
#: and only some tests are about that.
WORKED = (0, 6)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the user's own results; the path of this test's store."""
    store = tmp_path / "results.db"
    monkeypatch.setenv("BENCH_STORE", str(store))
    monkeypatch.setenv("BENCH_CACHE", str(shared_cache))
    monkeypatch.setenv("COLUMNS", "80")
    return store


@pytest.fixture(autouse=True)
def short_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are warmed up for as long as those of a comparison are, a tenth of the usual time:
    how long it takes to settle is asked of made clocks (test_timing)."""

    def measure(job: Any, *others: Any) -> messages.Measure:
        how = replace(job.procedure, warmup_seconds=comparison.PROCEDURE.warmup_seconds)
        return messages.Measure(replace(job, procedure=how), *others)

    monkeypatch.setattr(rounds, "Measure", measure)


@pytest.fixture
def own_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """`own_targets(toml)`: further targets, for this test only; the file that defines them."""

    def define(toml: str) -> Path:
        path = tmp_path / "own-targets.toml"
        path.write_text(toml)
        monkeypatch.setenv("BENCH_TARGETS", str(path))
        targets._load.cache_clear()
        return path

    yield define
    targets._load.cache_clear()


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No name is found, as on a machine without a network; nothing is cached either."""

    def refuse(*_: object, **__: object) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with suppress(ImportError):  # the environment is read when it is imported
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.fixture
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs take turns for a fifth of the usual time: for tests of what is done with the answer
    of a comparison, not of how sure it is. Give them a wide margin."""
    monkeypatch.setattr(comparison, "TURNS_SECONDS", comparison.TURNS_SECONDS / 5)
    monkeypatch.setattr(comparison, "ENOUGH_TURNS", comparison.MIN_TURNS)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A classifier in a file, with a sidecar that says how it is fed."""
    (tmp_path / "net.toml").write_text('task = "classification"\nsize = [16, 16]\n')
    return write_network(tmp_path / "net.onnx")


@dataclass(frozen=True)
class Finished:
    """What a call of the command line left."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`bench("run", ...)`: the command line in this process."""

    def call(*arguments: str | Path) -> Finished:
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        capsys.readouterr()
        status: Any = 0
        try:
            cli.main()
        except SystemExit as leave:
            status = leave.code or 0
        printed = capsys.readouterr()
        return Finished(int(status), printed.out, printed.err)

    return call


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("onnx") / "tiny.onnx")


def write_network(path: Path, *, batch: int | str = "batch", classes: int = 10) -> Path:
    """A convolution, a mean and a linear layer on 3 x 16 x 16 images, with fixed weights."""
    rng = np.random.default_rng(0)

    def tensor(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(values.astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("GlobalAveragePool", ["b"], ["c"]),
            helper.make_node("Flatten", ["c"], ["d"]),
            helper.make_node("Gemm", ["d", "w2", "b2"], ["output"], transB=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, 16, 16])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, classes])],
        [
            tensor("w1", 8, 3, 3, 3),
            tensor("b1", 8),
            tensor("w2", classes, 8),
            tensor("b2", classes),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path
