"""From an image to the input of a network, as its weights were trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.records import Preprocess

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def to_input(image: Image.Image, how: Preprocess) -> NDArray[np.float32]:
    """One image as a float32 array of shape (channels, height, width).

    Resize and crop follow torchvision's `Resize` and `CenterCrop` on PIL images, which timm's
    evaluation transform uses too: the long side is truncated, the crop offset rounded, and an
    image smaller than the crop is padded with black.
    """
    image = image.convert(how.mode)
    resampling = _RESAMPLING[how.interpolation]
    if how.shorter_side is None:
        image = image.resize((how.width, how.height), resampling)
    else:
        width, height = image.size
        short = min(width, height)
        size = (how.shorter_side * width // short, how.shorter_side * height // short)
        image = image.resize(size, resampling)
        left, top = _offset(size[0], how.width), _offset(size[1], how.height)
        image = image.crop((left, top, left + how.width, top + how.height))
    pixels = np.asarray(image, dtype=np.float32).reshape(how.height, how.width, -1)
    scaled = (pixels / 255 - np.asarray(how.mean, np.float32)) / np.asarray(how.std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)


def _offset(have: int, want: int) -> int:
    """Where a centre crop begins; torchvision rounds a padding otherwise than a crop."""
    return round((have - want) / 2) if have >= want else -((want - have) // 2)
