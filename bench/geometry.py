"""Where an image lies in the input of a network, and the way back to the image's own pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.records import Preprocess


@dataclass(frozen=True, slots=True)
class Placement:
    """An image of `image` (width, height) is brought to `resized` (width, height), and its upper
    left corner to (left, top) of an input of `canvas` (width, height), all in pixels.

    `left` and `top` are negative where a crop cuts something off. A point (x, y) of the image lies
    at (left + x * scale_x, top + y * scale_y) of the input.
    """

    image: tuple[int, int]
    resized: tuple[int, int]
    canvas: tuple[int, int]
    left: int
    top: int
    scale_x: float
    scale_y: float

    def to_image(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Boxes [N, 4] (x1, y1, x2, y2) in pixels of the input, in those of the image and clipped
        to it."""
        corner = np.array([self.left, self.top] * 2)
        scale = np.array([self.scale_x, self.scale_y] * 2)
        inside: NDArray[np.float64] = np.clip((boxes - corner) / scale, 0, self.image * 2)
        return inside

    def nearest(self, plane: NDArray[np.generic]) -> NDArray[np.generic]:
        """A map [h, w] that covers the whole input, as one of the image [height, width]: each pixel
        of the image takes the value that its centre falls on."""
        rows, columns = self._centres(plane.shape)
        return plane[np.rint(rows).astype(np.int64)[:, None], np.rint(columns).astype(np.int64)]

    def bilinear(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Like `nearest`, with values between those of the map."""
        rows, columns = self._centres(plane.shape)
        return _between(_between(plane, rows, axis=0), columns, axis=1)

    def _centres(self, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows and columns of a map of that shape on which the centres of the image's pixels fall,
        as fractions."""
        return (
            _along(self.image[1], self.resized[1], self.top, self.canvas[1], shape[0]),
            _along(self.image[0], self.resized[0], self.left, self.canvas[0], shape[1]),
        )


def placed(size: tuple[int, int], how: Preprocess) -> Placement:
    """Where an image of `size` (width, height) lies in the input that `how` makes of it."""
    width, height = size
    canvas = (how.width, how.height)
    if how.letterbox is not None:
        scale = min(how.width / width, how.height / height)
        # Truncated as YOLOX does it (`yolox/data/data_augment.py`, preproc), whose weights saw
        # images so, and whose boxes are brought back by the scale itself. A very thin image keeps
        # a pixel.
        resized = max(1, int(width * scale)), max(1, int(height * scale))
        left, top = 0, 0
        if how.letterbox == "center":
            left, top = (how.width - resized[0]) // 2, (how.height - resized[1]) // 2
        return Placement(size, resized, canvas, left, top, scale, scale)
    if how.shorter_side is None:
        tall, wide = how.squash or (how.height, how.width)
        left, top = _crop_offset(wide, how.width), _crop_offset(tall, how.height)
        return Placement(size, (wide, tall), canvas, left, top, wide / width, tall / height)
    short = min(size)
    resized = how.shorter_side * width // short, how.shorter_side * height // short
    return Placement(
        size,
        resized,
        canvas,
        _crop_offset(resized[0], how.width),
        _crop_offset(resized[1], how.height),
        resized[0] / width,
        resized[1] / height,
    )


def _crop_offset(have: int, want: int) -> int:
    """Where the image begins in a centre crop, as torchvision's CenterCrop has it: it rounds a crop
    otherwise than a padding."""
    return -round((have - want) / 2) if have >= want else (want - have) // 2


def _along(image: int, resized: int, start: int, canvas: int, cells: int) -> NDArray[np.float64]:
    """On which of `cells` cells, that share a side of `canvas` pixels, the centres of the pixels of
    one side of the image fall."""
    at = start + (np.arange(image) + 0.5) * (resized / image)
    # What a crop cut off takes what was seen nearest to it, and no pixel takes from the padding.
    at = np.clip(at, max(start, 0) + 0.5, min(start + resized, canvas) - 0.5)
    cell: NDArray[np.float64] = np.clip(at * (cells / canvas) - 0.5, 0, cells - 1)
    return cell


def _between(
    values: NDArray[np.float32], at: NDArray[np.float64], axis: int
) -> NDArray[np.float32]:
    """Linear interpolation of a plane [h, w] along one axis at fractional indices."""
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, values.shape[axis] - 1)
    share = np.expand_dims((at - low).astype(np.float32), 1 - axis)
    below, above = values.take(low, axis), values.take(high, axis)
    mixed: NDArray[np.float32] = below + (above - below) * share
    return mixed
