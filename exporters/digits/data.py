"""scikit-learn's bundled handwritten digits, split once and for all.

1,797 images of 8 x 8 pixels in 17 levels of grey, ten classes: the test part of "Optical
Recognition of Handwritten Digits" (Alpaydin and Kaynak, UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49), which scikit-learn carries, so that no download is needed. The
split mixes the 13 writers: accuracy on it says how well a network reads *these* hands.
"""

from __future__ import annotations

import hashlib
from functools import cache, partial
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from bench.contracts import Sample
from bench.errors import Unavailable
from exporters.digits import LABELS

if TYPE_CHECKING:
    from collections.abc import Sequence

Part = Literal["train", "calibration", "test"]
Labelled = tuple[Image.Image, int]

#: Version of the split. History: 1, first light.
SPLIT = 1
#: Images a class that are kept from training; what remains, 84 to 93 a class, trains. As many to
#: test as training can spare: 700 give an interval of about +-0.7 points at 99 %.
TEST_PER_CLASS = 70
CALIBRATION_PER_CLASS = 20
#: What `content_sha256` finds, written down so that asking for it costs nothing (a test compares).
FINGERPRINT = "digits-1-6924ba4f5c65de32"


class Digits:
    """The data of every `builtin:digits-*` network; see `bench.contracts.Dataset`."""

    name = "digits"
    fingerprint = FINGERPRINT
    classes = LABELS
    notes = ()

    @property
    def calibration(self) -> Sequence[Sample]:
        """The 200 calibration images; the classes take turns."""
        return _samples("calibration")

    @property
    def test(self) -> Sequence[Sample]:
        """The 700 test images; the classes take turns."""
        return _samples("test")


def _samples(part: Part) -> list[Sample]:
    return [
        Sample(f"{part}-{i}", label, partial(Image.Image.copy, image))
        for i, (image, label) in enumerate(split()[part])
    ]


@cache
def split() -> dict[Part, tuple[Labelled, ...]]:
    """Every image in exactly one part; images are mode "L", 8 x 8, 0 to 255.

    In each part the classes take turns, 0 to 9, so that its first n images are balanced too.
    """
    pixels, labels = _load()
    parts: dict[Part, list[list[int]]] = {"test": [], "calibration": [], "train": []}
    for label in range(10):
        members = sorted(np.flatnonzero(labels == label).tolist(), key=_shuffled)
        kept = TEST_PER_CLASS + CALIBRATION_PER_CLASS
        parts["test"].append(members[:TEST_PER_CLASS])
        parts["calibration"].append(members[TEST_PER_CLASS:kept])
        parts["train"].append(members[kept:])
    return {
        part: tuple(
            (Image.fromarray(pixels[i]), int(labels[i]))
            for turn in zip_longest(*classes)
            for i in turn
            if i is not None
        )
        for part, classes in parts.items()
    }


def content_sha256() -> str:
    """Of the pixels and labels of the three parts in their order: what `FINGERPRINT` abridges."""
    digest = hashlib.sha256()
    for part, images in sorted(split().items()):
        digest.update(f"{part} {len(images)}\n".encode())
        for image, label in images:
            digest.update(bytes([label]) + image.tobytes())
    return digest.hexdigest()


def _shuffled(index: int) -> bytes:
    """Sorting by this shuffles for good: no generator whose stream a new numpy may change."""
    return hashlib.sha256(f"digits {SPLIT} {index}".encode()).digest()


def _load() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (1797, 8, 8) as uint8, 0 to 255, and labels (1797,), in scikit-learn's order."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise Unavailable(
            "the handwritten digits come with scikit-learn, which is not installed: "
            "pip install 'frontier-bench[digits]'"
        )
    # Importing scikit-learn takes a second, in every process that wants a digit; its file is read
    # at once. Should a version keep it elsewhere, the second is spent.
    file = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        table = np.loadtxt(file, delimiter=",")
        levels, labels = table[:, :-1], table[:, -1].astype(np.int64)
    else:
        from sklearn.datasets import load_digits

        levels, labels = load_digits(return_X_y=True)
    pixels = np.rint(levels.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    return pixels, labels
