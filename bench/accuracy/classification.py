"""Classification: top-1 and top-5."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bench.contracts import Array
    from bench.records import Output

#: What is wrong with 1,001 outputs where nobody said what the odd one is.
BACKGROUND = (
    "the network has 1,001 outputs, so ImageNet's 1,000 classes and a background: say "
    "label_offset = 1 where it comes first, label_offset = 0 where last"
)
#: Classes kept of each image, the most probable first.
KEPT = 5


class ClassificationScorer:
    """A prediction is the five most probable classes, none where the scores are not finite (minus
    infinity alone is, as the logarithm of a probability); a truth is the index of the right one.
    `classes` is how many there are, 0 where that is not known."""

    metrics: tuple[str, ...] = ("top1", "top5")

    def __init__(self, classes: int, output: Output) -> None:
        self._classes = classes
        self._offset = output.label_offset
        self._assumed = output.offset_assumed

    def predictions(
        self, outputs: Sequence[Array], sizes: Sequence[tuple[int, int]]
    ) -> list[list[int]]:
        scores = outputs[0]
        if scores.ndim > 2 and scores.size == scores.shape[0] * max(scores.shape[1:]):
            scores = scores.reshape(scores.shape[0], -1)  # (batch, classes, 1, 1)
        if scores.ndim != 2 or len(scores) < len(sizes):
            raise StageError(
                "wrong-output",
                f"the outputs have shape {scores.shape}, which are no scores a class",
            )
        if self._offset >= scores.shape[1]:
            left = f"label_offset = {self._offset} leaves none of {scores.shape[1]:,} outputs"
            raise StageError("wrong-output", f"{left}: it is the index of the first class, 0 or 1")
        if self._assumed and not self._classes and scores.shape[1] == 1001:
            raise StageError("wrong-output", f"{BACKGROUND} (in its sidecar file)")
        scores = scores[: len(sizes), self._offset :]
        if self._classes and scores.shape[1] != self._classes:
            raise StageError("wrong-output", self._other_number(scores.shape[1] + self._offset))
        exact = scores.astype(np.float64)
        order = np.argsort(-exact, axis=1, kind="stable")[:, :KEPT]
        # Not-a-number is not below anything, and a finite score has to be among them.
        sure = [bool((row < np.inf).all() and np.isfinite(row).any()) for row in exact]
        return [row.tolist() if fine else [] for row, fine in zip(order, sure, strict=True)]

    def broken(self, prediction: Sequence[int]) -> float:
        return 0.0 if prediction else 1.0

    def _other_number(self, found: int) -> str:
        hint = "give its data, and labels in the network's order"
        if found == self._classes + 1 and not self._offset:
            hint = "where the first is a background, say label_offset = 1 in its sidecar file"
        return f"the network has {found:,} outputs for {self._classes:,} classes: {hint}"

    def table(self, predictions: Sequence[Any], truths: Sequence[Any]) -> NDArray[np.bool_]:
        """(images, 2): whether the first is right, whether one of the five is."""
        right = [
            (found[:1] == [truth], truth in found)
            for found, truth in zip(predictions, truths, strict=True)
        ]
        return np.asarray(right, bool).reshape(-1, 2)

    def score(
        self, table: NDArray[np.bool_], weights: NDArray[np.int64] | None = None
    ) -> dict[str, float]:
        top1, top5 = 100 * np.average(table, axis=0, weights=weights)
        return {"top1": float(top1), "top5": float(top5)}

    def agreement(self, found: Sequence[Any], wanted: Sequence[Any]) -> float:
        """The share of images on which both have the same first class; two of none do not."""
        same = [a[:1] == b[:1] != [] for a, b in zip(found, wanted, strict=True)]
        return float(100 * sum(same) / len(same))
