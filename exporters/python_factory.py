"""`py:package.module:factory`: a torch module that the user's own code makes.

The factory takes nothing and returns a `torch.nn.Module`, or a pair of it and an example input
(a tensor with a batch axis, or a tuple of them); without one, noise of the size of an RGB image of
224 x 224 is fed.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StageError, UsageError, first_line
from bench.records import Model, TensorSpec
from exporters import checkpoints, torch_onnx
from exporters.torch_program import TorchSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from bench.contracts import Dataset
    from bench.records import Artifact

_GIVES = (
    "a factory gives a torch.nn.Module, or a pair of it and an example input: a tensor with a "
    "batch axis, or a tuple of them"
)


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
        with checkpoints.seeded():
            pairs = [_two(tensor) for tensor in example]
        return torch_onnx.export(module, pairs, model, to)

    def dataset(self, model: Model) -> Dataset | None:
        return None


def _tag(asked: str) -> str:
    """The factory decides on its weights; whether they are trained, only its author knows."""
    if asked == "random":
        raise UsageError("a factory makes its own weights: --weights random has no meaning for it")
    return "factory" if asked == "pretrained" else checkpoints.tag_of(asked)


def _make(name: str) -> tuple[Any, list[torch.Tensor]]:
    """The module and its example inputs. Raises UsageError or StageError with one sentence."""
    import torch

    path, _, attribute = name.partition(":")
    if not path or not attribute:
        raise UsageError(f"py:{name} is not py:PACKAGE.MODULE:FACTORY")
    here = str(Path.cwd())
    if here not in sys.path:  # as `python -m` would; last, so that nothing of ours is shadowed
        sys.path.append(here)
    try:
        code = import_module(path)
    except ModuleNotFoundError as error:
        raise UsageError(f"py:{name}: there is no module {error.name!r} here") from error
    except (Exception, SystemExit) as error:
        raise _raised(f"importing {path}", error) from error
    if not hasattr(code, attribute):
        raise UsageError(f"py:{name}: module {path} has no {attribute!r}")
    try:
        with checkpoints.seeded():
            made = getattr(code, attribute)()
    except (Exception, SystemExit) as error:
        raise _raised(f"py:{name}", error) from error
    if isinstance(made, tuple) and len(made) != 2:
        raise StageError("bad-model", f"py:{name} returned a tuple of {len(made)}: {_GIVES}")
    module, example = made if isinstance(made, tuple) else (made, _noise())
    if not isinstance(module, torch.nn.Module):
        raise StageError(
            "bad-model",
            f"py:{name} returned an object of type {type(module).__name__}, not a torch.nn.Module: "
            f"{_GIVES}",
        )
    inputs = list(example) if isinstance(example, tuple | list) else [example]
    if not inputs:
        raise StageError("bad-model", f"py:{name} gives no example input: {_GIVES}")
    return module.cpu().eval(), [_fit(name, each) for each in inputs]


def _raised(what: str, error: BaseException) -> StageError:
    name, said = type(error).__name__, " ".join(str(error).split())
    return StageError(
        "bad-model", f"{what} raised {name}: {said}" if said else f"{what} raised {name}"
    )


def _noise() -> torch.Tensor:
    """Of zeros, a network without biases makes zeros, and parity of zeros means nothing."""
    import torch

    with checkpoints.seeded():
        return torch.randn(2, 3, 224, 224)


def _fit(name: str, example: Any) -> torch.Tensor:
    """An example input on the CPU. Raises StageError where it is none that can be fed."""
    import torch

    if not isinstance(example, torch.Tensor):
        kind = type(example).__name__
        raise StageError("bad-model", f"py:{name} gives a {kind} as example input: {_GIVES}")
    tensor = example.detach().cpu()
    if tensor.dim() == 0 or tensor.numel() == 0:
        problem = f"of shape {list(tensor.shape)}, which has no batch axis or no element"
        raise StageError("bad-model", f"py:{name} gives an example input {problem}: {_GIVES}")
    try:
        tensor.numpy()
    except (TypeError, RuntimeError) as error:  # bfloat16, the float8 types, sparse ones
        raise StageError(
            "bad-model",
            f"py:{name} gives an example input of {tensor.dtype}, which numpy cannot hold "
            f"({first_line(error)}): give one of float32, and the module as module.float()",
        ) from error
    return tensor


def _two(example: torch.Tensor) -> torch.Tensor:
    """Two different inputs: parity of two that are alike does not see a file that mixes up or
    ignores its inputs. Beside a single one, noise of its mean, spread and range; beside integers,
    which may be indices, a draw from them."""
    import torch

    if len(example) > 1 and not torch.equal(example[0], example[1]):
        return example[:2]
    first = example[:1]
    if not first.is_floating_point():
        drawn = first.flatten()[torch.randint(first.numel(), (first.numel(),))]
        return torch.cat([first, drawn.view(first.shape)])
    mean, spread = first.double().mean(), first.double().std(correction=0)
    noise = torch.randn(first.shape, dtype=torch.float64)
    if spread > 0:
        other = (mean + spread * noise).clamp(first.min().double(), first.max().double())
        return torch.cat([first, other.to(first.dtype)])
    # One value all over, mostly zero, says nothing but a shape: where a batch of 1 is all that can
    # be compared, the noise is.
    other = mean + (mean.abs() / 4 or 1.0) * noise
    return torch.cat([other.to(first.dtype), first])
