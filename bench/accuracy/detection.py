"""Accuracy of detectors: COCO's mean average precision, with a weight for each image."""

from __future__ import annotations

from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.accuracy import decoders
from bench.errors import StageError, Unavailable
from bench.geometry import placed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from bench.accuracy.decoders import Detections
    from bench.contracts import Array
    from bench.geometry import Placement
    from bench.records import Output, Preprocess

    Ints = NDArray[np.int64]

#: The recalls at which COCO reads the precision, and how many IoU thresholds it averages over: 0.5,
#: 0.55, ..., 0.95.
RECALLS = np.linspace(0.0, 1.0, 101)
THRESHOLDS = 10
#: Two artifacts agree on a box where one is SURE of it and the other ALMOST_SURE of one of the same
#: class with an IoU of SAME_PLACE: a score just below a single border would count as a difference.
SURE, ALMOST_SURE, SAME_PLACE = 0.3, 0.2, 0.5


@dataclass(frozen=True, slots=True)
class Matches:
    """All boxes of all images against the truth.

    The boxes are in order of their class, then of their score, best first, ties in the order of the
    images: `image` and `classes` of each. Most boxes are wrong at every IoU threshold; the others
    are listed, a threshold after the other, in the order of the boxes: `box` at `threshold` has
    found an object where `hit`, and is ignored (it found a crowd) where not. `objects` [images,
    classes] counts those that there are to be found.
    """

    image: Ints
    classes: Ints
    threshold: Ints
    box: Ints
    hit: NDArray[np.bool_]
    objects: Ints


class DetectionScorer:
    """For detectors, and with `masks` for instance segmentation. `classes` is the number of the
    model's labels.

    A prediction is {"boxes": [[x, y, width, height], ...], "scores": [...], "classes": [...]}, best
    first, "masks": [COCO's run lengths, ...], and "broken", the share of boxes that were dropped
    because they are not finite, where there are. A truth is {"size": [width, height], "boxes":
    [...], "classes": [...], "crowd": [0 or 1, ...], "areas": [...]}, and "masks": [polygons or run
    lengths, ...]. Boxes are in pixels of the image, classes are indices into the model's labels.
    """

    metrics: tuple[str, ...] = ("mAP", "mAP50")

    def __init__(
        self, classes: int, preprocess: Preprocess, output: Output, *, masks: bool = False
    ) -> None:
        self.classes = classes
        self.preprocess = preprocess
        self.output = output
        self.masks = masks

    def predictions(
        self, outputs: Sequence[Array], sizes: Sequence[tuple[int, int]]
    ) -> list[dict[str, Any]]:
        """Coordinates are rounded to 2 digits, as in COCO's own result files, scores to 5."""
        placements = [placed(size, self.preprocess) for size in sizes]
        found = decoders.decode(outputs, self.output, self.classes, placements)
        if self.masks and found[0].masks is None:
            raise decoders.wrong(outputs, "masks [N, 1, height, width] were expected too")
        return [self._prediction(*pair) for pair in zip(found, placements, strict=True)]

    def _prediction(self, found: Detections, place: Placement) -> dict[str, Any]:
        corner, end = found.boxes[:, :2], found.boxes[:, 2:]
        prediction: dict[str, Any] = {
            "boxes": np.concatenate([corner, end - corner], axis=1).round(2).tolist(),
            "scores": found.scores.round(5).tolist(),
            "classes": found.classes.tolist(),
        }
        if found.broken:
            prediction["broken"] = found.broken
        if self.masks and found.masks is not None:
            prediction["masks"] = [_encoded(place.bilinear(mask) > 0.5) for mask in found.masks]
        return prediction

    def broken(self, prediction: Mapping[str, Any]) -> float:
        return float(prediction.get("broken", 0))

    def table(self, predictions: Sequence[Any], truths: Sequence[Any]) -> Matches:
        """Matched by pycocotools, which is what everybody's figures come from.

        Raises Unavailable where it is not installed, StageError "bad-data" where no image has an
        object to be found, or masks are missing.
        """
        if self.masks and not all("masks" in truth for truth in truths):
            raise StageError("bad-data", "some labelled objects have no mask (segmentation)")
        truth = self._coco(truths, truths)
        found = self._coco(predictions, truths)
        with redirect_stdout(StringIO()):  # it reports its progress
            matching = _pycocotools("cocoeval").COCOeval(
                truth, found, "segm" if self.masks else "bbox"
            )
            matching.params.areaRng = [[0, 1e10]]  # objects of all sizes
            matching.evaluate()
        matched = [each for each in matching.evalImgs if each is not None]
        objects = np.zeros((len(truths), self.classes), np.int64)
        for each in matched:
            here = each["image_id"], each["category_id"]
            objects[here] = np.count_nonzero(np.equal(each["gtIgnore"], 0))
        if not objects.any():
            raise StageError("bad-data", f"none of the {len(truths)} images has a labelled object")
        counts = [len(each["dtScores"]) for each in matched]
        classes = np.repeat([each["category_id"] for each in matched], counts)
        scores = np.concatenate([each["dtScores"] for each in matched])
        order = np.lexsort((-scores, classes))  # stable
        ignored = np.concatenate([each["dtIgnore"] for each in matched], axis=1)[:, order] != 0
        hit = np.concatenate([each["dtMatches"] for each in matched], axis=1)[:, order] != 0
        threshold, box = np.nonzero(hit | ignored)
        return Matches(
            np.repeat([each["image_id"] for each in matched], counts)[order],
            classes[order],
            threshold,
            box,
            ~ignored[threshold, box],
            objects,
        )

    def score(self, table: Matches, weights: NDArray[np.int64] | None = None) -> dict[str, float]:
        """As `COCOeval.accumulate` and `summarize` do it: the mean over IoU thresholds, classes and
        recalls of the highest precision at that recall or a higher one. Classes that have no object
        in the weighted images are left out; 0 where that leaves none."""
        if weights is None:
            weights = np.ones(len(table.objects), np.int64)
        objects = weights @ table.objects
        weight = weights[table.image]
        # Precision is highest just after a hit, so those are the only places to look at.
        curve = table.threshold * self.classes + table.classes[table.box]
        hits = _running(weight[table.box] * table.hit, curve)
        ignored = _running(weight[table.box] * ~table.hit, curve)
        counted = _running(weight, table.classes)[table.box] - ignored
        precision = hits / (counted + np.spacing(1))
        recall = hits / np.maximum(objects, 1)[table.classes[table.box]]
        # The last of COCO's recalls that is reached there.
        reached = np.searchsorted(RECALLS, recall, side="right") - 1
        best = np.zeros((THRESHOLDS, self.classes, len(RECALLS)))
        np.maximum.at(best.reshape(-1), curve * len(RECALLS) + reached, precision)
        best = np.maximum.accumulate(best[:, objects > 0, ::-1], axis=2)
        if not best.size:
            return dict.fromkeys(self.metrics, 0.0)
        return {"mAP": 100 * float(best.mean()), "mAP50": 100 * float(best[0].mean())}

    def agreement(self, found: Sequence[Any], wanted: Sequence[Any]) -> float:
        """The share of the boxes that `wanted` is sure of (score at least 0.3) that `found` has
        too: of the same class, with a score of at least 0.2 and an IoU of at least 0.5, each used
        once. Where `wanted` is sure of none, 100 if `found` is sure of none either, else 0."""
        sure = sum(_at_least(SURE, each).size for each in wanted)
        if not sure:
            return 0.0 if any(_at_least(SURE, each).size for each in found) else 100.0
        pairs = zip(found, wanted, strict=True)
        return 100 * sum(_found_again(have, want) for have, want in pairs) / sure

    def _coco(self, each_image: Sequence[Any], truths: Sequence[Any]) -> Any:
        """Predictions or truths as pycocotools wants them. Ids of images and classes are their
        indices; those of boxes begin at 1, for 0 means "not matched" there."""
        boxes: list[dict[str, Any]] = []
        for image, this in enumerate(each_image):
            for i, (box, class_) in enumerate(zip(this["boxes"], this["classes"], strict=True)):
                entry = {"id": len(boxes) + 1, "image_id": image, "category_id": class_}
                entry |= {"bbox": box, "area": box[2] * box[3], "iscrowd": 0}
                if "crowd" in this:
                    entry |= {"area": this["areas"][i], "iscrowd": this["crowd"][i]}
                if "scores" in this:
                    entry["score"] = this["scores"][i]
                if self.masks:
                    entry["segmentation"] = this["masks"][i]
                boxes.append(entry)
        sizes = [truth["size"] for truth in truths]
        coco = _pycocotools("coco").COCO()
        coco.dataset = {
            "images": [{"id": i, "width": w, "height": h} for i, (w, h) in enumerate(sizes)],
            "categories": [{"id": i} for i in range(self.classes)],
            "annotations": boxes,
        }
        with redirect_stdout(StringIO()):
            coco.createIndex()
        return coco


def _running(values: Ints, groups: Ints) -> Ints:
    """The cumulative sum within each group; equal groups stand together, in rising order."""
    sums = np.cumsum(values)
    first = np.searchsorted(groups, groups)
    return sums - sums[first] + values[first]


def _at_least(score: float, prediction: Mapping[str, Any]) -> Ints:
    """Indices of the boxes with at least that score."""
    return np.flatnonzero(np.asarray(prediction["scores"], np.float64) >= score)


def _found_again(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> int:
    """How many of the boxes that `wanted` is sure of are in `found`, the best scores first."""
    have, want = _at_least(ALMOST_SURE, found), _at_least(SURE, wanted)
    if not have.size or not want.size:
        return 0
    ious = decoders.iou(_corners(wanted)[want], _corners(found)[have])
    same = np.asarray(wanted["classes"])[want][:, None] == np.asarray(found["classes"])[have]
    ious = np.where(same, ious, 0.0)
    again = 0
    for row in range(len(want)):
        nearest = int(ious[row].argmax())
        if ious[row, nearest] >= SAME_PLACE:
            again += 1
            ious[:, nearest] = 0
    return again


def _corners(prediction: Mapping[str, Any]) -> NDArray[np.float64]:
    boxes = np.asarray(prediction["boxes"], np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _encoded(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask [height, width] as COCO's run lengths, in a form that JSON takes."""
    runs = _pycocotools("mask").encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")}


def _pycocotools(module: str) -> Any:
    """One of its modules, imported only where detectors are evaluated."""
    try:
        return import_module(f"pycocotools.{module}")
    except ImportError as missing:
        raise Unavailable(
            "the accuracy of a detector needs pycocotools: pip install 'frontier-bench[coco]'"
        ) from missing
