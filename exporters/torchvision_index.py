"""What torchvision says of its models without making them: the metadata of their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.contracts import Outline
from exporters import torchvision_detectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bench.records import Task

#: The headline figure of each kind of table in `_metrics`, and what we call it; of masks before
#: that of boxes.
_METRICS = {"acc@1": "top1", "mask_map": "mAP", "box_map": "mAP", "miou": "mIoU"}
#: Parameters that the metadata counts and that are not exported: heads that help in training only.
_AUXILIARY = {
    "inception_v3": 3_326_696,
    "fcn_resnet50": 2_365_205,
    "fcn_resnet101": 2_365_205,
    "deeplabv3_resnet50": 2_365_205,
    "deeplabv3_resnet101": 2_365_205,
    "deeplabv3_mobilenet_v3_large": 3_851,
}

#: The size of the shorter side that segmenters are evaluated at, whole image: here a square that
#: the whole image fits into, for the size of an input is fixed.
SEGMENTED = 520


def outlines(names: Iterable[str]) -> Iterator[Outline]:
    """Of architectures and of their tags."""
    from torchvision import models

    for name in names:
        architecture, _, tag = name.partition(".")
        known = models.get_model_weights(architecture)
        entry = known[tag] if tag else getattr(known, "DEFAULT", None)
        task = _task(models.get_model_builder(architecture).__module__, entry)
        if entry is None:
            yield Outline(name, task)
            continue
        metric, value = headline(entry)
        yield Outline(
            name,
            task,
            params=_params(architecture, entry),
            input=_input(architecture, task, entry),
            weights=entry.name,
            metric=metric,
            published=value,
            source=f"torchvision, {entry}.meta" if metric else None,
        )


def _params(architecture: str, entry: Any) -> int | None:
    stated: int | None = entry.meta.get("num_params")
    return None if stated is None else stated - _AUXILIARY.get(architecture, 0)


def headline(entry: Any) -> tuple[str | None, float | None]:
    """The metric by which a model of its kind is known, and its value in percent."""
    for figures in entry.meta.get("_metrics", {}).values():
        for theirs, ours in _METRICS.items():
            if theirs in figures:
                return ours, float(figures[theirs])
    return None, None


def _task(module: str, entry: Any) -> Task | None:
    if ".segmentation" in module:
        return "segmentation"
    if ".detection" in module:
        figures = entry.meta.get("_metrics", {}).values() if entry else ()
        masks = any("mask_map" in each for each in figures)
        return "instance-segmentation" if masks else "detection"
    return "classification"


def _input(architecture: str, task: Task | None, entry: Any) -> tuple[int, ...]:
    """Channels, height and width of what is exported: detectors and segmenters take any size."""
    if task == "classification":
        crop = entry.transforms().crop_size
        return 3, crop[0], crop[-1]
    if task == "segmentation":
        return 3, SEGMENTED, SEGMENTED
    how = torchvision_detectors.preprocess(architecture)
    return 3, how.height, how.width
