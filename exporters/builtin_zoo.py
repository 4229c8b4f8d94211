"""`builtin:NAME`: small networks shipped with their weights and their data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.errors import unknown
from bench.records import Model, Output, Published, TensorSpec
from exporters import checkpoints, digits, torch_onnx
from exporters.digits.data import Digits
from exporters.torch_program import TorchSource

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bench.contracts import Dataset
    from bench.records import Artifact

#: The tag of the shipped weights.
_TAG = "digits"


class BuiltinZoo(TorchSource):
    packages: tuple[str, ...] = ("frontier-bench", "torch", "onnxscript", "onnx")
    stable = True

    def names(self) -> Iterable[str]:
        return [*digits.SIDES, *(f"{name}.{_TAG}" for name in digits.SIDES)]

    def describe(self, name: str, weights: str) -> Model:
        name = name.removesuffix(f".{_TAG}")
        if name not in digits.SIDES:
            raise unknown("builtin model", name, digits.SIDES, "bench list models 'builtin:*'")
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
        from exporters.digits.networks import NETWORKS

        with checkpoints.seeded():
            module = NETWORKS[model.name]().eval()
        if model.weights != "random":
            file = model.weights_file or str(digits.weights_file(model.name))
            checkpoints.load_file(module, file)
        return torch_onnx.export_image_model(module, model, to)

    def dataset(self, model: Model) -> Dataset | None:
        return Digits()


def _published(name: str) -> Published:
    """What `exporters/digits/train.py` measured when it made the weights."""
    stated = json.loads((digits.WEIGHTS / "accuracy.json").read_text())
    return Published("top1", stated[name]["top1"], _TAG, "exporters/digits/weights/accuracy.json")
