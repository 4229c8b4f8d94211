"""`builtin:NAME`: small networks shipped with their weights and their data, and SegNet, which no
other source has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.contracts import Outline
from bench.errors import unknown
from bench.records import Model, Output, Preprocess, Published, TensorSpec
from exporters import checkpoints, digits, torch_onnx
from exporters.digits.data import Digits
from exporters.torch_program import TorchSource

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import torch

    from bench.contracts import Dataset
    from bench.records import Artifact

#: The tag of the shipped weights.
_TAG = "digits"

SEGNET = "segnet"
#: Of `exporters.segnet` with as many classes as it has labels here.
_SEGNET_PARAMS = 29_449_355
#: CamVid's images at the size that SegNet's paper uses. It normalises contrast locally; ImageNet's
#: mean and deviation, on which the weights of its encoder were trained, stand in for that.
_ROADS = Preprocess(
    height=360,
    width=480,
    shorter_side=None,
    interpolation="bilinear",
    mode="RGB",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
#: The eleven classes of CamVid, in the order of the paper's table 2.
_ROAD_LABELS = (
    "building",
    "tree",
    "sky",
    "car",
    "sign symbol",
    "road",
    "pedestrian",
    "fence",
    "column pole",
    "sidewalk",
    "bicyclist",
)


class BuiltinZoo(TorchSource):
    packages: tuple[str, ...] = ("frontier-bench", "torch", "onnxscript", "onnx")
    stable = True

    def names(self) -> Iterable[str]:
        return [*digits.SIDES, *(f"{name}.{_TAG}" for name in digits.SIDES), SEGNET]

    def describe(self, name: str, weights: str) -> Model:
        if name == SEGNET:
            return _segnet(weights)
        name = name.removesuffix(f".{_TAG}")
        if name not in digits.SIDES:
            known = [*digits.SIDES, SEGNET]
            raise unknown("builtin model", name, known, "bench list models 'builtin:*'")
        how = digits.preprocess(name)
        file = checkpoints.file_of(weights)
        tag = _TAG if weights == "pretrained" else weights
        return Model(
            name=name,
            source="builtin",
            weights=checkpoints.tag_of(file) if file else tag,
            task="classification",
            output=Output("scores"),
            inputs=(TensorSpec("input", (None, 1, how.height, how.width), "float32"),),
            preprocess=how,
            labels=digits.LABELS,
            published=_published(name) if tag == _TAG else None,
            weights_file=file,
        )

    def export(self, model: Model, to: Path) -> Artifact:
        torch_onnx.require("torch", "onnxscript", "safetensors")
        with checkpoints.seeded():
            module = _create(model).eval()
        if model.weights != "random":
            file = model.weights_file or str(digits.weights_file(model.name))
            checkpoints.load_file(module, file)
        return torch_onnx.export_image_model(module, model, to)

    def outlines(self) -> Iterable[Outline]:
        plane = _ROADS.height, _ROADS.width
        segnet = Outline(SEGNET, "segmentation", _SEGNET_PARAMS, input=(3, *plane))
        return [*(_outline(name) for name in self.names() if name != SEGNET), segnet]

    def dataset(self, model: Model) -> Dataset | None:
        return None if model.name == SEGNET else Digits()


def _create(model: Model) -> torch.nn.Module:
    if model.name == SEGNET:
        from exporters.segnet import SegNet

        return SegNet(len(model.labels))
    from exporters.digits.networks import NETWORKS

    return NETWORKS[model.name]()


def _segnet(weights: str) -> Model:
    """Nobody publishes weights for these layers in a form that could be fetched."""
    notes = (
        (checkpoints.RANDOM_NOTE.format(tag=SEGNET, reason="none are published in torch's form"),)
        if weights == "pretrained"
        else ()
    )
    return Model(
        name=SEGNET,
        source="builtin",
        weights="random" if notes else checkpoints.without_hub(weights) or "random",
        task="segmentation",
        output=Output("class-scores"),
        inputs=(TensorSpec("input", (None, 3, _ROADS.height, _ROADS.width), "float32"),),
        preprocess=_ROADS,
        labels=_ROAD_LABELS,
        weights_file=checkpoints.file_of(weights),
        notes=notes,
    )


def _outline(name: str) -> Outline:
    network = name.removesuffix(f".{_TAG}")
    stated = json.loads((digits.WEIGHTS / "accuracy.json").read_text())[network]
    side = digits.SIDES[network]
    return Outline(
        name,
        "classification",
        params=stated["params"],
        input=(1, side, side),
        weights=_TAG,
        metric="top1",
        published=stated["top1"],
        source="exporters/digits/weights/accuracy.json",
    )


def _published(name: str) -> Published:
    """What `exporters/digits/train.py` measured when it made the weights."""
    stated = json.loads((digits.WEIGHTS / "accuracy.json").read_text())
    return Published("top1", stated[name]["top1"], _TAG, "exporters/digits/weights/accuracy.json")
