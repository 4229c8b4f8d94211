"""How much a change to one layer harms the outputs of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.contracts import Array

#: Inputs that layers are ranked on: their order settles sooner than accuracy does.
INPUTS = 4


def harm(wanted: Sequence[Sequence[Array]], found: Sequence[Sequence[Array]]) -> float:
    """Noise over signal in dB, for the outputs of some feeds; higher is worse.

    Of each output, and each of its axes, the mean over slices; and of those the worst: so that
    scores between 0 and 1 count beside boxes of hundreds of pixels in the same tensor. Outputs that
    are no longer as many as before (boxes after a suppression) are as bad as can be.
    """
    worst = -np.inf
    for want, have in zip(zip(*wanted, strict=True), zip(*found, strict=True), strict=True):
        if [a.shape for a in want] != [a.shape for a in have]:
            return float("inf")
        if len({a.shape for a in want}) > 1:
            return float("inf")
        signal, noise = np.stack(want).astype(np.float64), np.stack(have).astype(np.float64)
        noise = noise - signal
        for axis in range(1, signal.ndim):
            worst = max(worst, _ratio(signal, noise, axis))
    return float(worst)


def _ratio(signal: Array, noise: Array, axis: int) -> float:
    others = tuple(each for each in range(signal.ndim) if each != axis)
    powers = np.square(signal).sum(axis=others)
    lost = np.square(noise).sum(axis=others)
    some = powers > 0
    if not some.any():
        return -np.inf
    # What is a thousandth of the signal or less is no harm: int8 itself has 256 steps.
    return float(np.mean(10 * np.log10(lost[some] / powers[some] + 1e-6)))
