"""What the outputs of a detector say: boxes of each image, in its own pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from bench.contracts import Array
    from bench.geometry import Placement
    from bench.records import Output

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: The most boxes of one image that are kept: "at most 100 top-scoring detections per image (across
#: all categories)", https://cocodataset.org/#detection-eval.
MOST = 100


@dataclass(frozen=True, slots=True)
class Detections:
    """The boxes of one image, best first: `boxes` [N, 4] (x1, y1, x2, y2), `scores` [N], `classes`
    [N] as indices into the model's labels; `masks` [N, h, w] are probabilities over the whole input
    of the network, None where it gives none. `broken` is the share of what the network gave that
    was dropped because it is not finite."""

    boxes: Floats
    scores: Floats
    classes: Ints
    masks: NDArray[np.float32] | None = None
    broken: float = 0.0

    def take(self, chosen: Ints) -> Detections:
        """Only the boxes with these indices, in this order."""
        masks = None if self.masks is None else self.masks[chosen]
        left = self.boxes[chosen], self.scores[chosen], self.classes[chosen]
        return Detections(*left, masks, self.broken)


def decode(
    outputs: Sequence[Array], how: Output, classes: int, placements: Sequence[Placement]
) -> list[Detections]:
    """The boxes of each image of a batch, in the image's pixels, at most `MOST` an image.

    `classes` is the number of the model's labels, `placements` says how each image lies in the
    input; rows of the batch beyond them are left out. Raises StageError "wrong-output" for outputs
    that are not what `how` says.
    """
    columns = classes + how.label_offset
    found = _DECODERS[how.decoder](outputs, how, columns, placements[0].canvas)
    if len(found) < len(placements):
        raise wrong(outputs, f"a batch of {len(placements)} was expected")
    # The batch may be filled up.
    return [_of_image(*pair) for pair in zip(found, placements, strict=False)]


def chosen(outputs: Sequence[Array], how: Output, columns: int | None = None) -> Detections:
    """The boxes that a network has chosen itself, for one image, in pixels of its input, in its own
    order; with `columns`, labels have to be below that."""
    [found] = _boxes(outputs, how, np.iinfo(np.int64).max if columns is None else columns, (0, 0))
    return found


def wrong(outputs: Sequence[Array], wanted: str) -> StageError:
    """The error for outputs that are not what was expected; `wanted` says what was."""
    shapes = ", ".join(f"{array.dtype}{list(array.shape)}" for array in outputs)
    return StageError("wrong-output", f"the outputs are {shapes}; {wanted}")


def nms(boxes: Floats, scores: Floats, classes: Ints, most_iou: float, limit: int) -> Ints:
    """Non-maximum suppression class by class: indices of the best `limit` boxes of those that are
    kept, best first, ties by index.

    Going from the best score down, a box is dropped where its intersection over union with one of
    the same class that was kept is above `most_iou`.
    """
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(left) and len(kept) < limit:
        best, left = int(left[0]), left[1:]
        kept.append(best)
        # Comparing classes is as fast as moving the boxes of each class elsewhere, the usual trick,
        # and it is exact however large the boxes are.
        overlaps = iou(boxes[best : best + 1], boxes[left])[0] > most_iou
        left = left[~(overlaps & (classes[left] == classes[best]))]
    return np.array(kept, np.int64)


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes [N, 4] and [M, 4] (x1, y1, x2, y2): [N, M], 0 where both
    are empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (a, b)]
    either = areas[0][:, None] + areas[1][None, :] - both
    share: Floats = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return share


def _of_image(found: Detections, place: Placement) -> Detections:
    """The best of the detections, from pixels of the input to those of the image."""
    best = found.take(np.argsort(-found.scores, kind="stable")[:MOST])
    return replace(best, boxes=place.to_image(best.boxes))


def _boxes(
    outputs: Sequence[Array], how: Output, columns: int, canvas: tuple[int, int]
) -> list[Detections]:
    """As torchvision's detectors give them, for one image: boxes [N, 4], labels [N], scores [N],
    and masks [N, 1, h, w], told apart by their shapes and types, for exporters reorder them."""
    integers = [array for array in outputs if np.issubdtype(array.dtype, np.integer)]
    floats = [array for array in outputs if np.issubdtype(array.dtype, np.floating)]
    boxes = [array for array in floats if array.ndim == 2 and array.shape[1] == 4]
    labels = [array for array in integers if array.ndim == 1]
    scores = [array for array in floats if array.ndim == 1]
    masks = [array for array in floats if array.ndim == 4 and array.shape[1] == 1]
    if not boxes or not labels or not scores:
        raise wrong(outputs, "boxes [N, 4], integer labels [N] and scores [N] were expected")
    if len({len(array) for array in (boxes[0], labels[0], scores[0], *masks[:1])}) > 1:
        raise wrong(outputs, "as many boxes as labels, scores and masks were expected")
    if labels[0].size and int(labels[0].max()) >= columns:
        last = columns - 1
        raise wrong(outputs, f"label {labels[0].max()} is among them, up to {last} were expected")
    found = Detections(
        boxes[0].astype(np.float64),
        scores[0].astype(np.float64),
        labels[0].astype(np.int64) - how.label_offset,
        masks[0][:, 0].astype(np.float32) if masks else None,
    )
    finite = np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.scores)
    objects = (found.classes >= 0) & finite
    return [replace(found, broken=_broken(finite)).take(np.flatnonzero(objects))]


def _yolox(
    outputs: Sequence[Array], how: Output, columns: int, canvas: tuple[int, int]
) -> list[Detections]:
    """Undecoded grids [B, A, 5 + C], one after the other in the order of the strides, each row by
    row: centre as an offset from the cell, logarithm of the size, both in strides; objectness and
    classes, already sigmoided (YOLOX, `yolox/utils/demo_utils.py`, demo_postprocess)."""
    grids = [(stride, canvas[1] // stride, canvas[0] // stride) for stride in how.strides]
    anchors = sum(height * width for _, height, width in grids)
    if outputs[0].shape[1:] != (anchors, 5 + columns):
        raise wrong(outputs, f"[batch, {anchors}, {5 + columns}] was expected of the first")
    cells = [np.indices((height, width))[::-1].reshape(2, -1).T for _, height, width in grids]
    strides = np.repeat([stride for stride, *_ in grids], [len(cell) for cell in cells])[:, None]
    found = []
    for row in outputs[0].astype(np.float64):
        centres = (row[:, :2] + np.concatenate(cells)) * strides
        # A network that was quantized badly may say any size: it has to remain a number.
        sizes = np.exp(np.minimum(row[:, 2:4], 80)) * strides
        boxes = _corners(np.concatenate([centres, sizes], axis=1))
        boxes[~np.isfinite(row[:, 2:4]).all(axis=1)] = np.nan
        found.append(_apart(boxes, row[:, 4:5] * row[:, 5:], how))
    return found


def _yolo(
    outputs: Sequence[Array], how: Output, columns: int, canvas: tuple[int, int]
) -> list[Detections]:
    """Decoded grids: [B, A, 5 + C] with an objectness (YOLOv5), or [B, 4 + C, A] without (YOLOv8);
    centre and size in pixels of the input. The axis of the classes may be either one."""
    raw = outputs[0]
    for axis, first in ((2, 5), (1, 4), (2, 4), (1, 5)):
        if raw.ndim == 3 and raw.shape[axis] == first + columns:
            rows = np.moveaxis(raw, axis, 2).astype(np.float64)
            scores = rows[:, :, first:] * (rows[:, :, 4:5] if first == 5 else 1)
            boxes = _corners(rows[:, :, :4])
            return [_apart(*image, how) for image in zip(boxes, scores, strict=True)]
    ways = f"[batch, boxes, {5 + columns}] or [batch, {4 + columns}, boxes]"
    raise wrong(outputs, f"{ways} was expected of the first")


def _detr(
    outputs: Sequence[Array], how: Output, columns: int, canvas: tuple[int, int]
) -> list[Detections]:
    """A set of queries: logits [B, Q, C + 1] whose last class is "no object" (DETR, softmax) or
    [B, Q, C] (Deformable DETR, sigmoid), and boxes [B, Q, 4] (centre and size, as shares of the
    input), in either order where their shapes tell them apart. No two queries mean the same object,
    so there is nothing to suppress."""
    pair = list(outputs[:2])
    if len(pair) == 2 and pair[1].shape[-1:] != (4,):
        pair.reverse()
    if (
        len(pair) != 2
        or pair[0].ndim != 3
        or pair[0].shape[2] not in (columns, columns + 1)
        or pair[1].shape != (*pair[0].shape[:2], 4)
    ):
        wanted = f"[batch, queries, {columns} or {columns + 1}] and [batch, queries, 4]"
        raise wrong(outputs, f"{wanted} were expected")
    logits = pair[0].astype(np.float64)
    boxes = _corners(pair[1].astype(np.float64)) * np.array(canvas * 2)
    if logits.shape[2] == columns:
        scores = (1 + np.tanh(logits / 2)) / 2  # the sigmoid, without overflow
        scores[logits == np.inf] = np.nan
    else:
        powers = np.exp(logits - logits.max(axis=2, keepdims=True))
        scores = (powers / powers.sum(axis=2, keepdims=True))[:, :, :-1]
        # The classes of a softmax exclude each other: a query means its best one.
        scores = np.where(scores == scores.max(axis=2, keepdims=True), scores, 0)
    return [_every(*image, how) for image in zip(boxes, scores, strict=True)]


def _corners(boxes: Floats) -> Floats:
    """Boxes [..., 4] of centre and size as x1, y1, x2, y2."""
    centres, halves = boxes[..., :2], boxes[..., 2:] / 2
    return np.concatenate([centres - halves, centres + halves], axis=-1)


def _every(boxes: Floats, scores: Floats, how: Output) -> Detections:
    """Every pair of a box [A, 4] and a class whose score [A, C] is above the threshold.

    More than one class a box: mAP asks how well each class alone is ranked. With its best class
    only, YOLOX-Nano has 34.7 mAP on 64 images of COCO instead of 35.0.
    """
    objects = scores[:, how.label_offset :]
    finite = np.isfinite(np.concatenate([boxes, objects], axis=1)).all(axis=1)
    rows, classes = np.nonzero((objects > how.score_threshold) & finite[:, None])
    return Detections(boxes[rows], objects[rows, classes], classes, broken=_broken(finite))


def _broken(finite: NDArray[np.bool_]) -> float:
    return float(1 - finite.mean()) if finite.size else 0.0


def _apart(boxes: Floats, scores: Floats, how: Output) -> Detections:
    """The best of `_every`, no two of one class overlapping."""
    found = _every(boxes, scores, how)
    return found.take(nms(found.boxes, found.scores, found.classes, how.nms_iou, MOST))


_DECODERS: dict[str, Callable[[Sequence[Array], Output, int, tuple[int, int]], list[Detections]]]
_DECODERS = {"boxes": _boxes, "yolox": _yolox, "yolo": _yolo, "detr": _detr}
