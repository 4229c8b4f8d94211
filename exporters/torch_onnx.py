"""From a torch module to a verified ONNX file."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import onnx_graph, timing
from bench.cache import artifact
from bench.check import cosine_similarity, outputs, reference
from bench.errors import StageError, Unavailable, first_line
from exporters import torch_program
from exporters.checkpoints import seeded, settle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

    from bench.records import Artifact, Model

#: Protobuf cannot hold 2 GB; past this many bytes the weights lie in a file beside the graph.
_EXTERNAL_BYTES = 1_800_000_000
#: Parity of the ONNX file with torch: the same arithmetic in another order.
LOWEST_COSINE = 0.9999
LARGEST_RELATIVE = 1e-3


def require(*packages: str) -> None:
    """Raise Unavailable, with the remedy, when a package of the zoo extra cannot be imported."""
    from importlib import import_module

    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            raise Unavailable(
                f"{package} cannot be imported ({error}): pip install 'frontier-bench[zoo]'"
            ) from error


def export_image_model(module: torch.nn.Module, model: Model, to: Path) -> Artifact:
    """Write a network whose one input is an image, as `model` describes it. Random weights are
    given sane statistics first."""
    import torch

    with seeded():
        example = torch.randn(2, *(size or 1 for size in model.inputs[0].shape[1:]))
    if model.weights == "random":
        settle(module, example)
    return export(module, [example], model, to)


def export(
    module: torch.nn.Module, example: Sequence[torch.Tensor], model: Model, to: Path
) -> Artifact:
    """Write `module` as ONNX with a free batch, check the file, and compare it with torch.

    `example` holds one tensor an input, at batch 2 (a batch of 1 would be taken for a constant).
    Where the network cannot be traced with a free batch, it is exported at batch 1. Raises
    StageError "not-exportable" or "parity".
    """
    if torch_program.wanted():
        return torch_program.write(module, example, model, to)
    module.eval()
    path = to / "model.onnx"
    names = [spec.name for spec in model.inputs]
    details: dict[str, Any] = {"exporter": "torch.onnx.export(dynamo=True)", "dynamic_batch": True}
    with timing.lap() as taken:
        try:
            program = _trace(module, example, names, dynamic=True)
        except Exception:
            example = [tensor[:1] for tensor in example]
            details["dynamic_batch"] = False
            try:
                program = _trace(module, example, names, dynamic=False)
            except Exception as error:
                reason = first_line(error)[:300]
                raise StageError(
                    "not-exportable",
                    f"torch cannot export {model.name}: {type(error).__name__}: {reason}",
                ) from error
        size = sum(tensor.nbytes for tensor in module.state_dict().values())
        program.save(str(path), external_data=size > _EXTERNAL_BYTES)
    onnx_graph.verify(path)
    companions = onnx_graph.companions(onnx_graph.read(path))
    written = artifact(
        path,
        form="onnx",
        made_by="torch.onnx",
        build_s=taken.seconds,
        companions=companions,
        details=details,
    )
    cosine, gap = _parity(module, example, names, written, model)
    return replace(written, details={**details, "parity_cosine": cosine, "parity_max_rel": gap})


def _trace(
    module: torch.nn.Module, example: Sequence[torch.Tensor], names: list[str], *, dynamic: bool
) -> Any:
    import torch

    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} for _ in example) if dynamic else None
    with warnings.catch_warnings(), contextlib.redirect_stdout(None), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            tuple(example),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=names,
            verbose=False,
        )
    assert program is not None
    return program


def _parity(
    module: torch.nn.Module,
    example: Sequence[torch.Tensor],
    names: list[str],
    written: Artifact,
    model: Model,
) -> tuple[float, float]:
    """The lowest cosine similarity and the largest difference relative to the largest output."""
    import torch

    with torch.no_grad():
        result = module(*example)
    wanted = [result] if isinstance(result, torch.Tensor) else list(_tensors(result))
    feed = {name: tensor.numpy() for name, tensor in zip(names, example, strict=True)}
    with reference(written, batch=len(example[0])) as [session]:
        found = outputs(session, feed)
    if len(wanted) != len(found):
        raise StageError(
            "parity", f"{model.name} has {len(wanted)} outputs in torch and {len(found)} in ONNX"
        )
    cosine, gap = 1.0, 0.0
    for want, have in zip((tensor.numpy() for tensor in wanted), found, strict=True):
        cosine = min(cosine, cosine_similarity(want, have))
        scale = float(np.abs(want).max(initial=0)) or 1.0
        gap = max(gap, float(np.abs(want - have).max(initial=0)) / scale)
    if not (cosine >= LOWEST_COSINE and gap <= LARGEST_RELATIVE):
        raise StageError(
            "parity",
            f"the ONNX file of {model.name} does not compute what torch computes: cosine "
            f"{cosine:.6f} (at least {LOWEST_COSINE}), difference {gap:.1e} (at most "
            f"{LARGEST_RELATIVE:.0e})",
        )
    return cosine, gap


def _tensors(value: Any) -> Any:
    """The tensors of a nested output, in torch's own order of flattening."""
    from torch.utils._pytree import tree_leaves

    return tree_leaves(value)
