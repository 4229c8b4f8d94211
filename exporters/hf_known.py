"""Well-known models of the Hugging Face hub whose layers transformers itself knows: the defaults of
these configurations are "similar to" the checkpoint that their documentation names
(`@auto_docstring(checkpoint=...)` in transformers/models/*/configuration_*.py). So their layers can
be had, with random weights, where the hub cannot. Sizes and normalisation are those of the
checkpoints' `preprocessor_config.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.records import Preprocess

if TYPE_CHECKING:
    from typing import Any

    from bench.records import Task

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class Known:
    """`kind` is the configuration's `model_type`; `background` says that its first class is one."""

    kind: str
    task: Task
    classes: int
    params: int
    preprocess: Preprocess
    background: bool = False


def _how(side: int, norm: Any, shorter: int | None = None, **rest: Any) -> Preprocess:
    given = {"interpolation": "bicubic", **rest}
    return Preprocess(side, side, shorter, mode="RGB", mean=norm[0], std=norm[1], **given)


KNOWN = {
    "facebook/convnext-tiny-224": Known(
        "convnext", "classification", 1000, 28_589_128, _how(224, _IMAGENET, 256)
    ),
    "facebook/convnextv2-tiny-1k-224": Known(
        "convnextv2", "classification", 1000, 28_635_496, _how(224, _IMAGENET, 256)
    ),
    "facebook/detr-resnet-50": Known(
        "detr",
        "detection",
        91,
        41_524_768,
        _how(800, _IMAGENET, interpolation="bilinear", letterbox="top-left"),
    ),
    "google/mobilenet_v2_1.0_224": Known(
        "mobilenet_v2",
        "classification",
        1001,
        3_506_153,
        _how(224, _HALF, 256, interpolation="bilinear"),
        background=True,
    ),
    "google/vit-base-patch16-224": Known(
        "vit", "classification", 1000, 86_567_656, _how(224, _HALF, interpolation="bilinear")
    ),
    "microsoft/resnet-50": Known(
        "resnet", "classification", 1000, 25_557_032, _how(224, _IMAGENET, 256)
    ),
    "microsoft/swin-tiny-patch4-window7-224": Known(
        "swin", "classification", 1000, 28_288_354, _how(224, _IMAGENET)
    ),
    "nvidia/segformer-b0-finetuned-ade-512-512": Known(
        "segformer", "segmentation", 150, 3_752_694, _how(512, _IMAGENET, interpolation="bilinear")
    ),
}
