"""`torchvision:NAME[.WEIGHTS]`: torchvision's classification models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError, first_line, unknown
from bench.records import Model, Output, Preprocess, Published, TensorSpec
from exporters import checkpoints, torch_onnx
from exporters.torch_program import TorchSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.contracts import Dataset
    from bench.records import Artifact


class TorchvisionZoo(TorchSource):
    packages: tuple[str, ...] = ("torchvision", "torch", "onnxscript", "onnx")
    stable = True

    def names(self) -> Iterable[str]:
        torch_onnx.require("torch", "torchvision")
        from torchvision import models

        known = models.list_models(module=models)
        return [
            *known,
            *(f"{name}.{e.name}" for name in known for e in models.get_model_weights(name)),
        ]

    def describe(self, name: str, weights: str) -> Model:
        torch_onnx.require("torch", "torchvision", "onnxscript")
        from torchvision import models

        architecture, _, tag = name.partition(".")
        if architecture not in models.list_models(module=models):
            if architecture in models.list_models():
                raise UsageError(f"{name} does not classify: only classification is exported yet")
            raise unknown(
                "torchvision model",
                name,
                models.list_models(module=models),
                "bench list models torchvision:*",
            )
        known = {entry.name: entry for entry in models.get_model_weights(architecture)}
        if tag and tag not in known:
            raise unknown("weights tag", tag, known, f"one of: {', '.join(known)}")
        entry = known[tag] if tag else models.get_model_weights(architecture).DEFAULT
        found, notes = _find_weights(name, entry, weights)
        top1 = entry.meta["_metrics"].get("ImageNet-1K", {}).get("acc@1")
        return Model(
            name=architecture,
            source="torchvision",
            weights=found,
            task="classification",
            output=Output("scores"),
            inputs=(TensorSpec("input", (None, 3, *_crop(entry)), "float32"),),
            preprocess=_preprocess(entry),
            labels=tuple(entry.meta["categories"]),
            published=Published("top1", top1, entry.name, f"torchvision, {entry}.meta")
            if top1 and found == entry.name
            else None,
            weights_file=checkpoints.file_of(weights),
            notes=notes,
        )

    def export(self, model: Model, to: Path) -> Artifact:
        return torch_onnx.export_image_model(_create(model), model, to)

    def dataset(self, model: Model) -> Dataset | None:
        return None


def _create(model: Model) -> Any:
    from torchvision import models

    pretrained = model.weights_file is None and model.weights != "random"
    entry = models.get_model_weights(model.name)[model.weights] if pretrained else None
    # GoogLeNet and Inception v3 have training heads whose initialisation takes half a minute.
    extra = {"init_weights": True} if model.name in ("googlenet", "inception_v3") else {}
    with checkpoints.seeded():
        module = models.get_model(model.name, weights=entry, **({} if entry else extra))
    if model.weights_file:
        checkpoints.load_file(module, model.weights_file)
    return module.eval()


def _find_weights(name: str, entry: Any, asked: str) -> tuple[str, tuple[str, ...]]:
    """The tag of the weights to use, now on this machine, and what to say of them."""
    if tag := checkpoints.without_hub(asked):
        return tag, ()
    import torch

    cached = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rpartition("/")[2]
    problem = None if cached.is_file() else checkpoints.hub_problem(entry.url)
    try:
        if problem is None:
            entry.get_state_dict(progress=False, check_hash=True)
            return entry.name, ()
    except Exception as error:  # whatever a hub, a proxy or a disk can do
        problem = first_line(error)[:200]
    return "random", (checkpoints.RANDOM_NOTE.format(tag=f"{name} {entry.name}", reason=problem),)


def _crop(entry: Any) -> tuple[int, int]:
    crop = entry.transforms().crop_size
    return (crop[0], crop[-1])


def _preprocess(entry: Any) -> Preprocess:
    """torchvision's ImageClassification preset (torchvision/transforms/_presets.py)."""
    preset = entry.transforms()
    height, width = _crop(entry)
    return Preprocess(
        height=height,
        width=width,
        shorter_side=preset.resize_size[0],
        interpolation=preset.interpolation.value,
        mode="RGB",
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
