"""Masks of objects laid into the image, without a loop over the objects.

torchvision resizes and pastes one mask after the other, which becomes a loop in ONNX that OpenVINO
cannot read. Bilinear interpolation is a product with a matrix on either side, for all at once.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch


@contextmanager
def without_loops() -> Iterator[None]:
    """torchvision's detectors with `paste` in place of their own."""
    from torchvision.models.detection import transform

    theirs = transform.paste_masks_in_image
    transform.paste_masks_in_image = paste
    try:
        yield
    finally:
        transform.paste_masks_in_image = theirs


def paste(
    masks: torch.Tensor, boxes: torch.Tensor, img_shape: tuple[int, int], padding: int = 1
) -> torch.Tensor:
    """Masks [N, 1, s, s] at boxes [N, 4] of an image (height, width): [N, 1, height, width], as
    `torchvision.models.detection.roi_heads.paste_masks_in_image` does it."""
    import torch

    padded = torch.nn.functional.pad(masks, (padding,) * 4)[:, 0]
    grown = (masks.shape[-1] + 2 * padding) / masks.shape[-1]
    centres = (boxes[:, :2] + boxes[:, 2:]) * 0.5
    halves = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * grown
    low, high = (centres - halves).to(torch.int64), (centres + halves).to(torch.int64)
    height, width = (int(size) for size in img_shape)
    rows = _interpolation(low[:, 1:], high[:, 1:], height, padded.shape[-1])
    columns = _interpolation(low[:, :1], high[:, :1], width, padded.shape[-1])
    return (rows @ padded @ columns.transpose(1, 2))[:, None]


def _interpolation(low: torch.Tensor, high: torch.Tensor, pixels: int, side: int) -> torch.Tensor:
    """How much each pixel of a line takes of each value of a mask that lies from `low` to `high`
    [N, 1]: [N, pixels, side], 0 outside of it (`interpolate` with align_corners=False)."""
    import torch

    length = (high - low + 1).clamp_min(1).to(torch.float32)
    places = torch.arange(pixels) - low
    inside = (places >= 0) & (places < length)
    source = ((places + 0.5) * (side / length) - 0.5).clamp(0, side - 1)
    near = 1 - (source[:, :, None] - torch.arange(side)).abs()
    return near.clamp_min(0) * inside[:, :, None]
