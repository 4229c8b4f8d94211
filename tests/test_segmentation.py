"""Segmentation: maps come back to the image, and the figures are those of a plain count."""

from __future__ import annotations

import base64
import json
import os
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.accuracy.segmentation import NOTHING, SegmentationScorer
from bench.errors import StageError
from bench.preprocess import to_input
from bench.records import Output, Preprocess
from tests.builders import refused

SHARED = Path(
    os.environ.get("BENCH_SHARED_DATA", Path(__file__).parent.parent.parent / "shared" / "data")
)
SQUASHED = Preprocess(48, 64, None, "nearest", "L", (0.0,), (1.0,), scale=1.0)
WAYS = [replace(SQUASHED, letterbox="top-left"), replace(SQUASHED, letterbox="center"), SQUASHED]
SEEDS = st.integers(0, 10**6)
CLASSES = 5


def scorer(how: Preprocess = SQUASHED, decoder: Any = "class-map", **more: Any) -> Any:
    return SegmentationScorer(CLASSES, how, Output(decoder, **more))


def classes(size: tuple[int, int], seed: int = 0, block: int = 1) -> Any:
    """A map [height, width] of classes in squares of `block` pixels."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, CLASSES, (-(-size[1] // block), -(-size[0] // block)))
    return small.repeat(block, axis=0).repeat(block, axis=1)[: size[1], : size[0]]


def said(found: Any) -> Any:
    """The map that a prediction holds."""
    pixels = zlib.decompress(base64.b64decode(found["zlib"]))
    return np.frombuffer(pixels, np.uint8).reshape(found["shape"])


def predicted(maps: Any) -> list[Any]:
    """Predictions that say exactly these maps, one image each."""
    found = []
    for each in maps:
        height, width = each.shape
        same = replace(SQUASHED, height=height, width=width)
        found += scorer(same).predictions([each[None]], [(width, height)])
    return found


# Predictions


@given(st.integers(1, 40), st.integers(1, 40), SEEDS)
def test_a_map_of_the_images_own_size_is_kept(width: int, height: int, seed: int) -> None:
    wanted = classes((width, height), seed)
    (found,) = predicted([wanted])
    assert json.loads(json.dumps(found)) == found
    assert found["shape"] == [height, width]
    np.testing.assert_array_equal(said(found), wanted)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("size", [(128, 96), (64, 48), (32, 48), (100, 30)])
@pytest.mark.parametrize("decoder", ["class-map", "class-scores"])
def test_a_map_comes_back_to_the_image(
    decoder: str, size: tuple[int, int], how: Preprocess
) -> None:
    """A network that gives back what it sees says the image's own classes, but for their edges."""
    wanted = classes(size, block=10)
    picture = Image.fromarray(wanted.astype(np.uint8))
    seen = to_input(picture, replace(how, pad=CLASSES - 1)).astype(np.int64)
    if decoder == "class-scores":
        seen = np.stack([seen[0] == i for i in range(CLASSES)])[None].astype(np.float32)
    (found,) = scorer(how, decoder).predictions([seen], [size])
    assert said(found).shape == wanted.shape
    inside = np.zeros_like(wanted, bool)
    for shift in range(3, 7):  # away from the edges of the squares
        inside[shift::10, 3::10] = inside[shift::10, 6::10] = True
    assert np.mean((said(found) == wanted)[inside]) > 0.98


def test_a_coarse_map_covers_the_whole_input() -> None:
    (found,) = scorer().predictions([np.array([[[0, 1], [2, 3]]])], [(10, 6)])
    assert said(found)[:, [0, 4, 5, 9]].tolist() == [[0, 0, 1, 1]] * 3 + [[2, 2, 3, 3]] * 3


def test_what_a_crop_cut_off_is_what_lies_next_to_it() -> None:
    cropped = replace(SQUASHED, height=20, width=20, shorter_side=20)
    seen = np.zeros((1, 20, 20), np.int64)
    seen[:, :, 0], seen[:, :, -1] = 1, 2
    (found,) = scorer(cropped).predictions([seen], [(40, 20)])
    assert said(found)[7].tolist() == [1] * 11 + [0] * 18 + [2] * 11


@pytest.mark.parametrize("channels_last", [False, True])
def test_scores_are_resized_before_the_best_is_chosen(channels_last: bool) -> None:
    """Between a pixel of class 0 and one of class 1, class 2 may be the likeliest."""
    scores = np.zeros((1, CLASSES, 1, 2), np.float32)
    scores[0, 0, 0], scores[0, 1, 0], scores[0, 2, 0] = [1, 0], [0, 1], [0.7, 0.7]
    if channels_last:
        scores = scores.transpose(0, 2, 3, 1)
    one = replace(SQUASHED, height=1, width=2)
    (found,) = scorer(one, "class-scores").predictions([scores], [(8, 1)])
    assert said(found).tolist() == [[0, 0, 0, 2, 2, 1, 1, 1]]


def test_pixels_whose_scores_are_not_finite_have_no_class() -> None:
    scores = np.zeros((2, CLASSES, 2, 2), np.float32)
    scores[0, 1, 0, 0], scores[0, 3, 1, 1] = np.nan, np.inf
    scores[1, 2] = 1
    how = scorer(replace(SQUASHED, height=2, width=2), "class-scores")
    found = how.predictions([scores], [(2, 2)] * 2)
    assert said(found[0]).tolist() == [[NOTHING, 0], [0, NOTHING]]
    assert [how.broken(each) for each in found] == [0.5, 0]
    truths = [{"mask": np.zeros((2, 2), np.uint8)}]
    assert how.score(how.table(found[:1], truths))["pixel accuracy"] == 50


def test_a_class_before_the_first_is_nothing() -> None:
    (found,) = scorer(label_offset=1).predictions([np.arange(6).reshape(1, 2, 3)], [(3, 2)])
    assert said(found).tolist() == [[NOTHING, 0, 1], [2, 3, 4]]


def test_a_batch_that_was_filled_up() -> None:
    outputs = [classes((64, 48))[None, None].repeat(4, axis=0)]
    assert len(scorer().predictions(outputs, [(64, 48), (32, 24)])) == 2


WRONG: list[tuple[str, Any, str]] = [
    ("class-map", np.zeros((1, 4, 4), np.float32), "integers [batch, height, width]"),
    ("class-map", np.zeros((1, 5, 4, 4), np.int64), "int64[1, 5, 4, 4]"),
    ("class-map", np.full((1, 4, 4), 5), "class 5"),
    ("class-map", np.full((1, 4, 4), -1), "class -1"),
    ("class-map", np.zeros((0, 4, 4), np.int64), "a batch of 1"),
    ("class-scores", np.zeros((1, 21, 4, 4), np.float32), "[batch, 5, height, width]"),
    ("class-scores", np.zeros((1, 5, 4), np.float32), "[batch, 5, height, width]"),
]


@pytest.mark.parametrize(("decoder", "output", "words"), WRONG)
def test_other_outputs_are_refused(decoder: str, output: Any, words: str) -> None:
    with refused(StageError, words):
        scorer(decoder=decoder).predictions([output], [(64, 48)])


def test_more_classes_than_a_mask_can_have_are_refused() -> None:
    with refused(StageError, 300, 255):
        SegmentationScorer(300, SQUASHED, Output("class-map"))


# Scores


def plain(truths: Any, maps: Any) -> dict[str, float]:
    """Both figures by the book, class by class."""
    truth = np.concatenate([each["mask"].ravel() for each in truths]).astype(int)
    found = np.concatenate([each.ravel() for each in maps])[truth != NOTHING]
    truth = truth[truth != NOTHING]
    ious = [
        np.sum((truth == i) & (found == i)) / np.sum((truth == i) | (found == i))
        for i in sorted(set(truth.tolist()))
    ]
    return {"mIoU": 100 * np.mean(ious), "pixel accuracy": 100 * np.mean(truth == found)}


def scene(seed: int, images: int = 4) -> tuple[list[Any], list[Any]]:
    """Truths, and maps that are right at half of the pixels; class 4 is in no truth."""
    rng = np.random.default_rng(seed)
    truths, maps = [], []
    for i in range(images):
        size = int(rng.integers(1, 12)), int(rng.integers(1, 12))
        right, wrong = classes(size, seed + i) % 4, classes(size, seed + i + images)
        maps.append(np.where(rng.random(right.shape) < 0.5, right, wrong))
        truth = np.where(rng.random(right.shape) < 0.1, NOTHING, right).astype(np.uint8)
        truth[0, 0] = 0  # at least one pixel counts
        truths.append({"mask": truth})
    return truths, maps


@settings(max_examples=50)
@given(SEEDS)
def test_the_figures_are_those_of_a_plain_count(seed: int) -> None:
    truths, maps = scene(seed)
    how = scorer()
    figures = how.score(how.table(predicted(maps), truths))
    assert list(figures) == list(how.metrics)
    assert figures == pytest.approx(plain(truths, maps), abs=1e-9)


@settings(max_examples=50)
@given(SEEDS)
def test_a_weight_is_how_often_an_image_is_there(seed: int) -> None:
    truths, maps = scene(seed)
    how, weights = scorer(), np.random.default_rng(seed).integers(0, 4, len(truths))
    weights[0] = 1
    table = how.table(predicted(maps), truths)
    again = np.repeat(np.arange(len(truths)), weights)
    repeated = plain([truths[i] for i in again], [maps[i] for i in again])
    assert how.score(table, weights) == pytest.approx(repeated, abs=1e-9)
    assert how.score(table, 2 * weights) == pytest.approx(how.score(table, weights), abs=1e-9)
    assert how.score(table, np.ones_like(weights)) == how.score(table)
    assert how.score(table, 0 * weights) == {"mIoU": 0.0, "pixel accuracy": 0.0}


def test_agreement_is_the_share_of_equal_pixels() -> None:
    a, b = np.zeros((2, 5), int), np.zeros((2, 5), int)
    b[0, :3] = 1
    found, wanted = predicted([a, a]), predicted([b, a])
    assert scorer().agreement(found, wanted) == 85
    assert scorer().agreement(wanted, wanted) == 100


@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_mask_may_be_a_file(mode: str, tmp_path: Path) -> None:
    truths, maps = scene(1, images=1)
    path = tmp_path / "mask.png"
    mask = Image.fromarray(truths[0]["mask"])
    if mode == "P":
        mask.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
    assert mask.mode == mode
    mask.save(path)
    how = scorer()
    table = how.table(predicted(maps), [{"mask": str(path)}])
    np.testing.assert_array_equal(table, how.table(predicted(maps), truths))


def test_a_truth_that_is_not_the_images_is_refused(tmp_path: Path) -> None:
    predictions, how = predicted([np.zeros((4, 6), int)]), scorer()
    with refused(StageError, "6x4", "4x6"):
        how.table(predictions, [{"mask": np.zeros((6, 4), np.uint8)}])
    with refused(StageError, "class 7", 4):
        how.table(predictions, [{"mask": np.full((4, 6), 7, np.uint8)}])
    with refused(StageError, "no pixel"):
        how.table(predictions, [{"mask": np.full((4, 6), NOTHING, np.uint8)}])
    Image.new("RGB", (6, 4)).save(tmp_path / "colour.png")
    with refused(StageError, "colour.png", "RGB"):
        how.table(predictions, [{"mask": str(tmp_path / "colour.png")}])


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "voc").is_dir(), reason="no real masks here (shared/data)")
def test_deeplab_on_voc() -> None:
    """Against a plain evaluation with PIL, over the classes in the truth (over all 21: 43.7)."""
    import onnxruntime

    square = replace(SQUASHED, height=513, width=513, letterbox="top-left", pad=127.5)
    square = replace(square, mode="RGB", mean=(127.5,) * 3, std=(127.5,) * 3)
    square = replace(square, interpolation="bilinear")
    how = SegmentationScorer(21, square, Output("class-map"))
    one_thread = onnxruntime.SessionOptions()
    one_thread.intra_op_num_threads = 1  # more would fight for the core where there is only one
    session = onnxruntime.InferenceSession(
        SHARED / "models" / "deeplabv3_mnv2_dm05.onnx", one_thread
    )
    predictions, truths, maps = [], [], []
    for path in sorted((SHARED / "voc" / "images").iterdir()):
        with Image.open(path) as image:
            outputs = session.run(None, {"input": to_input(image.convert("RGB"), square)[None]})
            size = image.size
        predictions += how.predictions(outputs, [size])
        scale = min(513 / size[0], 513 / size[1])
        seen = outputs[0][0, : int(size[1] * scale), : int(size[0] * scale)]
        whole = Image.fromarray(seen.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
        maps.append(np.asarray(whole))
        mask = SHARED / "voc" / "masks" / f"{path.stem}.png"
        truths.append({"mask": str(mask), "array": np.asarray(Image.open(mask))})
    figures = how.score(how.table(predictions, truths))
    assert figures == pytest.approx(plain([{"mask": t["array"]} for t in truths], maps), abs=0.05)
    assert figures["mIoU"] == pytest.approx(50.95, abs=0.3)
    assert how.agreement(predictions, predictions) == 100
