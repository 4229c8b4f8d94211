"""How alike two computations of one network are, also where they differ in how many boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.agreement import compare
from bench.errors import StageError
from bench.records import Model, Output, TensorSpec

RNG = np.random.default_rng(0)


def model(decoder: Any, classes: int = 3, offset: int = 1) -> Model:
    labels = tuple(f"class {i}" for i in range(classes))
    inputs = (TensorSpec("input", (1, 3, 8, 8), "float32"),)
    how = Output(decoder, label_offset=offset)
    return Model("net", "test", "random", "detection", inputs, labels=labels, output=how)


def boxes(n: int, seed: int = 0) -> list[Any]:
    """Boxes that do not overlap, one a cell of a grid, best first."""
    rng = np.random.default_rng(seed)
    cells = np.stack([np.arange(n) % 10, np.arange(n) // 10], axis=1) * 50.0
    corners = cells + rng.uniform(0, 5, (n, 2))
    found = np.concatenate([corners, corners + rng.uniform(20, 40, (n, 2))], axis=1)
    scores = np.sort(rng.uniform(0.1, 1, n))[::-1]
    return [found.astype("f"), rng.integers(1, 4, n), scores.astype("f")]


def test_the_same_boxes_in_another_order_are_the_same() -> None:
    wanted = boxes(20)
    order = RNG.permutation(20)
    alike = compare(wanted, [each[order] for each in wanted], model("boxes"))
    assert alike.matched
    assert alike.cosine == pytest.approx(1, abs=1e-6)
    assert alike.max_rel == 0


def test_a_lost_box_costs_as_much_as_it_was_sure_of_itself() -> None:
    wanted = boxes(20)
    without_last = compare(wanted, [each[:-1] for each in wanted], model("boxes")).cosine
    without_first = compare(wanted, [each[1:] for each in wanted], model("boxes")).cosine
    assert 0.99 < without_last < 1
    assert 0.9 < without_first < without_last


def test_moved_boxes_other_classes_and_other_scores_are_noticed() -> None:
    where, what, how_sure = boxes(20)
    moved = compare([where, what, how_sure], [where + 5, what, how_sure], model("boxes"))
    assert moved.cosine < 0.8
    other = compare([where, what, how_sure], [where, what % 3 + 1, how_sure], model("boxes"))
    assert other.cosine == 0
    unsure = compare([where, what, how_sure], [where, what, how_sure**4], model("boxes"))
    assert unsure.cosine < 0.95
    assert unsure.max_rel == pytest.approx(float((how_sure - how_sure**4).max() / how_sure.max()))


def test_a_box_is_matched_once() -> None:
    where, what, how_sure = boxes(4)
    twice = [np.repeat(each[:2], 2, axis=0) for each in (where, what, how_sure)]
    assert compare([where[:2], what[:2], how_sure[:2]], twice, model("boxes")).cosine < 0.75


def test_masks_count() -> None:
    wanted = boxes(6)
    masks = RNG.uniform(0, 1, (6, 1, 8, 8)).astype("f")
    assert compare([*wanted, masks], [*wanted, masks], model("boxes")).cosine == pytest.approx(1)
    assert compare([*wanted, masks], [*wanted, 1 - masks], model("boxes")).cosine < 0.8


def test_nothing_found_by_both_is_agreement() -> None:
    nothing = [each[:0] for each in boxes(3)]
    assert compare(nothing, nothing, model("boxes")).cosine == 1
    assert compare(nothing, boxes(3), model("boxes")).cosine == 0
    assert compare(boxes(3), nothing, model("boxes")).cosine == 0


def test_scores_of_a_grid_are_not_hidden_by_its_boxes() -> None:
    grid = np.concatenate(
        [RNG.uniform(0, 640, (1, 4, 50)), RNG.uniform(0, 1, (1, 3, 50))], axis=1
    ).astype("f")
    other = grid.copy()
    other[:, 4:] = 1 - other[:, 4:]
    plain = model("yolo", offset=0)
    assert compare([grid], [grid], plain).cosine == pytest.approx(1)
    assert compare([grid], [other], plain).cosine < 0.8
    rows = [each.transpose(0, 2, 1) for each in (grid, other)]
    assert compare([rows[0]], [rows[1]], plain).cosine < 0.8


def test_other_shapes_and_nan_are_no_agreement() -> None:
    scores = RNG.standard_normal((1, 10)).astype("f")
    plain = model("scores")
    with pytest.raises(StageError, match="shapes"):
        compare([scores], [scores[:, :5]], plain)
    broken = scores.copy()
    broken[0, 3] = np.nan
    assert not compare([scores, scores], [scores, broken], plain).cosine >= 0.5
    assert not compare([scores, scores], [broken, scores], plain).cosine >= 0.5
