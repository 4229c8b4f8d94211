"""The accuracy of an artifact: what its outputs mean, and how right they are.

A scorer, one a task, reads outputs into predictions (small, JSON, one an image, kept in the cache),
and scores predictions against the truth. Scoring takes a weight for each image, so that the same
code gives the figure, its interval by bootstrap, and the paired difference between two artifacts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from bench.contracts import Array


class Scorer(Protocol):
    """How accuracy is measured for one task. `metrics` names the figures, the headline first."""

    metrics: tuple[str, ...]

    def predictions(self, outputs: Sequence[Array], sizes: Sequence[tuple[int, int]]) -> list[Any]:
        """What the outputs of one batch say of each image, as JSON-able values.

        `sizes` are (width, height) of the original images; the batch may have more rows than
        there are sizes (it is filled up), and those are left out. Raises StageError
        "wrong-output" for outputs that are not what the model's `Output` says.
        """

    def broken(self, prediction: Any) -> float:
        """The share (0 to 1) of what the network said of an image that is not finite. It is never
        right."""

    def table(self, predictions: Sequence[Any], truths: Sequence[Any]) -> Any:
        """Predictions matched with the truth, once, in a form that `score` can weigh quickly."""

    def score(self, table: Any, weights: NDArray[np.int64] | None = None) -> dict[str, float]:
        """Every metric in percent, each image counted `weights` times (once without)."""

    def agreement(self, found: Sequence[Any], wanted: Sequence[Any]) -> float:
        """The share, in percent, of what two artifacts say alike."""
