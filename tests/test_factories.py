"""`py:`: modules of the user's own, what they are compared on, and factories that give nothing of
use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench import plugins
from bench.errors import StageError
from tests.builders import refused

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

FACTORIES = """
import torch

class Ignoring(torch.nn.Module):
    '''Where it is exported, it forgets its weights.'''
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 4, 3, bias=False)
    def forward(self, images):
        exported = torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()
        found = self.layer(images).mean((2, 3))
        return found * 0 if exported else found

def net():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4, bias=False))

def ignoring(): return Ignoring()
def ignoring_zeros(): return Ignoring(), torch.zeros(1, 3, 8, 8)
def zeros(): return net(), torch.zeros(1, 3, 2, 2)
def single(): return net(), torch.rand(1, 3, 2, 2)
def alike(): return net(), torch.rand(1, 3, 2, 2).repeat(2, 1, 1, 1)
def several(): return net(), torch.rand(3, 3, 2, 2)
def one_a_row(): return net(), torch.full((1, 12), 3.0)
def indices(): return torch.nn.Embedding(10, 4), torch.arange(3, 10)[None]
def learnt(): return net(), torch.nn.Parameter(torch.rand(1, 3, 2, 2))

def text(): return net(), "hello"
def none(): return net(), ()
def scalar(): return net(), torch.tensor(1.0)
def nothing(): return net(), torch.zeros(0, 3)
def brain(): return net().bfloat16(), torch.zeros(1, 3, 2, 2, dtype=torch.bfloat16)
def alone(): return (net(),)
def triple(): return net(), torch.zeros(1, 12), torch.zeros(1, 12)
def number(): return 3
def leaves(): raise SystemExit(3)
def breaks(): raise ValueError("two\\nlines")
"""


@pytest.fixture
def py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "factories_of_mine.py").write_text(FACTORIES)
    (tmp_path / "quits_at_once.py").write_text("raise SystemExit(4)\n")
    monkeypatch.chdir(tmp_path)
    return plugins.exporter("py")


def fed(py: Any, to: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """The example that a factory's module is exported and compared with."""
    seen: list[Any] = []
    monkeypatch.setattr("exporters.torch_onnx.export", lambda _, given, *__: seen.extend(given))
    py.export(py.describe(f"factories_of_mine:{name}", "pretrained"), to)
    [tensor] = seen
    return tensor


@pytest.mark.parametrize(
    "name", ["net", "zeros", "single", "alike", "several", "one_a_row", "indices", "learnt"]
)
def test_the_two_inputs_compared_are_not_the_same(
    py: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tensor = fed(py, tmp_path, monkeypatch, name)
    assert len(tensor) == 2
    assert not torch.equal(tensor[0], tensor[1])
    assert all(bool(each.any()) for each in tensor) or name == "zeros"
    assert torch.equal(tensor, fed(py, tmp_path, monkeypatch, name))
    if name in ("single", "indices"):  # in the range of the first
        assert tensor[0].min() <= tensor[1].min()
        assert tensor[1].max() <= tensor[0].max()


@pytest.mark.parametrize("name", ["ignoring", "ignoring_zeros"])
def test_a_file_without_the_weights_is_seen_where_nothing_has_a_bias(
    py: Any, tmp_path: Path, name: str
) -> None:
    model = py.describe(f"factories_of_mine:{name}", "pretrained")
    with refused(StageError, "does not compute what torch computes"):
        py.export(model, tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("text", ["gives a str as example input", "a tensor with a batch axis"]),
        ("none", ["gives no example input", "a tensor with a batch axis"]),
        ("scalar", ["shape []", "no batch axis"]),
        ("nothing", ["shape [0, 3]"]),
        ("brain", ["torch.bfloat16", "float32", "module.float()"]),
        ("alone", ["a tuple of 1", "a pair of it and an example input"]),
        ("triple", ["a tuple of 3", "a pair of it and an example input"]),
        ("number", ["type int", "not a torch.nn.Module"]),
        ("leaves", ["raised SystemExit: 3"]),
        ("breaks", ["raised ValueError: two lines"]),
    ],
)
def test_what_a_factory_must_give_is_said_in_a_sentence(
    py: Any, name: str, words: list[str]
) -> None:
    with refused(StageError, f"py:factories_of_mine:{name}", *words):
        py.describe(f"factories_of_mine:{name}", "pretrained")


def test_a_module_that_quits_when_imported(py: Any) -> None:
    with refused(StageError, "importing quits_at_once raised SystemExit: 4"):
        py.describe("quits_at_once:net", "pretrained")
