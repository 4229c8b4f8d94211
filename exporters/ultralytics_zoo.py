"""`ultralytics:NAME`: the YOLO models of the package ultralytics, which is under the AGPL-3.0.

Without the hub they are made from the configurations that the package carries, with random weights.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StageError, first_line, unknown
from bench.paths import expanded
from bench.records import Model, Output, Preprocess, TensorSpec
from exporters import checkpoints, torch_onnx
from exporters.torch_program import TorchSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from bench.contracts import Dataset
    from bench.records import Artifact

_HUB = "https://github.com/ultralytics/assets/releases"
#: Candidates of an image that a random network is made to have, by the confidence from which on the
#: package takes a box for found; images that this is seen on.
_CANDIDATES, _CONFIDENCE, _SEEN = 200, 0.25, 4
#: Sizes of each family; a "u" at the end is for older ones with the head of YOLOv8 (no anchors, no
#: objectness), which is what the package makes of them.
_SIZES = {
    "yolov5{}u": "nsmlx",
    "yolov5{}6u": "nsmlx",
    "yolov8{}": "nsmlx",
    "yolov8{}-cls": "nsmlx",
    "yolov9{}": "tsmce",
    "yolov10{}": "nsmblx",
    "yolo11{}": "nsmlx",
    "yolo11{}-cls": "nsmlx",
    "yolo12{}": "nsmlx",
    "yolo26{}": "nsmlx",
    "yolo26{}-cls": "nsmlx",
}
_NAMES = (
    "yolov3u",
    "yolov3-sppu",
    "yolov3-tinyu",
    *(family.format(size) for family, sizes in _SIZES.items() for size in sizes),
)


class UltralyticsZoo(TorchSource):
    packages: tuple[str, ...] = ("ultralytics", "torch", "onnxscript", "onnx")
    stable = True

    def names(self) -> Iterable[str]:
        torch_onnx.require("ultralytics", extra="ultralytics")
        return _NAMES

    def describe(self, name: str, weights: str) -> Model:
        if name not in _NAMES:
            raise unknown("ultralytics model", name, _NAMES, "bench list models 'ultralytics:*'")
        torch_onnx.require("torch", "onnxscript")
        found, file, notes = _find_weights(name, weights)
        torch_onnx.require("ultralytics", extra="ultralytics")
        classifies = name.endswith("-cls")
        side = 224 if classifies else 1280 if name.endswith("6u") else 640
        chosen = _chooses(name)
        return Model(
            name=name,
            source="ultralytics",
            weights=found,
            task="classification" if classifies else "detection",
            # Its own validation keeps boxes from 0.001 on, and drops those that overlap by 0.7.
            output=Output("scores")
            if classifies
            else Output("boxes")
            if chosen
            else Output("yolo", nms_iou=0.7),
            inputs=(TensorSpec("images", (1 if chosen else None, 3, side, side), "float32"),),
            preprocess=_preprocess(side, classifies),
            labels=_labels(classifies),
            weights_file=file,
            notes=notes,
        )

    def export(self, model: Model, to: Path) -> Artifact:
        module = _create(model)
        if model.weights == "random":
            torch_onnx.settle(module, model)
            if model.output and model.output.decoder == "yolo":
                _spread(module, torch_onnx.image_example(model, _SEEN))
        module = _deployed(module, chosen=_chooses(model.name))
        example = [torch_onnx.image_example(model)]
        names = ["boxes", "labels", "scores"] if _chooses(model.name) else ["output"]
        return torch_onnx.export(module, example, model, to, names)

    def dataset(self, model: Model) -> Dataset | None:
        return None


def _chooses(name: str) -> bool:
    """Whether the network chooses its boxes itself (a head trained one to one, without NMS)."""
    return name.startswith(("yolov10", "yolo26")) and not name.endswith("-cls")


def _preprocess(side: int, classifies: bool) -> Preprocess:
    """Its validation's letterbox on grey, or for classification its resize and crop."""
    return Preprocess(
        height=side,
        width=side,
        shorter_side=side if classifies else None,
        interpolation="bilinear",
        mode="RGB",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        letterbox=None if classifies else "center",
        pad=114.0,
    )


def _labels(classifies: bool) -> tuple[str, ...]:
    from ultralytics.cfg import ROOT
    from ultralytics.utils import YAML

    name = "ImageNet.yaml" if classifies else "coco.yaml"
    names: dict[int, str] = YAML.load(Path(ROOT) / "cfg" / "datasets" / name)["names"]
    return tuple(names[i] for i in sorted(names))


def _create(model: Model) -> Any:
    _set_up(online=True)
    if model.weights_file and _is_own(model.weights_file, model.name):
        return _trained(model.weights_file)
    from ultralytics.nn.tasks import ClassificationModel, DetectionModel

    kind = ClassificationModel if model.task == "classification" else DetectionModel
    with checkpoints.seeded():
        module = kind(_configuration(model.name), ch=3, nc=len(model.labels), verbose=False)
    if model.weights_file:
        checkpoints.load_file(module, model.weights_file)
    return module


def _fetched(name: str) -> Path:
    """Where the package's own file of weights is put."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / f"{name}.pt"


def _is_own(file: str, name: str) -> bool:
    """Whether a file is the one that was fetched, and not another of its name."""
    return expanded(file).resolve() == _fetched(name).expanduser().resolve()


def _configuration(name: str) -> str:
    """`yolov5n6u` -> yolov5n-p6.yaml, whose size the package reads from the name."""
    stem = name.removesuffix("u")
    return re.sub(r"^(yolov5[nsmlx])6$", r"\1-p6", stem) + ".yaml"


def _trained(file: str) -> Any:
    """The module that the package's own file holds. It is a pickle, and loading one runs what is in
    it: only files that came from the package's own hub are read so."""
    from ultralytics import YOLO

    try:
        return YOLO(file).model.float()
    except Exception as error:  # whatever a pickle of another version does
        raise StageError(
            "bad-weights", f"ultralytics cannot read {file}: {first_line(error)[:200]}"
        ) from error


def _spread(module: Any, images: torch.Tensor) -> None:
    """Move the biases of the classes such that about `_CANDIDATES` scores of an image are above
    `_CONFIDENCE`. Training starts them all at 1e-5, where an angle between scores is that between
    the few largest."""
    import torch

    last = [each[-1] for each in module.model[-1].cv3]
    caught: list[torch.Tensor] = []
    with ExitStack() as held, torch.no_grad():
        for layer in last:
            hook = layer.register_forward_hook(lambda _, __, made: caught.append(made.flatten(1)))
            held.callback(hook.remove)
        module.eval()(images)
        each_best = torch.cat(caught, dim=1).topk(_CANDIDATES).values[:, -1]
        for layer in last:
            layer.bias += torch.logit(torch.tensor(_CONFIDENCE)) - each_best.median()


def _deployed(module: Any, *, chosen: bool) -> Any:
    """As the package itself exports it: batch norms and parallel branches folded into convolutions,
    and the head giving nothing but what is used."""
    import torch

    module = module.eval()
    if chosen:
        module.end2end = True  # of the two heads that it is trained with, the one without NMS
    module = module.fuse(verbose=False)
    for part in module.modules():
        if hasattr(part, "export"):
            # Dynamic, or its head compares the batch with that of the last call, which fixes it.
            part.export, part.format, part.dynamic = True, "onnx", True

    class Chosen(torch.nn.Module):
        """[1, 300, 6] (x1, y1, x2, y2, score, class) as boxes, labels and scores."""

        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            rows = self.module(images)[0]
            return rows[:, :4], rows[:, 5].long(), rows[:, 4]

    return Chosen().eval() if chosen else module


def _find_weights(name: str, asked: str) -> tuple[str, str | None, tuple[str, ...]]:
    """The tag of the weights to use, their file, and what to say of them."""
    if tag := checkpoints.without_hub(asked):
        _set_up(online=False)
        return tag, checkpoints.file_of(asked), ()
    problem = checkpoints.hub_problem(_HUB)
    _set_up(online=problem is None)
    torch_onnx.require("ultralytics", extra="ultralytics")
    if problem is None:
        from ultralytics.utils.downloads import attempt_download_asset

        wanted = _fetched(name)
        try:
            wanted.parent.mkdir(parents=True, exist_ok=True)
            file = str(attempt_download_asset(str(wanted)))
            return checkpoints.tag_of(file), file, ()
        except Exception as error:  # whatever a hub, a proxy or a disk can do
            problem = first_line(error)[:200]
    note = checkpoints.RANDOM_NOTE.format(tag=f"{name}.pt", reason=problem)
    return "random", None, (note,)


def _set_up(*, online: bool) -> None:
    """Before it is imported: it must not install packages, print, or look for a network in vain."""
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    if not online:
        os.environ.setdefault("YOLO_OFFLINE", "true")
