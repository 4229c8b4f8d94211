"""Ten small networks that read handwritten digits: a zoo that needs no download.

What is here can be listed and described without torch; `networks` builds them, `data` holds the
images, `train` made `weights/`.
"""

from __future__ import annotations

from pathlib import Path

from bench.records import Preprocess

WEIGHTS = Path(__file__).parent / "weights"
LABELS = tuple("0123456789")

#: Side of the square input in pixels, of every network there is; roughly from fast to slow.
SIDES = {
    "digits-lenet": 8,
    "digits-alexnet": 16,
    "digits-squeezenet": 16,
    "digits-mobilenet": 16,
    "digits-inception": 16,
    "digits-resnet": 16,
    "digits-efficientnet": 24,
    "digits-densenet": 24,
    "digits-vgg": 32,
    "digits-convnext": 48,
}


def preprocess(name: str) -> Preprocess:
    """The whole 8 x 8 image, enlarged to the side that the network reads."""
    side = SIDES[name]
    return Preprocess(
        height=side,
        width=side,
        shorter_side=None,
        interpolation="bilinear",
        mode="L",
        mean=(0.5,),
        std=(0.5,),
    )


def weights_file(name: str) -> Path:
    """The shipped weights: the `state_dict` of `networks.build(name)` as safetensors."""
    return WEIGHTS / f"{name}.safetensors"
