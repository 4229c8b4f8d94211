"""Images with a mask each, in the form of PASCAL VOC: a class a pixel, 255 to be ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.datasets.images import ENDINGS
from bench.datasets.split import Listed
from bench.errors import UsageError

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


def read(path: Path, images: Path, masks: Path) -> list[Listed]:
    """Every mask with its image. Masks lead: VOC has many more images than masks."""
    by_stem = {each.stem: each for each in images.iterdir() if each.suffix.lower() in ENDINGS}
    found = sorted(each for each in masks.iterdir() if each.suffix.lower() == ".png")
    if lonely := next((each for each in found if each.stem not in by_stem), None):
        raise UsageError(f"--data {path}: the mask {lonely.name} has no image in {images.name}/")
    return [
        Listed(by_stem[each.stem], by_stem[each.stem].name, {"mask": str(each)}) for each in found
    ]
