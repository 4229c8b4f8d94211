"""Accuracy of semantic segmentation: mean intersection over union, with a weight for each image."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any
from zlib import compress, decompress

import numpy as np
from PIL import Image

from bench.accuracy.decoders import wrong
from bench.errors import StageError
from bench.geometry import placed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from bench.contracts import Array
    from bench.geometry import Placement
    from bench.records import Output, Preprocess

    Map = NDArray[np.uint8]

#: What a mask calls the pixels that do not count (PASCAL VOC's borders of objects), and a
#: prediction those that it gives no class.
NOTHING = 255


class SegmentationScorer:
    """`classes` is the number of the model's labels.

    A prediction is the class of each pixel of the image: {"shape": [height, width], "zlib": base64
    of the compressed bytes}, and "broken", the share of pixels whose scores are not finite, where
    there are: they have no class. A truth is {"mask": an array [height, width], or the path of an
    image whose pixels are classes}; 255 does not count.
    """

    metrics: tuple[str, ...] = ("mIoU", "pixel accuracy")

    def __init__(self, classes: int, preprocess: Preprocess, output: Output) -> None:
        if classes > NOTHING:
            raise StageError("bad-model", f"{classes} classes, a mask can have {NOTHING} at most")
        self.classes = classes
        self.preprocess = preprocess
        self.output = output

    def predictions(
        self, outputs: Sequence[Array], sizes: Sequence[tuple[int, int]]
    ) -> list[dict[str, Any]]:
        """From the first output, in case of several: further ones are for training."""
        read = self._class_maps if self.output.decoder == "class-map" else self._class_scores
        rows = read(outputs)
        if len(rows) < len(sizes):
            raise wrong(outputs, f"a batch of {len(sizes)} was expected")
        offset = self.output.label_offset
        found = []
        for row, size in zip(rows, sizes, strict=False):  # the batch may be filled up
            place = placed(size, self.preprocess)
            if row.ndim == 2:
                whole = place.nearest(row).astype(np.int64)
                finite = np.ones(whole.shape, bool)
            else:
                whole, finite = _best(row, place)
            unknown = whole[(whole < 0) | (whole >= self.classes + offset)]
            if unknown.size:
                last = self.classes + offset - 1
                raise wrong(outputs, f"class {unknown[0]} is among them, 0 to {last} were expected")
            nothing = (whole < offset) | ~finite
            found.append(_packed(np.where(nothing, NOTHING, whole - offset)))
            if not finite.all():
                found[-1]["broken"] = float(1 - finite.mean())
        return found

    def _class_maps(self, outputs: Sequence[Array]) -> Array:
        """The class of each pixel: [B, h, w]."""
        found = outputs[0]
        if found.ndim == 4 and found.shape[1] == 1:
            found = found[:, 0]
        if found.ndim != 3 or not np.issubdtype(found.dtype, np.integer):
            raise wrong(outputs, "integers [batch, height, width] were expected of the first")
        return found

    def _class_scores(self, outputs: Sequence[Array]) -> NDArray[np.float32]:
        """The score of each class at each pixel: [B, C, h, w]."""
        found, columns = outputs[0], self.classes + self.output.label_offset
        if found.ndim == 4 and found.shape[1] == columns:
            return found.astype(np.float32)
        if found.ndim == 4 and found.shape[3] == columns:
            return np.moveaxis(found, 3, 1).astype(np.float32)
        raise wrong(outputs, f"[batch, {columns}, height, width] was expected of the first")

    def broken(self, prediction: Mapping[str, Any]) -> float:
        return float(prediction.get("broken", 0))

    def table(self, predictions: Sequence[Any], truths: Sequence[Any]) -> NDArray[np.int64]:
        """Pixels of each image and class that are right, that are of that class, and that are said
        to be: [images, 3, classes]. No more of a confusion matrix counts, and one of 150 classes is
        as large as the image.

        Raises StageError "bad-data" for a truth that is not the image's, and where no pixel counts.
        """
        table = np.zeros((len(truths), 3, self.classes), np.int64)
        for counts, prediction, truth in zip(table, predictions, truths, strict=True):
            wanted, found = _mask(truth), _unpacked(prediction)
            if wanted.shape != found.shape:
                sizes = [f"{height}x{width}" for height, width in (wanted.shape, found.shape)]
                raise StageError("bad-data", f"a mask is {sizes[0]}, its image {sizes[1]} pixels")
            counted = wanted != NOTHING
            wanted, found = wanted[counted], found[counted]
            if wanted.size and wanted.max() >= self.classes:
                raise StageError(
                    "bad-data",
                    f"a mask has class {wanted.max()}, the model's last one is {self.classes - 1}",
                )
            for count, pixels in zip(counts, (wanted[wanted == found], wanted, found), strict=True):
                count[:] = np.bincount(pixels, minlength=NOTHING + 1)[: self.classes]
        if not table[:, 1].any():
            raise StageError("bad-data", f"no pixel of the {len(truths)} masks has a class")
        return table

    def score(
        self, table: NDArray[np.int64], weights: NDArray[np.int64] | None = None
    ) -> dict[str, float]:
        """The mean over the classes that occur in the weighted truth of intersection over union,
        each over the pixels of all images; and the share of all pixels that are right. 0 where no
        pixel counts."""
        if weights is None:
            weights = np.ones(len(table), np.int64)
        right, wanted, found = np.tensordot(weights, table, 1)
        if not wanted.any():
            return dict.fromkeys(self.metrics, 0.0)
        there = wanted > 0
        ious = right[there] / (wanted + found - right)[there]
        return {
            "mIoU": 100 * float(ious.mean()),
            "pixel accuracy": 100 * float(right.sum() / wanted.sum()),
        }

    def agreement(self, found: Sequence[Any], wanted: Sequence[Any]) -> float:
        """The share of pixels of which both say the same."""
        alike = total = 0
        for pair in zip(found, wanted, strict=True):
            have, want = map(_unpacked, pair)
            alike += int(np.count_nonzero(have == want))
            total += want.size
        return 100 * alike / total


def _best(
    scores: NDArray[np.float32], place: Placement
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The class with the highest score at each pixel of the image, from scores [C, h, w] over the
    input, and whether all those that it is mixed of are finite. A class after the other: all scores
    of a large image do not fit into a small board."""
    usable: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(scores), axis=0)
    whole, nothing = bool(usable.all()), np.zeros(usable.shape, np.float32)
    best = np.full(place.image[::-1], -np.inf, np.float32)
    classes = np.zeros(best.shape, np.int64)
    for index in range(len(scores)):
        given = scores[index]
        plane = place.bilinear(given if whole else np.where(usable, given, nothing))
        classes[plane > best] = index
        best = np.maximum(best, plane)
    return classes, place.bilinear(usable.astype(np.float32)) == 1


def _mask(truth: Mapping[str, Any]) -> Map:
    """The class of each pixel."""
    if isinstance(truth["mask"], np.ndarray):
        return truth["mask"].astype(np.uint8, casting="safe")
    with Image.open(truth["mask"]) as image:
        if image.mode not in ("L", "P"):
            raise StageError(
                "bad-data", f"{truth['mask']} is {image.mode}, a mask is grey or has a palette"
            )
        return np.array(image)


def _packed(classes: NDArray[np.int64]) -> dict[str, Any]:
    compressed = compress(classes.astype(np.uint8).tobytes())
    return {"shape": list(classes.shape), "zlib": b64encode(compressed).decode("ascii")}


def _unpacked(prediction: Mapping[str, Any]) -> Map:
    height, width = prediction["shape"]
    pixels = np.frombuffer(decompress(b64decode(prediction["zlib"])), np.uint8)
    return pixels.reshape(height, width)
