"""`timm:NAME[.TAG]`: the PyTorch image models."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any

from bench.errors import StageError, UsageError, first_line, unknown
from bench.records import Model, Output, Preprocess, Published, TensorSpec
from exporters import checkpoints, std_convs, timm_index, torch_onnx
from exporters.torch_program import TorchSource

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bench.contracts import Dataset, Outline
    from bench.records import Artifact


class TimmZoo(TorchSource):
    packages: tuple[str, ...] = ("timm", "torch", "onnxscript", "onnx")
    stable = True

    def names(self) -> Iterable[str]:
        torch_onnx.require("torch", "timm")
        import timm

        tagged = timm.list_pretrained()
        return {*timm.list_models(), *tagged}

    def describe(self, name: str, weights: str) -> Model:
        torch_onnx.require("torch", "timm", "onnxscript")
        import timm

        architecture, _, tag = name.partition(".")
        if not timm.is_model(architecture):
            raise unknown("timm model", name, timm.list_models(), "bench list models timm:*")
        known = timm.list_pretrained(f"{architecture}.*")
        if tag and name not in known:
            tags = [each.partition(".")[2] for each in known]
            raise unknown("weights tag", tag, tags, f"bench list models timm:{architecture}.*")
        config = timm.get_pretrained_cfg(name)
        if config is None:
            raise UsageError(f"timm says nothing of how {name} wants its input")
        found, notes = _find_weights(name, config, weights)
        own = timm.get_pretrained_cfg(architecture)
        how, odd = _preprocess(config)
        return Model(
            name=architecture,
            source="timm",
            weights=found,
            task="classification",
            output=Output("scores"),
            inputs=(TensorSpec("input", (None, *config.input_size), "float32"),),
            preprocess=how,
            labels=_labels(config),
            published=_published(f"{architecture}.{config.tag}", config.input_size[-1])
            if found == config.tag
            else None,
            weights_file=checkpoints.file_of(weights),
            notes=(*notes, *odd),
            variant=None if own and own.tag == config.tag else config.tag,
        )

    def export(self, model: Model, to: Path) -> Artifact:
        return torch_onnx.export_image_model(_create(model), model, to)

    def outlines(self) -> Iterable[Outline]:
        torch_onnx.require("torch", "timm")
        return timm_index.outlines()

    def dataset(self, model: Model) -> Dataset | None:
        return None


def _create(model: Model) -> Any:
    import timm

    pretrained = model.weights_file is None and model.weights != "random"
    tag = model.weights if pretrained else model.variant  # which its head and its size hang on
    with checkpoints.seeded():
        module = timm.create_model(
            f"{model.name}.{tag}" if tag else model.name, pretrained=pretrained, exportable=True
        )
    if model.weights_file:
        checkpoints.load_file(module, model.weights_file)
    std_convs.fold(module)
    return module.eval()


def _find_weights(name: str, config: Any, asked: str) -> tuple[str, tuple[str, ...]]:
    """The tag of the weights to use, now on this machine, and what to say of them."""
    if tag := checkpoints.without_hub(asked):
        return tag, ()
    if not config.has_weights:
        return "random", (checkpoints.RANDOM_NOTE.format(tag=name, reason="timm has none"),)
    import huggingface_hub.constants
    import timm

    problem = checkpoints.hub_problem(huggingface_hub.constants.ENDPOINT)
    if problem:  # then only what is in the local cache can be had, and without a minute of retries
        huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        timm.create_model(f"{config.architecture}.{config.tag}", pretrained=True)
    except Exception as error:  # whatever a hub, a proxy or a disk can do
        reason = problem or first_line(error)[:200]
        return "random", (checkpoints.RANDOM_NOTE.format(tag=name, reason=reason),)
    return config.tag, ()


def _preprocess(config: Any) -> tuple[Preprocess | None, tuple[str, ...]]:
    """timm's evaluation transform (timm/data/transforms_factory.py, transforms_imagenet_eval), and
    why it is left out where it cannot be said: rather no accuracy than a wrong one."""
    channels, height, width = config.input_size
    if channels != 3:
        raise StageError("bad-model", f"inputs of {channels} channels are no RGB images")
    mode = config.crop_mode
    if mode not in ("center", "squash") or (mode == "center" and height != width):
        note = f"timm's crop mode {mode!r} to {height} x {width} is not known here: not evaluated"
        return None, (note,)
    resized = floor(height / config.crop_pct), floor(width / config.crop_pct)
    how = Preprocess(
        height=height,
        width=width,
        shorter_side=resized[0] if mode == "center" else None,
        interpolation=config.interpolation or "bicubic",
        mode="RGB",
        mean=tuple(config.mean),
        std=tuple(config.std),
        squash=resized if mode == "squash" and resized != (height, width) else None,
    )
    return how, ()


def _labels(config: Any) -> tuple[str, ...]:
    """The class names in output order: WordNet ids for ImageNet's subsets."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    if config.label_names:
        return tuple(config.label_names)
    subset = infer_imagenet_subset(config.to_dict())
    return tuple(ImageNetInfo(subset).label_names()) if subset else ()  # type: ignore[no-untyped-call]


def _published(name: str, size: int) -> Published | None:
    """What timm states for these weights: at this size of image, else at the nearest one, and
    which it was."""
    stated = timm_index.top1().get(name, {})
    at = timm_index.nearest(stated, size)
    if at is None:
        return None
    source = f"{timm_index.SOURCE}, at {at} x {at}"
    return Published("top1", stated[at], name.partition(".")[2], source)
