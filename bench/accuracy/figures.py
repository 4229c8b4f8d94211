"""From predictions to the figures of a row: value, interval, and what was lost against fp32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench import stats
from bench.accuracy.classification import ClassificationScorer
from bench.errors import StageError
from bench.records import Accuracy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bench.accuracy import Scorer
    from bench.contracts import Dataset
    from bench.records import Model


def scorer(model: Model, dataset: Dataset) -> Scorer:
    """How accuracy is measured for a model's task."""
    assert model.output is not None
    assert model.preprocess is not None
    classes = dataset.classes or model.labels
    if model.task == "classification":
        return ClassificationScorer(len(classes), model.output)
    if model.task in ("detection", "instance-segmentation"):
        from bench.accuracy.detection import DetectionScorer

        masks = model.task == "instance-segmentation"
        return DetectionScorer(len(classes), model.preprocess, model.output, masks=masks)
    if model.task == "segmentation":
        from bench.accuracy.segmentation import SegmentationScorer

        return SegmentationScorer(len(classes), model.preprocess, model.output)
    raise StageError("no-data", f"the accuracy of {model.task} cannot be measured")


def accuracy(
    how: Scorer,
    model: Model,
    dataset: Dataset,
    found: Sequence[Any],
    wanted: Sequence[Any],
    truths: Sequence[Any],
) -> Accuracy:
    """The accuracy of an artifact that predicted `found`, beside its fp32 reference that predicted
    `wanted`, on the same images."""
    assert model.task is not None
    ours = how.table(found, truths)
    # Matching boxes takes half a minute on all of COCO, and fp32 often is its own reference.
    theirs = ours if found == wanted else how.table(wanted, truths)
    values, reference = how.score(ours), how.score(theirs)
    metric = how.metrics[0]
    value, before = values[metric], reference[metric]
    if isinstance(how, ClassificationScorer):
        correct = ours[:, 0]
        interval = stats.wilson(int(correct.sum()), len(correct))
        change = stats.paired_difference(theirs[:, 0], correct)
    else:

        def drawn(weights: NDArray[np.int64]) -> tuple[float, float]:
            score = how.score(ours, weights)[metric]
            return score, score - how.score(theirs, weights)[metric]

        interval, change = stats.bootstrap(drawn, len(truths), (value, value - before))
        # Moved by their bias, they may leave what is possible.
        interval = max(0.0, interval[0]), min(100.0, interval[1])
        change = max(-100.0, change[0]), min(100.0, change[1])
    return Accuracy(
        task=model.task,
        metric=metric,
        value=value,
        ci95=interval,
        n=len(truths),
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        reference=before,
        change_ci95=change,
        agreement=how.agreement(found, wanted),
        metrics=values,
        reference_metrics=reference,
    )
