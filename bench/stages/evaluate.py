"""The accuracy of the artifact that is timed, and of its fp32 reference on the same images."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from bench import __version__, data, plugins, stats
from bench.cache import Cache, require_intact, versions
from bench.check import fixed_batch, outputs, reference
from bench.errors import StageError
from bench.machine import usable_threads
from bench.messages import Evaluate
from bench.modelref import ModelRef
from bench.preprocess import to_input
from bench.records import Accuracy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.contracts import Array, Dataset, Session
    from bench.records import Model
    from bench.teller import Teller

#: Images a step. Latency figures never come from here.
BATCH = 32


def evaluate(request: Evaluate, tell: Teller) -> Accuracy:
    """Top-1 of the built artifact with its interval, and its agreement with the reference."""
    tell.at("evaluate")
    job, model = request.job, request.model
    source = ModelRef.parse(job.model).source or ""
    dataset, note = data.choose(job.data, plugins.exporter(source), model)
    if dataset is None or note is not None:
        raise StageError("no-data", note or "there is no data to measure accuracy on")
    require_intact(request.exported)
    require_intact(request.built)
    runner = plugins.runner(job.target.runner)
    cache = Cache(Path(request.cache), request.fresh)
    how = msgspec.to_builtins(model.preprocess)
    images = [dataset.fingerprint, job.data.limit, job.data.calibration, how, __version__]
    batch = fixed_batch(model) or BATCH

    def of_reference(_: Path) -> list[list[int]]:
        with reference(request.exported, batch) as [session]:
            return _predict(session, model, dataset, job.data.limit, batch)

    def of_artifact(_: Path) -> list[list[int]]:
        with runner.open(request.built, job.target, batch=batch, threads=usable_threads()) as [
            session
        ]:
            return _predict(session, model, dataset, job.data.limit, batch)

    wanted, _ = cache.get_or_make(
        "predictions",
        [request.exported.sha256, versions(("onnxruntime",)), *images],
        list[list[int]],
        of_reference,
    )
    target = [job.target.runner, job.target.precision, job.target.options]
    found, _ = cache.get_or_make(
        "predictions",
        [request.exported.sha256, request.built.sha256, target, versions(runner.packages), *images],
        list[list[int]],
        of_artifact,
    )
    truth, predicted, expected = (np.asarray(column) for column in (*found, wanted[1]))
    correct, n = int((predicted == truth).sum()), len(truth)
    return Accuracy(
        task="classification",
        metric="top1",
        value=100 * correct / n,
        ci95=stats.wilson(correct, n),
        n=n,
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        reference=100 * float((expected == truth).mean()),
        agreement=100 * float((expected == predicted).mean()),
    )


def _predict(
    session: Session, model: Model, dataset: Dataset, limit: int | None, batch: int
) -> list[list[int]]:
    """[the true classes, the predicted classes], an image each."""
    truth: list[int] = []
    predicted: list[int] = []
    for arrays, labels in _batches(model, dataset, limit, batch):
        logits = outputs(session, {model.inputs[0].name: arrays})[0]
        if logits.ndim != 2 or max(labels) >= logits.shape[1]:
            raise StageError(
                "wrong-output",
                f"{model.name} gives outputs of shape {logits.shape}, which are no scores for "
                f"class {max(labels)} of {dataset.name}",
            )
        truth += labels
        predicted += logits.argmax(axis=1)[: len(labels)].tolist()
    if not truth:
        raise StageError("no-data", f"{dataset.name} has no image to evaluate on")
    return [truth, predicted]


def _batches(
    model: Model, dataset: Dataset, limit: int | None, batch: int
) -> Iterator[tuple[Array, list[int]]]:
    """Whole batches, the last one filled up with its own first image: some runtimes compile for
    one batch size."""
    assert model.preprocess is not None
    samples = dataset.test(limit)
    while chunk := list(islice(samples, batch)):
        arrays = [to_input(image, model.preprocess) for image, _ in chunk]
        arrays += arrays[:1] * (batch - len(chunk))
        yield np.stack(arrays), [label for _, label in chunk]
