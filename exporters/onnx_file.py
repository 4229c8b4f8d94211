"""`./net.onnx`: an ONNX file as it is; where it leaves the size of its images open, at the size
that its sidecar says."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from bench import onnx_graph
from bench.cache import artifact, sha256_of
from bench.errors import StageError, UsageError
from bench.paths import expanded
from bench.records import Model
from exporters import sidecar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onnx import ModelProto

    from bench.contracts import Dataset
    from bench.records import Artifact, Option, Preprocess, TensorSpec


class OnnxFile:
    packages: tuple[str, ...] = ("onnx",)
    stable = False

    def names(self) -> Iterable[str]:
        return ()

    def describe(self, name: str, weights: str) -> Model:
        path = expanded(name)
        if not path.is_file():
            problem = "is a folder" if path.is_dir() else "does not exist"
            raise UsageError(f"{name} {problem}: an ONNX file was expected")
        if weights not in ("pretrained",):
            raise UsageError(f"{name} carries its own weights: --weights {weights} has no meaning")
        graph = onnx_graph.read(path)
        _require_feedable(path, onnx_graph.inputs(graph))
        if not graph.graph.output:
            raise StageError("bad-model", f"{path} has no outputs: there is nothing to compute")
        files = [path, *(path.parent / other for other in onnx_graph.companions(graph))]
        model = Model(
            name=name,
            source="onnx",
            weights=f"{path.name}#{sha256_of(files)[:12]}",
            task=None,
            inputs=onnx_graph.inputs(graph),
        )
        said = sidecar.read(path, _outputs(onnx_graph.output_shape(graph)))
        if said is None:
            return model
        _require_fit(path, model.inputs, said)
        [found] = model.inputs
        sized = replace(found, shape=(found.shape[0], *_sizes(said.preprocess)))
        return replace(
            model,
            inputs=(sized,),
            task=said.task,
            preprocess=said.preprocess,
            output=said.output,
            labels=said.labels,
        )

    def export(self, model: Model, to: Path) -> Artifact:
        """The artifact is the file where it lies, checked: nothing is copied, but where the sizes
        of the sidecar have to be written into it."""
        path = expanded(model.name).resolve()
        onnx_graph.verify(path)
        graph = onnx_graph.read(path)
        details: dict[str, Option] = {"opset": onnx_graph.opset(graph)}
        if (axis := onnx_graph.batch_axis(graph)) not in ("", "batch"):  # as all exporters say
            details["batch_axis"] = axis
        if onnx_graph.inputs(graph) != model.inputs:
            path = _copied_at_its_size(graph, path, model.inputs[0], to)
        return artifact(
            path,
            form="onnx",
            made_by=graph.producer_name or "unknown",
            build_s=0.0,
            companions=onnx_graph.companions(graph),
            details=details,
        )

    def dataset(self, model: Model) -> Dataset | None:
        return None


def _require_feedable(path: Path, found: tuple[TensorSpec, ...]) -> None:
    """Raise StageError where a file takes nothing, or something else than numbers."""
    if not found:
        raise StageError("bad-model", f"{path} has no inputs: there is nothing to feed")
    for spec in found:
        if not re.fullmatch(r"bool|float(16|32|64)|u?int(8|16|32|64)", spec.dtype):
            kind = "text" if spec.dtype == "object" else spec.dtype
            raise StageError(
                "bad-model",
                f"input {spec.name!r} of {path} takes {kind}: only numbers that numpy has, and "
                "truth values, can be fed",
            )


def _sizes(how: Preprocess) -> tuple[int, int, int]:
    """Of what is fed so, behind the batch."""
    channels = len(how.mean)
    if how.layout == "NCHW":
        return (channels, how.height, how.width)
    return (how.height, how.width, channels)


def _copied_at_its_size(graph: ModelProto, path: Path, spec: TensorSpec, to: Path) -> Path:
    """A copy of a file in which the images have a size: a runtime may ask for it (OpenVINO,
    TensorRT), or be slower without, and layers can be counted."""
    onnx_graph.fix(graph, spec)
    for name in onnx_graph.companions(graph):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path.parent / name, to / name)
    (to / path.name).write_bytes(graph.SerializeToString())
    return to / path.name


def _outputs(shape: tuple[int | None, ...]) -> int | None:
    """How many numbers an image an output of that shape has: 10 of [batch, 10], and of [batch, 10,
    1, 1]; None where a size is free."""
    sizes = [size for size in shape[1:] if size is not None]
    return prod(sizes) if sizes and len(sizes) == len(shape) - 1 else None


def _require_fit(path: Path, inputs: tuple[TensorSpec, ...], said: sidecar.Sidecar) -> None:
    """Raise UsageError where the file's input cannot hold what its sidecar makes."""
    beside, how = path.with_suffix(".toml"), said.preprocess
    if len(inputs) > 1:
        names = ", ".join(spec.name for spec in inputs)
        raise UsageError(
            f"{beside} says how one input is fed, and {path.name} takes {len(inputs)} ({names}): "
            "without it the file is timed, not evaluated"
        )
    [found] = inputs
    sizes, wanted = found.shape[1:], _sizes(how)
    if len(sizes) != 3 or any(a not in (None, b) for a, b in zip(sizes, wanted, strict=True)):
        raise UsageError(f"{beside} makes inputs of shape {wanted}, and {path.name} takes {sizes}")
    # Fractions are cut off there: of pixels between 0 and 1 that leaves black.
    zero = 128 if found.dtype == "int8" else 0
    as_they_are = how.scale == 1 and set(how.mean) == {zero} and set(how.std) == {1}
    if not found.dtype.startswith("float") and not as_they_are:
        raise UsageError(
            f"{path.name} takes pixels as they are ({found.dtype}): {beside} has to say scale = 1, "
            f"mean = [{zero}], std = [1]"
        )
