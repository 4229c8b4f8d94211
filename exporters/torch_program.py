"""From a torch module to a torch program (`torch.export`, .pt2): what runners that run torch itself
read. It is written by the same path as the ONNX file, up to the last step: the same module with the
same weights."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from bench import timing
from bench.cache import artifact
from bench.errors import StageError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import torch

    from bench.records import Artifact, Model

_wanted: ContextVar[bool] = ContextVar("a torch program is wanted", default=False)


class TorchSource:
    """A source whose models are torch modules: what it exports, it can write as a program too."""

    def program(self, model: Model, to: Path) -> Artifact:
        """Write the model as a torch program into the folder `to`."""
        with _instead_of_onnx():
            made: Artifact = self.export(model, to)  # type: ignore[attr-defined]
        return made


def wanted() -> bool:
    """Whether `exporters.torch_onnx.export` is to write a program instead."""
    return _wanted.get()


@contextmanager
def _instead_of_onnx() -> Iterator[None]:
    token = _wanted.set(True)
    try:
        yield
    finally:
        _wanted.reset(token)


def write(
    module: torch.nn.Module, example: Sequence[torch.Tensor], model: Model, to: Path
) -> Artifact:
    """The program with a free batch, or, where the network cannot be traced so, at batch 1. Raises
    StageError "not-exportable"."""
    import torch

    module.eval()
    free = len(example[0]) > 1
    with timing.lap() as taken:
        try:
            program = _trace(module, example, free_batch=free)
        except Exception as problem:
            if not free:
                raise _refusal(model, problem) from problem
            free = False
            try:
                program = _trace(module, [tensor[:1] for tensor in example], free_batch=False)
            except Exception as error:  # torch.export has no exception of its own for all it does
                raise _refusal(model, error) from error
        path = to / "model.pt2"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(program, path)
    return artifact(
        path,
        form="torch-program",
        made_by="torch.export",
        build_s=taken.seconds,
        details={
            "dynamic_batch": free,
            "inputs": ",".join(spec.name for spec in model.inputs),
            "libraries": ",".join(sorted(_libraries(program))),
        },
    )


def _trace(module: torch.nn.Module, example: Sequence[torch.Tensor], *, free_batch: bool) -> Any:
    import torch

    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} for _ in example) if free_batch else None
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.export.export(module, tuple(example), dynamic_shapes=shapes)


def _refusal(model: Model, error: Exception) -> StageError:
    reason = f"{type(error).__name__}: {first_line(error)[:300]}"
    return StageError("not-exportable", f"torch.export cannot trace {model.name}: {reason}")


def _libraries(program: Any) -> set[str]:
    """Operator libraries that have to be imported before the program can be loaded."""
    spaces = {
        str(node.target).partition(".")[0] for node in program.graph.nodes if node.op != "output"
    }
    return spaces & {"torchvision"}
