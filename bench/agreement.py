"""How alike two computations of one network are: its outputs, or the boxes among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.accuracy import decoders
from bench.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.accuracy.decoders import Detections
    from bench.contracts import Array, Feed
    from bench.records import Model, Output, Precision

#: Two boxes of one class may be the same one from this intersection over union on, as COCO has it.
_SAME_PLACE = 0.5
#: How far inputs are moved to see how much a network makes of rounding: some last digits of fp32.
_NUDGE = np.float32(1 + 1e-6)
#: Half of what fp16's 11 significant bits can tell apart, as a share of a value.
_HALF_STEP = 2.0**-11
#: Two right computations may be this many times as far apart as one that was nudged is from itself,
#: and no further than this cosine and this difference.
_ROOM, FLOOR, _CEILING = 10.0, 0.99, 0.25


@dataclass(frozen=True, slots=True)
class Agreement:
    """`cosine` of the outputs, the lowest of all of them; `max_rel` is the largest difference as a
    share of the largest output. Where boxes were `matched`, `max_rel` is that of the scores of the
    pairs."""

    cosine: float
    max_rel: float
    matched: bool = False


def compare(wanted: Sequence[Array], found: Sequence[Array], model: Model) -> Agreement:
    """How much `found` is like `wanted`.

    Boxes that a network has chosen itself differ in number between two computations that are both
    right, for a last digit decides which of two that overlap stays: they are matched one to one.
    Everything else has to have the same shapes. Raises StageError "wrong-output" where it has not,
    and where the outputs are no boxes.
    """
    how = model.output
    if how is not None and how.decoder == "boxes":
        columns = len(model.labels) + how.label_offset if model.labels else None
        pair = [decoders.chosen(outputs, how, columns) for outputs in (wanted, found)]
        return _matched(*pair)
    shapes = [a.shape for a in wanted], [a.shape for a in found]
    if shapes[0] != shapes[1]:
        raise StageError(
            "wrong-output", f"the outputs have shapes {shapes[1]}, the ONNX file's {shapes[0]}"
        )
    parts = [_parts(outputs, how, len(model.labels)) for outputs in (wanted, found)]
    pairs = list(zip(*parts, strict=True))
    # NaN is wrong too, and min() may pass over it.
    cosine = float(np.min([cosine_similarity(*pair) for pair in pairs], initial=1.0))
    return Agreement(cosine, max((gap(*pair) for pair in pairs), default=0.0))


def nudged(feed: Feed, precision: Precision = "fp32") -> dict[str, Array]:
    """The same inputs, but for what the precision cannot tell: the last digits, for fp16 up to half
    a step either way, for int8 up to half of a 256th of their range."""
    rng = np.random.default_rng(0)
    moved: dict[str, Array] = {}
    for name, values in feed.items():
        if values.dtype != np.float32:
            moved[name] = values
        elif precision == "int8":
            half = np.float32(float(values.max() - values.min()) / 512)
            moved[name] = values + rng.uniform(-half, half, values.shape).astype(np.float32)
        elif precision == "fp16":
            off = rng.uniform(-_HALF_STEP, _HALF_STEP, values.shape)
            moved[name] = values * (1 + off).astype(np.float32)
        else:
            moved[name] = values * _NUDGE
    return moved


def room(
    own: Agreement, cosine: float, max_rel: float, floor: float = FLOOR
) -> tuple[float, float]:
    """How low a cosine, and how large a difference, between two computations still are the same
    network: the usual bounds, or what its `own` agreement with itself on nudged inputs says.

    Some networks make much of little: they choose (SegNet, where the largest of four values was),
    or are so deep that a difference grows from layer to layer.
    """
    lowest = max(floor, 1 - _ROOM * (1 - own.cosine))
    return min(cosine, lowest), max(max_rel, min(_CEILING, _ROOM * own.max_rel))


def cosine_similarity(a: Array, b: Array) -> float:
    """Cosine of the angle between two arrays taken as vectors; NaN when either is not finite, and
    1 when both are zero."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    if norms == 0:
        return 1.0 if not x.any() and not y.any() else 0.0
    return float(x @ y) / norms


def gap(want: Array, have: Array) -> float:
    """The largest difference, as a share of the largest wanted value."""
    wanted = want.astype(np.float64)
    scale = float(np.abs(wanted).max(initial=0)) or 1.0
    return float(np.abs(wanted - have.astype(np.float64)).max(initial=0)) / scale


def _parts(outputs: Sequence[Array], how: Output | None, classes: int) -> list[Array]:
    """Boxes and scores of a grid apart: the scores, up to 1, would not be seen in an angle beside
    coordinates of hundreds of pixels."""
    if how is None or how.decoder != "yolo" or not outputs or outputs[0].ndim != 3:
        return list(outputs)
    first = outputs[0]
    axis = next((axis for axis in (1, 2) if first.shape[axis] - 4 - classes in (0, 1)), None)
    if axis is None:
        return list(outputs)
    return [*np.split(first, [4], axis=axis), *outputs[1:]]


def _matched(wanted: Detections, found: Detections) -> Agreement:
    """Every wanted box, best first, takes the one of the same class that overlaps it most, of those
    that are left.

    The cosine is that of two vectors of scores with a place for each box of either side, 0 where a
    side has not got it, and every product counts for as much as the boxes (and masks) of the pair
    overlap. A box that is lost matters as much as it was sure of itself. 1 where neither has any.
    """
    norms = float(np.linalg.norm(wanted.scores) * np.linalg.norm(found.scores))
    if norms == 0:
        return Agreement(1.0 if len(wanted.scores) == len(found.scores) else 0.0, 0.0, True)
    overlaps = decoders.iou(wanted.boxes, found.boxes)
    overlaps[wanted.classes[:, None] != found.classes[None, :]] = 0
    product, differences = 0.0, [0.0]
    for i in np.argsort(-wanted.scores, kind="stable"):
        j = int(overlaps[i].argmax())
        same = float(overlaps[i, j])
        if same < _SAME_PLACE:
            continue
        overlaps[:, j] = 0
        if wanted.masks is not None and found.masks is not None:
            same *= cosine_similarity(wanted.masks[i], found.masks[j])
        product += same * float(wanted.scores[i] * found.scores[j])
        differences.append(abs(float(wanted.scores[i] - found.scores[j])))
    largest = float(wanted.scores.max())
    return Agreement(product / norms, max(differences) / largest, True)
