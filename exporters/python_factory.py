"""`py:package.module:factory`: a torch module that the user's own code makes.

The factory takes nothing and returns a `torch.nn.Module`, or a pair of it and an example input
(a tensor with a batch axis, or a tuple of them); without one, an RGB image of 224 x 224 is fed.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StageError, UsageError
from bench.records import Model, TensorSpec
from exporters import checkpoints, torch_onnx
from exporters.torch_program import TorchSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.contracts import Dataset
    from bench.records import Artifact


class PythonFactory(TorchSource):
    packages: tuple[str, ...] = ("torch", "onnxscript", "onnx")
    stable = False

    def names(self) -> Iterable[str]:
        return ()

    def describe(self, name: str, weights: str) -> Model:
        torch_onnx.require("torch", "onnxscript")
        _, example = _make(name)
        return Model(
            name=name,
            source="py",
            weights=_tag(weights),
            task=None,
            inputs=tuple(
                TensorSpec(
                    "input" if len(example) == 1 else f"input_{i}",
                    (None, *tensor.shape[1:]),
                    tensor.numpy().dtype.name,
                )
                for i, tensor in enumerate(example)
            ),
            weights_file=checkpoints.file_of(weights),
        )

    def export(self, model: Model, to: Path) -> Artifact:
        module, example = _make(model.name)
        if model.weights_file:
            checkpoints.load_file(module, model.weights_file)
        pairs = [tensor[:1].repeat(2, *[1] * (tensor.dim() - 1)) for tensor in example]
        return torch_onnx.export(module, pairs, model, to)

    def dataset(self, model: Model) -> Dataset | None:
        return None


def _tag(asked: str) -> str:
    """The factory decides on its weights; whether they are trained, only its author knows."""
    if asked == "random":
        raise UsageError("a factory makes its own weights: --weights random has no meaning for it")
    return "factory" if asked == "pretrained" else checkpoints.tag_of(asked)


def _make(name: str) -> tuple[Any, list[Any]]:
    """The module and its example inputs. Raises UsageError or StageError with one sentence."""
    import torch

    path, _, attribute = name.partition(":")
    if not path or not attribute:
        raise UsageError(f"py:{name} is not py:PACKAGE.MODULE:FACTORY")
    here = str(Path.cwd())
    if here not in sys.path:  # as `python -m` would; last, so that nothing of ours is shadowed
        sys.path.append(here)
    try:
        factory = getattr(import_module(path), attribute)
    except ModuleNotFoundError as error:
        raise UsageError(f"py:{name}: there is no module {error.name!r} here") from error
    except AttributeError as error:
        raise UsageError(f"py:{name}: module {path} has no {attribute!r}") from error
    try:
        with checkpoints.seeded():
            made = factory()
    except Exception as error:
        reason = " ".join(str(error).split())
        raise StageError(
            "bad-model", f"py:{name} raised {type(error).__name__}: {reason}"
        ) from error
    module, example = made if isinstance(made, tuple) else (made, torch.zeros(1, 3, 224, 224))
    if not isinstance(module, torch.nn.Module):
        raise StageError(
            "bad-model", f"py:{name} returned a {type(module).__name__}, not a torch.nn.Module"
        )
    return module.eval(), list(example) if isinstance(example, tuple | list) else [example]
