"""`torchvision:NAME[.WEIGHTS]`: torchvision's models of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError, first_line, unknown
from bench.records import Model, Output, Preprocess, Published, Task, TensorSpec
from exporters import checkpoints, torch_onnx, torchvision_detectors, torchvision_index
from exporters.torch_program import TorchSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.contracts import Dataset, Outline
    from bench.records import Artifact

#: Its figures, by the name of the metric in `meta["_metrics"]`.
_METRICS = {"acc@1": "top1", "box_map": "mAP", "mask_map": "mAP", "miou": "mIoU"}
#: Heads that help in training only: pretrained networks may have them, and files of weights too.
_AUXILIARY = ("aux_classifier", "aux1", "aux2", "AuxLogits")


class TorchvisionZoo(TorchSource):
    packages: tuple[str, ...] = ("torchvision", "torch", "onnxscript", "onnx")
    stable = True

    def names(self) -> Iterable[str]:
        torch_onnx.require("torch", "torchvision")
        from torchvision import models

        known = _tasks()
        return [
            *known,
            *(f"{name}.{e.name}" for name in known for e in models.get_model_weights(name)),
        ]

    def describe(self, name: str, weights: str) -> Model:
        torch_onnx.require("torch", "torchvision", "onnxscript")
        from torchvision import models

        architecture, _, tag = name.partition(".")
        tasks = _tasks()
        if architecture not in tasks:
            if architecture in models.list_models():
                raise UsageError(
                    f"torchvision:{name} takes no single image, or is quantized already: what "
                    "classifies, detects or segments images is exported"
                )
            raise unknown("torchvision model", name, tasks, "bench list models torchvision:*")
        known = {entry.name: entry for entry in models.get_model_weights(architecture)}
        if tag and tag not in known:
            raise unknown("weights tag", tag, known, f"one of: {', '.join(known)}")
        entry = known[tag] if tag else models.get_model_weights(architecture).DEFAULT
        found, notes = _find_weights(name, entry, weights)
        task = tasks[architecture]
        how, output, labels = _use(architecture, task, entry)
        batch = 1 if output.decoder == "boxes" else None
        return Model(
            name=architecture,
            source="torchvision",
            weights=found,
            task=task,
            output=output,
            inputs=(TensorSpec("input", (batch, 3, how.height, how.width), "float32"),),
            preprocess=how,
            labels=labels,
            published=_published(entry, task) if found == entry.name else None,
            weights_file=checkpoints.file_of(weights),
            notes=notes,
        )

    def export(self, model: Model, to: Path) -> Artifact:
        module = _create(model)
        if model.output and model.output.decoder == "boxes":
            return torchvision_detectors.export(module, model, to)
        if model.task == "segmentation":
            module = _first_output(module)
        return torch_onnx.export_image_model(module, model, to)

    def outlines(self) -> Iterable[Outline]:
        return torchvision_index.outlines(self.names())

    def dataset(self, model: Model) -> Dataset | None:
        return None


def _tasks() -> dict[str, Task]:
    """Every model whose input is an image, with what it is for. The one that finds keypoints is
    among the detectors: it finds people."""
    from torchvision import models

    found: dict[str, Task] = dict.fromkeys(models.list_models(module=models), "classification")
    for name in models.list_models(module=models.detection):
        found[name] = "instance-segmentation" if name.startswith("mask") else "detection"
    return found | dict.fromkeys(models.list_models(module=models.segmentation), "segmentation")


def _create(model: Model) -> Any:
    from torchvision import models

    pretrained = model.weights_file is None and model.weights != "random"
    entry = models.get_model_weights(model.name)[model.weights] if pretrained else None
    extra: dict[str, Any] = {}
    if entry is None and model.name in ("googlenet", "inception_v3"):
        # As torchvision makes them for weights of its own; the training heads take half a minute
        # to be initialised otherwise.
        extra |= {"aux_logits": False, "transform_input": True, "init_weights": True}
    if model.task != "classification":
        # Else the weights of the backbone are fetched, whatever those of the whole are.
        extra["weights_backbone"] = None
        if entry is None and model.weights_file is None:
            extra["num_classes"] = len(model.labels) + (model.output.label_offset or 0)  # type: ignore[union-attr]
    with checkpoints.seeded():
        module = models.get_model(model.name, weights=entry, **extra)
    for head in _AUXILIARY:
        if hasattr(module, head):
            setattr(module, head, None)
    if model.weights_file:
        checkpoints.load_file(module, model.weights_file, unused=_AUXILIARY)
    return module.eval()


def _first_output(module: Any) -> Any:
    """A segmenter gives a dictionary."""
    import torch

    class Segmenter(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.module(images)["out"]
            return scores

    return Segmenter().eval()


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


def _use(architecture: str, task: Task, entry: Any) -> tuple[Preprocess, Output, tuple[str, ...]]:
    """How images become inputs, what the outputs are, and the names of the classes."""
    labels = tuple(entry.meta["categories"])
    if task == "classification":
        return _classified(entry), Output("scores"), labels
    if task == "segmentation":
        return _segmented(entry), Output("class-scores"), labels
    how = torchvision_detectors.preprocess(architecture)
    return how, Output("boxes", label_offset=1), labels[1:]  # the first is the background


def _classified(entry: Any) -> Preprocess:
    """torchvision's ImageClassification preset (torchvision/transforms/_presets.py)."""
    preset = entry.transforms()
    crop = preset.crop_size
    return Preprocess(
        height=crop[0],
        width=crop[-1],
        shorter_side=preset.resize_size[0],
        interpolation=preset.interpolation.value,
        mode="RGB",
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def _segmented(entry: Any) -> Preprocess:
    """Its SemanticSegmentation preset, but for the size, which there changes with the image."""
    preset = entry.transforms()
    return Preprocess(
        height=torchvision_index.SEGMENTED,
        width=torchvision_index.SEGMENTED,
        shorter_side=None,
        interpolation=preset.interpolation.value,
        mode="RGB",
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        letterbox="top-left",
    )


def _published(entry: Any, task: Task) -> Published | None:
    """The first figure on the data that the tag is about; of masks, where the task is masks."""
    for data, figures in entry.meta["_metrics"].items():
        wanted = ("mask_map",) if task == "instance-segmentation" else _METRICS
        for name in wanted:
            if name in figures:
                source = f"torchvision, {entry}.meta, {data}"
                return Published(_METRICS[name], figures[name], entry.name, source)
    return None
