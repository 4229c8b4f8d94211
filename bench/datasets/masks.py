"""Images with a mask each, in the form of PASCAL VOC: a class a pixel, 255 to be ignored."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bench.accuracy.segmentation import NOTHING
from bench.datasets.images import is_image, refusal, shown
from bench.datasets.split import Listed
from bench.errors import StageError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

#: Folders of images and of masks, as VOC calls them and as others do.
_PAIRS = (("JPEGImages", "SegmentationClass"), ("images", "masks"))
VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip


def folders_of(path: Path) -> tuple[Path, Path] | None:
    """The folders of images and of masks, where the folder has such."""
    for images, masks in _PAIRS:
        if (path / images).is_dir() and (path / masks).is_dir():
            return path / images, path / masks
    return None


def read(path: Path, images: Path, masks: Path, classes: int) -> list[Listed]:
    """Every mask with its image. Masks lead: VOC has many more images than masks."""
    by_stem = {each.stem: each for each in sorted(images.iterdir()) if is_image(each)}
    found = sorted(each for each in masks.iterdir() if is_image(each, {".png"}))
    if lonely := next((each for each in found if each.stem not in by_stem), None):
        raise UsageError(f"--data {path}: the mask {lonely.name} has no image in {images.name}/")
    return [
        Listed(
            by_stem[each.stem],
            by_stem[each.stem].name,
            {"mask": str(each)},
            each,
            partial(_check, each, classes),
        )
        for each in found
    ]


def _check(mask: Path, classes: int, image: Image.Image) -> None:
    """Raise StageError for a mask that cannot be read, "bad-image" for one of another image."""
    try:
        with Image.open(mask) as opened:
            mode, pixels = opened.mode, np.array(opened)
    except Exception as error:  # SyntaxError, ValueError and more, as with images
        raise refusal(mask, error) from error
    if mode not in ("L", "P"):
        problem = f"is {mode}, a mask is grey or has a palette"
    elif pixels.shape != image.size[::-1]:
        problem = "is {1}x{0}, its image {2}x{3} pixels".format(*pixels.shape, *image.size)
    elif (highest := pixels[pixels != NOTHING].max(initial=0)) >= classes:
        problem = f"has class {highest}, the model's last one is {classes - 1}"
    else:
        return
    raise StageError("bad-image", f"the mask {shown(mask)} {problem}")
