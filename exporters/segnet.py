"""SegNet, written from its paper: Badrinarayanan, Kendall and Cipolla 2015, "SegNet: a deep
convolutional encoder-decoder architecture for image segmentation" (arXiv:1511.00561).

The encoder is the thirteen convolutions of VGG-16, each with a batch norm and a ReLU, in five
stages that a 2 x 2 max-pooling ends. The decoder mirrors them and upsamples without learning: each
value goes back to where the maximum was, everything else is zero ("pooling indices", section 3),
and convolutions make that dense again.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

#: Convolutions and channels of VGG-16's stages.
_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


class SegNet(nn.Module):
    """[batch, 3, h, w] to scores [batch, classes, h, w]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = [3, *(width for _, width in _STAGES)]
        self.encoder = nn.ModuleList(
            _stage([widths[i]] + [width] * depth) for i, (depth, width) in enumerate(_STAGES)
        )
        # The last convolution of a stage brings the channels to those of the next; the very last
        # one gives the scores, plain.
        self.decoder = nn.ModuleList(
            _stage([width] * depth + [widths[i] if i else width])
            for i, (depth, width) in reversed(list(enumerate(_STAGES)))
        )
        self.decoder[-1] = _stage([_STAGES[0][1]] * _STAGES[0][0])
        self.scores = nn.Conv2d(_STAGES[0][1], classes, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values, kept = images, []
        for stage in self.encoder:
            values = stage(values)
            shape = values.shape
            values, where = functional.max_pool2d(values, 2, return_indices=True)
            kept.append((where, shape))
        for stage in self.decoder:
            values = stage(_unpooled(values, *kept.pop()))
        scores: torch.Tensor = self.scores(values)
        return scores


def _stage(widths: list[int]) -> nn.Sequential:
    parts: list[nn.Module] = []
    for before, after in pairwise(widths):
        parts += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*parts)


def _unpooled(values: torch.Tensor, where: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Each value where it was the maximum, in a plane of `shape` that is zero elsewhere. Written as
    a scatter: ONNX's MaxUnpool is not in every runtime."""
    batch, channels, height, width = shape
    plane = values.new_zeros(batch, channels, height * width)
    return plane.scatter(2, where.flatten(2), values.flatten(2)).view(shape)
