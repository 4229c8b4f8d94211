"""Detection: boxes come back to where they were, and the figures are pycocotools' own."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.accuracy import decoders
from bench.accuracy.detection import DetectionScorer
from bench.errors import StageError, Unavailable
from bench.geometry import Placement, placed
from bench.preprocess import to_input
from bench.records import Output, Preprocess
from tests.builders import refused

SHARED = Path(
    os.environ.get("BENCH_SHARED_DATA", Path(__file__).parent.parent.parent / "shared" / "data")
)
SQUASHED = Preprocess(96, 64, None, "bilinear", "BGR", (0.0,) * 3, (1.0,) * 3, scale=1.0)
WAYS = [
    replace(SQUASHED, letterbox="top-left"),
    replace(SQUASHED, letterbox="center"),
    SQUASHED,
    replace(SQUASHED, shorter_side=96),
    replace(SQUASHED, shorter_side=40),
]
SIZE = st.tuples(st.integers(1, 300), st.integers(1, 300))
SEEDS = st.integers(0, 10**6)


def boxes_in(size: tuple[int, int], n: int, rng: np.random.Generator) -> Any:
    """`n` boxes (x1, y1, x2, y2) in an image, none of them without an area."""
    ends = np.sort(rng.uniform(0, 0.9, (n, 2, 2)), axis=1)
    ends[:, 1] += 0.1
    return (ends * np.array(size)).reshape(n, 4)


def forth(boxes: Any, place: Placement) -> Any:
    """From pixels of the image to those of the input."""
    scale = np.array([place.scale_x, place.scale_y] * 2)
    return boxes * scale + np.array([place.left, place.top] * 2)


def centred(boxes: Any) -> Any:
    """x1, y1, x2, y2 as centre and size."""
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


# Placement


@given(SIZE, st.sampled_from(WAYS), SEEDS)
def test_a_box_comes_back_to_where_it_was(
    size: tuple[int, int], how: Preprocess, seed: int
) -> None:
    boxes = boxes_in(size, 5, np.random.default_rng(seed))
    place = placed(size, how)
    np.testing.assert_allclose(place.to_image(forth(boxes, place)), boxes, atol=1e-9)


@given(SIZE, st.sampled_from(WAYS))
def test_a_box_around_everything_is_the_whole_image(size: tuple[int, int], how: Preprocess) -> None:
    everything = np.array([[-1e6, -1e6, 1e6, 1e6]])
    assert placed(size, how).to_image(everything).tolist() == [[0, 0, *size]]


@given(SIZE, st.sampled_from(WAYS[:2]))
def test_a_letterbox_holds_the_whole_image(size: tuple[int, int], how: Preprocess) -> None:
    place = placed(size, how)
    for start, length, canvas in zip(
        (place.left, place.top), place.resized, place.canvas, strict=True
    ):
        assert start >= 0
        assert length >= 1
        assert start + length <= canvas
    touching = place.canvas[0] - place.resized[0], place.canvas[1] - place.resized[1]
    assert min(touching) <= 1


def test_placements_by_hand() -> None:
    how = replace(SQUASHED, height=416, width=416)
    top_left = placed((640, 426), replace(how, letterbox="top-left"))
    assert (top_left.resized, top_left.left, top_left.top) == ((416, 276), 0, 0)
    assert top_left.scale_x == top_left.scale_y == 0.65
    center = placed((640, 426), replace(how, letterbox="center"))
    assert (center.resized, center.left, center.top) == ((416, 276), 0, 70)
    squashed = placed((640, 426), how)
    assert (squashed.scale_x, squashed.scale_y) == (0.65, 416 / 426)
    cropped = placed((640, 426), replace(how, shorter_side=426))
    assert (cropped.resized, cropped.left, cropped.top) == ((640, 426), -112, -5)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("size", [(150, 120), (120, 150), (40, 90)])
def test_what_was_seen_lies_where_the_placement_says(
    size: tuple[int, int], how: Preprocess
) -> None:
    """Each pixel of a ramp, read back from the input, has its own colour, but for what a crop cut
    off, which has the nearest."""
    ramp = (np.add.outer(np.arange(size[1]), np.arange(size[0])) // 2).astype(np.uint8)
    place = placed(size, how)
    seen = place.bilinear(to_input(Image.fromarray(ramp), replace(how, mode="BGR"))[0])
    corners = place.to_image(np.array([[0, 0, *place.canvas]], float))[0].round().astype(int)
    inside = (slice(corners[1] + 3, corners[3] - 3), slice(corners[0] + 3, corners[2] - 3))
    assert seen.shape == ramp.shape
    np.testing.assert_allclose(seen[inside], ramp[inside], atol=2.5)
    assert ramp.min() <= seen.min() <= seen.max() <= ramp.max()


# Decoders


def read(
    outputs: Any, decoder: Any, classes: int, sizes: Any = ((64, 96),), **more: Any
) -> list[decoders.Detections]:
    how = Output(decoder, **{"score_threshold": 0.05, **more})
    return decoders.decode(outputs, how, classes, [placed(size, SQUASHED) for size in sizes])


def rows(seed: int, n: int, classes: int) -> tuple[Any, Any]:
    """Boxes in an input of 64 x 96 and their scores, one class each."""
    rng = np.random.default_rng(seed)
    scores = np.zeros((n, classes))
    scores[np.arange(n), rng.integers(0, classes, n)] = np.linspace(0.9, 0.1, n)
    return boxes_in((64, 96), n, rng), scores


def test_yolox_by_hand() -> None:
    """Cell (column 3, row 2) of the second grid: its centre is at (3 + dx, 2 + dy) strides."""
    output = np.zeros((1, 12 * 8 + 6 * 4, 5 + 2), np.float32)
    output[0, 12 * 8 + 2 * 4 + 3] = [0.5, 0.25, np.log(2), np.log(0.5), 0.8, 0.1, 0.5]
    (found,) = read([output], "yolox", 2, strides=(8, 16))
    np.testing.assert_allclose(found.boxes, [[40, 32, 64, 40]] * 2)  # 72 is outside
    np.testing.assert_allclose(found.scores, [0.4, 0.08])
    assert found.classes.tolist() == [1, 0]


@given(SEEDS)
@settings(max_examples=20)
def test_all_grids_say_the_same(seed: int) -> None:
    boxes, scores = rows(seed, 20, 3)
    plain = np.concatenate([centred(boxes), scores], axis=1)[None]
    sure = np.concatenate([centred(boxes), np.full((20, 1), 0.5), 2 * scores], axis=1)[None]
    ways = [plain, plain.transpose(0, 2, 1), sure, sure.transpose(0, 2, 1)]
    found = [read([way], "yolo", 3, nms_iou=1.0)[0] for way in ways]
    for each in found:
        np.testing.assert_allclose(each.boxes, boxes, atol=1e-9)
        np.testing.assert_allclose(each.scores, scores.max(axis=1))
        assert each.classes.tolist() == scores.argmax(axis=1).tolist()


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("no_object", [False, True])
def test_detr(no_object: bool, swapped: bool) -> None:
    boxes, scores = rows(0, 6, 5)
    if no_object:
        logits = np.log(np.concatenate([scores, 1 - scores.sum(axis=1, keepdims=True)], 1) + 1e-9)
    else:
        logits = np.log((scores + 1e-9) / (1 - scores))
    outputs = [logits[None], centred(boxes)[None] / [64, 96, 64, 96]]
    (found,) = read(outputs[::-1] if swapped else outputs, "detr", 5)
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-6)
    np.testing.assert_allclose(found.scores, scores.max(axis=1), atol=1e-6)
    assert found.classes.tolist() == scores.argmax(axis=1).tolist()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1), (3, 2, 1, 0)])
def test_boxes_ready_to_be_used(order: tuple[int, ...]) -> None:
    boxes, scores = rows(1, 4, 3)
    labels = np.array([3, 0, 1, 2])  # 0 is the background
    masks = np.zeros((4, 1, 96, 64), np.float32)
    outputs: list[Any] = [boxes, labels, scores.max(axis=1), masks]
    (found,) = read([outputs[i] for i in order], "boxes", 3, label_offset=1)
    np.testing.assert_allclose(found.boxes, boxes[[0, 2, 3]])
    assert found.classes.tolist() == [2, 0, 1]
    assert found.masks is not None
    assert found.masks.shape == (3, 96, 64)


@pytest.mark.parametrize("n", [0, 4])
def test_there_may_be_four_boxes_or_none(n: int) -> None:
    (found,) = read([np.ones((n, 4)), np.ones(n, np.int64), np.ones(n)], "boxes", 3)
    assert len(found.boxes) == len(found.scores) == len(found.classes) == n


def test_a_ready_box_that_is_no_number_is_left_out() -> None:
    boxes, scores = np.ones((3, 4)), np.array([np.nan, 0.5, 0.4])
    boxes[1, 2] = np.inf
    (found,) = read([boxes, np.ones(3, np.int64), scores], "boxes", 3)
    assert found.scores.tolist() == [0.4]


def test_a_background_is_never_found() -> None:
    boxes, scores = rows(2, 5, 4)
    output = np.concatenate([centred(boxes), scores], axis=1)[None]
    (all_of_them,) = read([output], "yolo", 4, nms_iou=1.0)
    (found,) = read([output], "yolo", 3, nms_iou=1.0, label_offset=1)
    assert found.classes.tolist() == [c - 1 for c in all_of_them.classes if c]


def test_a_batch_that_was_filled_up() -> None:
    boxes, scores = rows(3, 5, 2)
    output = np.concatenate([centred(boxes), scores], axis=1)[None].repeat(4, axis=0)
    found = read([output], "yolo", 2, sizes=[(64, 96), (128, 96)])
    assert len(found) == 2
    np.testing.assert_allclose(found[0].boxes * [2, 1, 2, 1], found[1].boxes)


@pytest.mark.parametrize("decoder", ["yolo", "yolox"])
def test_what_a_broken_network_says_is_no_box(decoder: str) -> None:
    output = np.full((1, 16 * 10 + 6 * 4, 7), 0.9, np.float32)
    output[0, ::2, 2:4] = 1e4
    output[0, 1::4, 2] = np.nan
    output[0, 3::4, 4:] = np.nan
    (found,) = read([output], decoder, 2, strides=(6, 16))
    assert np.isfinite(found.boxes).all()
    assert np.isfinite(found.scores).all()


def test_boxes_that_are_not_finite_are_counted() -> None:
    boxes, scores = rows(4, 8, 3)
    output = np.concatenate([centred(boxes), scores], axis=1)[None].repeat(3, axis=0)
    output[1, 2, 5], output[1, 5, 1] = np.inf, np.nan
    output[2] = np.nan
    how = DetectionScorer(3, SQUASHED, Output("yolo", nms_iou=1.0))
    found = how.predictions([output], [(64, 96)] * 3)
    assert [how.broken(each) for each in found] == [0, 0.25, 1]
    assert [len(each["boxes"]) for each in found] == [8, 6, 0]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    ready = [boxes, np.ones(8, np.int64), np.where(np.arange(8) < 2, np.inf, 0.5)]
    (one,) = DetectionScorer(3, SQUASHED, Output("boxes")).predictions(ready, [(64, 96)])
    assert (len(one["boxes"]), how.broken(one)) == (6, 0.25)


WRONG: list[tuple[str, list[Any], str]] = [
    ("yolox", [np.zeros((1, 3549, 85))], "[batch, 126, 8]"),
    ("yolo", [np.zeros((1, 100, 85))], "[batch, boxes, 8] or [batch, 7, boxes]"),
    ("yolo", [np.zeros((100, 7))], "float64[100, 7]"),
    ("yolo", [np.zeros((0, 7, 20))], "a batch of 1"),
    ("detr", [np.zeros((1, 100, 92)), np.zeros((1, 100, 4))], "queries, 3 or 4"),
    ("detr", [np.zeros((1, 100, 4))], "queries, 3 or 4"),
    ("detr", [np.zeros((1, 100, 4)), np.zeros((1, 300, 4))], "queries, 3 or 4"),
    ("boxes", [np.zeros((5, 4)), np.zeros(5), np.zeros(5)], "integer labels"),
    ("boxes", [np.zeros((5, 4)), np.zeros(5, int), np.zeros(6)], "as many boxes"),
    ("boxes", [np.zeros((5, 4)), np.full(5, 7), np.zeros(5)], "label 7"),
]


@pytest.mark.parametrize(("decoder", "outputs", "words"), WRONG)
def test_other_outputs_are_refused(decoder: str, outputs: list[Any], words: str) -> None:
    with refused(StageError, words):
        read(outputs, decoder, 3)


@settings(max_examples=60)
@given(SEEDS, st.integers(0, 40), st.floats(0.05, 0.95), st.integers(1, 3))
def test_nms_keeps_the_best_and_no_overlapping_pair(
    seed: int, n: int, most: float, classes: int
) -> None:
    rng = np.random.default_rng(seed)
    boxes, labels = boxes_in((50, 50), n, rng), rng.integers(0, classes, n)
    scores = rng.integers(0, 5, n) / 5  # many ties
    kept = decoders.nms(boxes, scores, labels, most, n).tolist()
    overlaps = (decoders.iou(boxes, boxes) > most) & (labels[:, None] == labels)
    assert kept == sorted(kept, key=lambda i: (-scores[i], i))
    assert not any(overlaps[i, j] for i in kept for j in kept if i != j)
    for i in set(range(n)) - set(kept):
        better = [j for j in kept if (-scores[j], j) < (-scores[i], i)]
        assert any(overlaps[i, j] for j in better)
    assert decoders.nms(boxes, scores, labels, most, 3).tolist() == kept[:3]


# Scores


def scene(
    seed: int, *, images: int = 6, classes: int = 4, masks: bool = False
) -> tuple[list[Any], list[Any]]:
    """Truths, and predictions of which about half are near one."""
    rng = np.random.default_rng(seed)
    truths, predictions = [], []
    for _ in range(images):
        n, m = int(rng.integers(0, 6)), int(rng.integers(0, 12))
        boxes, labels = boxes_in((60, 50), n, rng), rng.integers(0, classes - 1, n)
        near = rng.integers(0, n, m // 2) if n else np.zeros(0, int)
        found = np.concatenate([boxes[near], boxes_in((60, 50), m - len(near), rng)])
        found = np.clip(found + rng.normal(0, 1.5, found.shape), 0, 60)
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        said = np.concatenate([labels[near], rng.integers(0, classes, m - len(near))])
        truth = {"size": [60, 50], **coco_boxes(boxes, labels, masks)}
        truth |= {"crowd": (rng.random(n) < 0.2).astype(int).tolist()}
        truth |= {"areas": [width * height for _, _, width, height in truth["boxes"]]}
        scores = -np.sort(-rng.uniform(0, 1, m))
        truths.append(truth)
        predictions.append(
            {"scores": scores.tolist(), **coco_boxes(found, said, masks, encode=True)}
        )
    return truths, predictions


def coco_boxes(boxes: Any, classes: Any, masks: bool, encode: bool = False) -> dict[str, Any]:
    """Boxes as COCO writes them, and each as a mask too."""
    from pycocotools import mask

    written: dict[str, Any] = {
        "boxes": np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist(),
        "classes": classes.tolist(),
    }
    if masks:
        polygons = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in boxes.tolist()]
        written["masks"] = polygons
        if encode:
            written["masks"] = [mask.frPyObjects(each, 50, 60)[0] for each in polygons]
    return written


def scorer(classes: int = 4, *, masks: bool = False) -> DetectionScorer:
    return DetectionScorer(classes, SQUASHED, Output("yolo"), masks=masks)


def official(truths: Any, predictions: Any, masks: bool = False, classes: int = 4) -> list[float]:
    """mAP and mAP50 as pycocotools' own accumulate and summarize give them."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def entries(each_image: Any) -> list[Any]:
        found = []
        for image, this in enumerate(each_image):
            for i, box in enumerate(this["boxes"]):
                entry = {"image_id": image + 1, "category_id": this["classes"][i] + 1, "bbox": box}
                if masks:
                    entry["segmentation"] = this["masks"][i]
                if "scores" in this:
                    entry["score"] = this["scores"][i]
                else:
                    entry |= {"iscrowd": this["crowd"][i], "area": this["areas"][i]}
                found.append({"id": len(found) + 1, **entry})
        return found

    truth = COCO()
    truth.dataset = {
        "images": [{"id": i + 1, "width": 60, "height": 50} for i in range(len(truths))],
        "categories": [{"id": i + 1} for i in range(classes)],
        "annotations": entries(truths),
    }
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(entries(predictions)), "segm" if masks else "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [100 * float(value) for value in evaluation.stats[:2]]


@pytest.mark.parametrize("masks", [False, True])
@settings(max_examples=25)
@given(seed=SEEDS)
def test_the_figures_are_pycocotools_own(seed: int, masks: bool) -> None:
    truths, predictions = scene(seed, masks=masks)
    if not any(0 in truth["crowd"] for truth in truths) or not any(
        each["scores"] for each in predictions
    ):
        return
    how = scorer(masks=masks)
    figures = how.score(how.table(predictions, truths))
    assert list(figures) == list(how.metrics)
    assert list(figures.values()) == pytest.approx(official(truths, predictions, masks), abs=1e-9)


@settings(max_examples=25)
@given(SEEDS)
def test_a_weight_is_how_often_an_image_is_there(seed: int) -> None:
    truths, predictions = scene(seed)
    truths[0] = scene(0)[0][0]  # at least one object
    how = scorer()
    weights = np.random.default_rng(seed).integers(0, 4, len(truths))
    weights[0] = 1
    again = np.repeat(np.arange(len(truths)), weights)
    table = how.table(predictions, truths)
    repeated = how.table([predictions[i] for i in again], [truths[i] for i in again])
    assert how.score(table, weights) == pytest.approx(how.score(repeated), abs=1e-9)
    assert how.score(table, 2 * weights) == pytest.approx(how.score(table, weights), abs=1e-9)
    assert how.score(table, np.ones_like(weights)) == how.score(table)
    assert all(0 <= value <= 100 for value in how.score(table, weights).values())
    assert how.score(table, 0 * weights) == {"mAP": 0.0, "mAP50": 0.0}


def test_what_is_found_exactly_is_100() -> None:
    truths, _ = scene(4)
    truths = [{**truth, "crowd": [0] * len(truth["boxes"])} for truth in truths]
    found = [{**truth, "scores": [0.5] * len(truth["boxes"])} for truth in truths]
    how = scorer()
    assert how.score(how.table(found, truths)) == pytest.approx({"mAP": 100, "mAP50": 100})
    assert how.agreement(found, found) == 100
    empty = [{"boxes": [], "scores": [], "classes": []} for _ in truths]
    assert how.score(how.table(empty, truths)) == {"mAP": 0, "mAP50": 0}
    assert how.agreement(empty, found) == how.agreement(found, empty) == 0
    assert how.agreement(empty, empty) == 100


def test_agreement_by_hand() -> None:
    box, elsewhere = [10, 10, 20, 20], [40, 10, 10, 10]
    wanted = {"boxes": [box, box, elsewhere], "scores": [0.9, 0.5, 0.1], "classes": [0, 1, 0]}

    def of(boxes: Any, scores: Any, classes: Any) -> float:
        found = {"boxes": boxes, "scores": scores, "classes": classes}
        return scorer().agreement([found], [wanted])

    assert of([box, box], [0.8, 0.2], [1, 0]) == 100
    assert of([box, box], [0.8, 0.19], [1, 0]) == 50
    assert of([box], [0.8], [2]) == 0
    assert of([[10, 10, 20, 41], box], [0.8, 0.8], [0, 1]) == 50
    # One box is not two.
    wanted = {"boxes": [box, box], "scores": [0.9, 0.5], "classes": [0, 0]}
    assert of([box], [0.8], [0]) == 50


def test_predictions_are_json_and_best_first() -> None:
    boxes, scores = rows(5, 20, 4)
    output = np.concatenate([centred(boxes), scores], axis=1)[None]
    (found,) = scorer().predictions([output], [(640, 480)])
    assert json.loads(json.dumps(found)) == found
    assert found["scores"] == sorted(found["scores"], reverse=True)
    assert all(x + w <= 640.01 and y + h <= 480.01 for x, y, w, h in found["boxes"])


def test_masks_come_back_to_the_image() -> None:
    from pycocotools import mask

    masks = np.zeros((1, 1, 96, 64), np.float32)
    masks[0, 0, 24:48, 16:32] = 1
    outputs: list[Any] = [np.ones((1, 4)), np.ones(1, np.int64), np.ones(1), masks]
    how = DetectionScorer(3, SQUASHED, Output("boxes"), masks=True)
    (found,) = how.predictions(outputs, [(128, 96)])
    assert json.loads(json.dumps(found)) == found
    wanted = np.zeros((96, 128), np.uint8)
    wanted[24:48, 32:64] = 1
    np.testing.assert_array_equal(mask.decode(found["masks"][0]), wanted)
    with refused(StageError, "masks"):
        how.predictions(outputs[:3], [(128, 96)])


def test_truths_that_say_nothing_are_refused() -> None:
    truths, predictions = scene(6)
    nothing: Any = {"size": [60, 50], "boxes": [], "classes": [], "crowd": [], "areas": []}
    with refused(StageError, "6 images", "object"):
        scorer().table(predictions, [nothing] * 6)
    with refused(StageError, "mask"):
        scorer(masks=True).table(predictions, truths)


def test_without_pycocotools_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    truths, predictions = scene(7)
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with refused(Unavailable, "pip install 'frontier-bench[coco]'"):
        scorer().table(predictions, truths)


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A child process talks to its parent through stdout."""
    scorer().table(*reversed(scene(8)))
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "coco").is_dir(), reason="no real images here (shared/data)")
def test_yolox_on_coco(monkeypatch: pytest.MonkeyPatch) -> None:
    """An independent evaluation of these files, that neither clipped boxes to the image nor kept
    only the best 100 of each, found 35.03 mAP and 52.82 mAP50."""
    import onnxruntime

    listed = json.loads((SHARED / "coco" / "instances_val2017.json").read_text())
    order = {id_: i for i, id_ in enumerate(sorted(each["id"] for each in listed["categories"]))}
    square = replace(SQUASHED, height=416, width=416, letterbox="top-left")
    how = DetectionScorer(80, square, Output("yolox"))
    one_thread = onnxruntime.SessionOptions()
    one_thread.intra_op_num_threads = 1  # more would fight for the core where there is only one
    session = onnxruntime.InferenceSession(SHARED / "models" / "yolox_nano.onnx", one_thread)
    outputs, sizes, truths = [], [], []
    for each in listed["images"]:
        with Image.open(SHARED / "coco" / "val2017" / each["file_name"]) as image:
            outputs.append(session.run(None, {"images": to_input(image, square)[None]}))
            sizes.append(image.size)
        objects = [box for box in listed["annotations"] if box["image_id"] == each["id"]]
        truths.append(
            {
                "size": [each["width"], each["height"]],
                "boxes": [box["bbox"] for box in objects],
                "classes": [order[box["category_id"]] for box in objects],
                "crowd": [box["iscrowd"] for box in objects],
                "areas": [box["area"] for box in objects],
            }
        )

    def figures() -> dict[str, float]:
        pairs = zip(outputs, sizes, strict=True)
        predictions = [how.predictions(output, [size])[0] for output, size in pairs]
        return how.score(how.table(predictions, truths))

    assert figures() == {
        "mAP": pytest.approx(34.98, abs=0.1),
        "mAP50": pytest.approx(52.5, abs=0.3),
    }

    def unclipped(self: Placement, boxes: Any) -> Any:
        return boxes / self.scale_x

    monkeypatch.setattr(decoders, "MOST", 10_000)
    monkeypatch.setattr(Placement, "to_image", unclipped)
    assert figures() == {
        "mAP": pytest.approx(35.03, abs=0.02),
        "mAP50": pytest.approx(52.82, abs=0.02),
    }
