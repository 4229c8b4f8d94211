"""What many tests need: the command line called in this process, a store of its own for each test,
one cache for all, and a small network as an ONNX file."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench import cli, comparison

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.fixture
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs take turns for a tenth of the usual time: for tests of what is done with the answer
    of a comparison, not of how sure it is. Give them a wide margin."""
    monkeypatch.setattr(comparison, "TURNS_SECONDS", comparison.TURNS_SECONDS / 10)


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
