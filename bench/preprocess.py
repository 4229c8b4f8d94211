"""From an image to the input of a network, as its weights were trained."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bench.datasets.images import shown
from bench.errors import StageError
from bench.geometry import placed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.contracts import Sample
    from bench.records import Preprocess

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def load(sample: Sample, how: Preprocess) -> Image.Image:
    """The image of a sample. Raises StageError as the sample does, and "bad-image" where resizing
    would make more pixels of it than Pillow takes from any file: an image of 1 x 16,000, its
    shorter side brought to 256, would have a thousand million."""
    image = sample.load()
    width, height = placed(image.size, how).resized
    if width * height > (Image.MAX_IMAGE_PIXELS or inf):
        raise StageError(
            "bad-image",
            f"{shown(sample.name)} is {image.width}x{image.height} pixels, and would be resized to "
            f"{width}x{height}",
        )
    return image


def to_input(image: Image.Image, how: Preprocess) -> NDArray[np.float32]:
    """One image as a float32 array of shape (channels, height, width), or (height, width,
    channels) where the network's layout is NHWC.

    Resize and crop follow torchvision's `Resize` and `CenterCrop` on PIL images, which timm's
    evaluation transform uses too: the long side is truncated, the crop offset rounded, and an
    image smaller than the crop is padded with black.
    """
    image = image.convert("L" if how.mode == "L" else "RGB")
    where = placed(image.size, how)
    image = image.resize(where.resized, _RESAMPLING[how.interpolation])
    if how.letterbox is None:
        box = (-where.left, -where.top, how.width - where.left, how.height - where.top)
        pixels = _channels_last(image.crop(box))
    else:
        channels = len(image.getbands())
        pixels = np.full((how.height, how.width, channels), how.pad, np.float32)
        rows = slice(where.top, where.top + where.resized[1])
        columns = slice(where.left, where.left + where.resized[0])
        pixels[rows, columns] = _channels_last(image)
    if how.mode == "BGR":
        pixels = pixels[:, :, ::-1]
    scaled = pixels / np.float32(how.scale)
    scaled = (scaled - np.asarray(how.mean, np.float32)) / np.asarray(how.std, np.float32)
    if how.layout == "NCHW":
        scaled = scaled.transpose(2, 0, 1)
    return np.ascontiguousarray(scaled, dtype=np.float32)


def _channels_last(image: Image.Image) -> NDArray[np.float32]:
    width, height = image.size
    return np.asarray(image, dtype=np.float32).reshape(height, width, -1)
