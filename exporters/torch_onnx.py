"""From a torch module to a verified ONNX file."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import agreement, inputs, onnx_graph, timing
from bench.cache import artifact
from bench.check import outputs, reference
from bench.errors import StageError, Unavailable, first_line
from exporters import random_weights, torch_program
from exporters.checkpoints import seeded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx
    import torch

    from bench.contracts import Array
    from bench.records import Artifact, Model, Option

#: Protobuf cannot hold 2 GB; past this many bytes the weights lie in a file beside the graph.
_EXTERNAL_BYTES = 1_800_000_000
#: Parity of the ONNX file with torch: the same arithmetic in another order.
LOWEST_COSINE = 0.9999
LARGEST_RELATIVE = 1e-3
#: Parity of boxes, matched one to one: which of two that overlap is dropped, or which is the last
#: of the best, may hang on the last digit of a score.
LOWEST_MATCHED = 0.99
#: ... and where many hang on it, as they do on torch's own side.
LOWEST_MATCHED_BY_ITSELF = 0.9
#: What the older exporter is asked for: the newest opset whose operators it writes itself.
_OLDER_OPSET = 17


@dataclass(frozen=True)
class _Way:
    """One of the ways to export: torch's newer exporter or the older one, with a free batch or for
    batch 1 only."""

    dynamo: bool
    free_batch: bool

    @property
    def name(self) -> str:
        return f"torch.onnx.export(dynamo={self.dynamo})"


#: Tried in this order; what is not verified does not count. A free batch is worth more than the
#: newer exporter.
_WAYS = (_Way(True, True), _Way(False, True), _Way(True, False), _Way(False, False))
#: A detector that chooses its boxes takes one image. Its loops over candidates are what the newer
#: exporter cannot trace: it fails after half a minute.
_WAYS_FOR_BOXES = (_Way(False, False), _Way(True, False))


def require(*packages: str, extra: str = "zoo") -> None:
    """Raise Unavailable, with the remedy, when a package of an extra cannot be imported."""
    from importlib import import_module

    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            raise Unavailable(
                f"{package} cannot be imported ({error}): pip install 'frontier-bench[{extra}]'"
            ) from error


def export_image_model(
    module: torch.nn.Module, model: Model, to: Path, output_names: Sequence[str] = ()
) -> Artifact:
    """Write a network whose one input is an image, as `model` describes it. Random weights are
    given sane statistics first."""
    if model.weights == "random":
        settle(module, model)
    return export(module, [image_example(model)], model, to, output_names)


def settle(module: torch.nn.Module, model: Model) -> None:
    """Give random weights sane statistics on synthetic images."""
    with seeded():
        random_weights.settle(module, image_example(model, random_weights.images(module)))


def image_example(model: Model, batch: int | None = None) -> torch.Tensor:
    """Images as the network wants them, two where nothing else is said (one where it takes but
    one): synthetic ones, or noise where nothing is known of its preprocessing."""
    import torch

    batch = batch or model.inputs[0].shape[0] or 2
    if model.preprocess is None:
        with seeded():
            return torch.randn(batch, *(size or 1 for size in model.inputs[0].shape[1:]))
    name = model.inputs[0].name
    feeds = inputs.feeds(model, None, batch)
    return torch.cat([torch.from_numpy(feed[name]) for feed in feeds])


def export(
    module: torch.nn.Module,
    example: Sequence[torch.Tensor],
    model: Model,
    to: Path,
    output_names: Sequence[str] = (),
) -> Artifact:
    """Write `module` as ONNX, by the first of torch's ways that works: check the file, and compare
    it with torch.

    `example` holds one tensor an input, at batch 2 (a batch of 1 would be taken for a constant),
    or at batch 1 where the model is fixed at that. Raises StageError "bad-model" where torch itself
    refuses the example, "not-exportable" or "parity".
    """
    if torch_program.wanted():
        return torch_program.write(module, example, model, to)
    module.eval()
    boxes = model.output is not None and model.output.decoder == "boxes"
    fixed = len(example[0]) == 1
    ways = _WAYS_FOR_BOXES if boxes else [way for way in _WAYS if not (fixed and way.free_batch)]
    problems: list[tuple[_Way, StageError]] = []
    for way in ways:
        given = example if way.free_batch else [tensor[:1] for tensor in example]
        asked = [_unlike(tensor, boxes) for tensor in given]
        wanted = _computed(module, asked, model)
        if boxes and not len(wanted[0]):  # nothing is found in the mirror
            asked = list(given)
            wanted = _computed(module, asked, model)
        try:
            with timing.lap() as taken:
                path = _write(module, given, model, to, way, output_names)
            onnx_graph.verify(path)
            graph = onnx_graph.read(path)
            _require_batch(graph, model, way)
            written = _artifact(path, graph, taken.seconds)
            return _verified(written, module, asked, wanted, model, way)
        except StageError as problem:
            if problem.kind == "bad-model":  # no other way to export mends the network
                raise
            problems.append((way, problem))
            for left in to.iterdir():  # half a file, and its weights
                left.unlink() if left.is_file() else shutil.rmtree(left)
    raise _worst(problems)


def _unlike(tensor: torch.Tensor, boxes: bool) -> torch.Tensor:
    """What to compare on: other values than were traced, or a branch that the tracer took for good
    would be taken in both. The negative of an image, with three quarters of its contrast; for a
    detector, which would find nothing in that, its mirror image."""
    if not tensor.is_floating_point():
        return tensor
    return tensor.flip(-1) if boxes else -0.75 * tensor


def _computed(
    module: torch.nn.Module, example: Sequence[torch.Tensor], model: Model
) -> list[Array]:
    """What torch computes. Raises StageError "bad-model" where it refuses the input."""
    import torch
    from torch.utils._pytree import tree_leaves

    shapes = ", ".join(str(list(tensor.shape)) for tensor in example)
    try:
        with torch.no_grad(), _quiet():
            # Clones, for some networks change their input. The tensors of a nested output are in
            # torch's own order of flattening.
            answer = module(*(tensor.clone() for tensor in example))
            leaves = [each for each in tree_leaves(answer) if torch.is_tensor(each)]
    except Exception as error:
        raise StageError(
            "bad-model",
            f"{model.name} refuses an input of shape {shapes}: {_reason(error)}",
        ) from error
    return [tensor.numpy() for tensor in leaves]


def _write(
    module: torch.nn.Module,
    example: Sequence[torch.Tensor],
    model: Model,
    to: Path,
    way: _Way,
    output_names: Sequence[str],
) -> Path:
    path = to / "model.onnx"
    names = [spec.name for spec in model.inputs]
    write = _by_dynamo if way.dynamo else _by_tracing
    try:
        with _quiet():
            given = [tensor.clone() for tensor in example]
            write(module, given, path, names, list(output_names), way.free_batch)
    except Exception as error:  # torch.export, its decompositions and onnxscript have no common one
        raise StageError(
            "not-exportable",
            f"torch cannot export {model.name}: {type(error).__name__}: {_reason(error)}",
        ) from error
    return path


def _by_dynamo(
    module: torch.nn.Module,
    example: Sequence[torch.Tensor],
    path: Path,
    names: list[str],
    output_names: list[str],
    free_batch: bool,
) -> None:
    import torch

    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        program = torch.onnx.export(
            module,
            tuple(example),
            dynamo=True,
            dynamic_shapes=tuple({0: batch} for _ in example) if free_batch else None,
            input_names=names,
            output_names=output_names or None,
            verbose=False,
        )
    assert program is not None
    size = sum(tensor.nbytes for tensor in module.state_dict().values())
    program.save(str(path), external_data=size > _EXTERNAL_BYTES)


def _by_tracing(
    module: torch.nn.Module,
    example: Sequence[torch.Tensor],
    path: Path,
    names: list[str],
    output_names: list[str],
    free_batch: bool,
) -> None:
    """Traced on one image, so that a batch that became a constant shows when two are compared."""
    import torch

    with torch.no_grad():
        torch.onnx.export(
            module,
            tuple(tensor[:1] for tensor in example),
            str(path),
            dynamo=False,
            opset_version=_OLDER_OPSET,
            input_names=names,
            output_names=output_names or None,
            dynamic_axes={name: {0: "batch"} for name in names} if free_batch else None,
        )


def _artifact(path: Path, graph: onnx.ModelProto, seconds: float) -> Artifact:
    companions = onnx_graph.companions(graph)
    return artifact(path, form="onnx", made_by="torch.onnx", build_s=seconds, companions=companions)


def _require_batch(graph: onnx.ModelProto, model: Model, way: _Way) -> None:
    """Raise StageError "not-exportable" where a batch was fixed that was to be free: the newer
    exporter does so, without a word, where the code of the network compares shapes."""
    specs = onnx_graph.inputs(graph)
    if way.free_batch and any(spec.shape[0] is not None for spec in specs):
        raise StageError("not-exportable", f"{way.name} fixes the batch of {model.name}")


def _verified(
    written: Artifact,
    module: torch.nn.Module,
    example: Sequence[torch.Tensor],
    wanted: list[Array],
    model: Model,
    way: _Way,
) -> Artifact:
    """The artifact, with how well its outputs agree with torch's. Raises StageError "parity"."""
    import torch

    names = [spec.name for spec in model.inputs]
    feed = {name: tensor.numpy() for name, tensor in zip(names, example, strict=True)}
    with reference(written, batch=len(example[0])) as [session]:
        found = outputs(session, feed)
    alike = agreement.compare(wanted, found, model)
    lowest, largest = LOWEST_COSINE, LARGEST_RELATIVE
    if alike.matched:
        lowest, largest = LOWEST_MATCHED, 1.0
    if not (alike.cosine >= lowest and alike.max_rel <= largest):
        _require_sane(module, example, wanted, model)
        again = [torch.from_numpy(values) for values in agreement.nudged(feed).values()]
        own = agreement.compare(wanted, _computed(module, again, model), model)
        floor = LOWEST_MATCHED_BY_ITSELF if alike.matched else agreement.FLOOR
        lowest, largest = agreement.room(own, lowest, largest, floor)
    if not (alike.cosine >= lowest and alike.max_rel <= largest):
        raise StageError(
            "parity",
            f"the ONNX file of {model.name} does not compute what torch computes: cosine "
            f"{alike.cosine:.6f} (at least {lowest:.6g}), difference {alike.max_rel:.1e} (at most "
            f"{largest:.1e})",
        )
    details: dict[str, Option] = {
        "exporter": way.name,
        "dynamic_batch": way.free_batch,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "parity_cosine": alike.cosine,
        "parity_lowest_cosine": lowest,
        "parity_max_rel": alike.max_rel,
        "parity_largest_rel": largest,
    }
    if alike.matched:
        details["parity_boxes"] = len(wanted[0])
    if len(example[0]) > 1:
        details["parity_contrast"] = _contrast(wanted)
    return replace(written, details=details)


def _require_sane(
    module: torch.nn.Module, example: Sequence[torch.Tensor], wanted: list[Array], model: Model
) -> None:
    """Raise StageError "bad-model" where no file could agree with the network."""
    if not all(np.isfinite(each).all() for each in wanted if each.dtype.kind == "f"):
        raise StageError(
            "bad-model",
            f"{model.name} gives outputs that are not finite, in torch itself: are its weights "
            "whole?",
        )
    again = _computed(module, example, model)
    same = [each.shape for each in wanted] == [each.shape for each in again]
    if not same or max(map(agreement.gap, wanted, again), default=0.0) > LARGEST_RELATIVE:
        raise StageError(
            "bad-model",
            f"{model.name} gives other outputs for the same input each time: it draws random "
            "numbers or changes its own state, which no file can repeat",
        )


def _contrast(computed: list[Array]) -> float:
    """How much the outputs of two images differ, as a share of the largest: parity means nothing
    for a network that says the same of everything. What has no batch says nothing of either."""
    return max((agreement.gap(each[:1], each[1:2]) for each in computed if each.ndim), default=0.0)


def _worst(problems: list[tuple[_Way, StageError]]) -> StageError:
    """What to say when no way worked: a file that computes something else says most."""
    kinds = {problem.kind: problem for _, problem in reversed(problems)}
    if "parity" in kinds:
        return kinds["parity"]
    (_, first), *_ = problems
    older = next((problem for way, problem in problems if not way.dynamo), first)
    if older is first or first.kind != "not-exportable":
        return first
    return StageError(first.kind, f"{first}; with the older exporter: {older}")


def _reason(error: BaseException) -> str:
    """The first line of the innermost cause: torch wraps it in advice, with colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    return re.sub(r"\x1b\[[0-9;]*m", "", first_line(error))[:300]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings and the progress that exporters print."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(None):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
