"""The accuracy of the artifact that is timed, and of its fp32 reference on the same images."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from bench import __version__, datasets, plugins
from bench.accuracy import figures, inference
from bench.accuracy.ledger import Ledger, Seen
from bench.cache import Cache, require_intact, sha256_of, versions
from bench.check import REFERENCE
from bench.datasets import images
from bench.errors import StageError
from bench.machine import observe
from bench.messages import Evaluate, Evaluated, Progress
from bench.modelref import ModelRef
from bench.timing import stopclock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.accuracy import Scorer
    from bench.contracts import Sample
    from bench.records import Artifact, Target
    from bench.teller import Teller

#: Seconds between two words of progress.
_TELL_EVERY = 0.25


class _Row(NamedTuple):
    """One image, and what became of it with the artifact and with its reference."""

    sample: Sample
    found: Seen
    wanted: Seen

    @property
    def bad(self) -> str | None:
        """Why it is left out. What one of the two has not seen is left out of both."""
        return self.found.bad or self.wanted.bad


def evaluate(request: Evaluate, tell: Teller) -> Evaluated:
    """The accuracy of the built artifact, with its interval, and what was lost against fp32."""
    tell.at("evaluate")
    job, model = request.job, request.model
    source = ModelRef.parse(job.model).source or ""
    dataset, note = datasets.choose(job.data, plugins.exporter(source), model)
    if dataset is None or note is not None:
        raise StageError("no-data", note or "there is no data to measure accuracy on")
    how = figures.scorer(model, dataset)
    samples = dataset.test[: job.data.limit]
    known, strangers = _in_range(samples, len(dataset.classes))
    require_intact(request.exported)
    require_intact(request.built)
    cache = Cache(Path(request.cache), request.fresh)
    seen_on = [
        *(dataset.fingerprint, job.data.limit, job.data.calibration, job.data.calibration_path),
        *(msgspec.to_builtins(model.preprocess), msgspec.to_builtins(model.output)),
        *(dataset.classes, model.task, __version__),
    ]

    def seen_by(artifact: Artifact, target: Target) -> list[Seen]:
        runner = plugins.runner(target.runner)
        key = [
            artifact.sha256,
            *(target.runner, target.precision, target.device, target.options),
            observe().what_computes(target.device),
            *(versions(runner.packages), seen_on),
        ]
        kept = cache.get("predictions", key, list[Seen])
        if kept is not None:
            return kept
        ledger = Ledger(cache.root / "evaluations", key, fresh=request.fresh)
        seen = inference.predict(
            lambda batch, threads, streams: runner.open(
                artifact, target, batch=batch, threads=threads, streams=streams
            ),
            known,
            how,
            model,
            ledger,
            _teller(tell, len(known)),
            sessions=None if target.device == "cpu" else 1,
        )
        if not any(each.passing for each in seen):  # else the ledger goes on with the others
            cache.put("predictions", key, seen)
            ledger.remove()
        return seen

    wanted = seen_by(request.exported, REFERENCE)
    found = seen_by(request.built, job.target)
    rows = [_Row(*each) for each in zip(known, found, wanted, strict=True)]
    of_images = [
        *_notes(strangers, rows, len(dataset.classes), samples),
        *_broken(how, known, found, "outputs"),
    ]
    if wanted != found:
        of_images += _broken(how, known, wanted, "outputs of the fp32 reference")
    if of_images and job.data.strict:
        raise StageError("bad-data", f"--strict: {of_images[0]}")
    notes = [*dataset.notes, *of_images]
    left = [row for row in rows if not row.bad]
    if not left:
        why = f": {notes[0]}" if notes else ""
        raise StageError("no-data", f"{dataset.name} has no image to evaluate on{why}")
    if all(how.broken(row.found.prediction) == 1 for row in left):
        count = images.count(left)
        raise StageError("wrong-output", f"{count}, and of none are the outputs finite")
    result = figures.accuracy(
        how,
        model,
        dataset,
        [row.found.prediction for row in left],
        [row.wanted.prediction for row in left],
        [row.sample.truth for row in left],
    )
    subset = _subset([row.sample for row in left])
    result = replace(result, subset=subset, skipped=len(samples) - len(left))
    return Evaluated(result, tuple(notes))


def _in_range(samples: Sequence[Sample], classes: int) -> tuple[list[Sample], list[str]]:
    """The samples whose class there is, and what is wrong with the others."""
    known, strangers = [], []
    for each in samples:
        if classes and isinstance(each.truth, int) and each.truth >= classes:
            strangers.append(f"{each.name}: class {each.truth} of {classes}, counted from 0")
        else:
            known.append(each)
    return known, strangers


def _notes(
    strangers: Sequence[str], rows: Sequence[_Row], classes: int, asked: Sequence[Sample]
) -> list[str]:
    """What was left out, and what is odd, with the first few names."""
    notes = []
    if strangers:
        which = images.first_few(strangers)
        if 2 * len(strangers) > len(asked):  # the data are another network's
            last = max(each.truth for each in asked)
            which = f"the model has {classes:,} outputs, the data classes up to {last:,}: {which}"
        notes.append(f"{images.count(strangers)} left out, labels out of range: {which}")
    if bad := [row.bad for row in rows if row.bad]:
        notes.append(f"{images.count(bad)} left out: {images.first_few(bad)}")
    for kind in sorted({row.found.odd for row in rows if row.found.odd}):
        names = [row.sample.name for row in rows if row.found.odd == kind]
        notes.append(f"{images.count(names)} {kind}, converted: {images.first_few(names)}")
    return notes


def _broken(how: Scorer, samples: Sequence[Sample], seen: Sequence[Seen], what: str) -> list[str]:
    """The images of which not all that the network said is finite, which is never right."""
    names = [
        sample.name
        for sample, each in zip(samples, seen, strict=True)
        if not each.bad and how.broken(each.prediction)
    ]
    if not names:
        return []
    return [
        f"{images.count(names)}: the {what} are not finite, which counts as wrong: "
        f"{images.first_few(names)}"
    ]


def _subset(evaluated: Sequence[Sample]) -> str:
    """The hash of what was evaluated, in its order: names and truths, as the data have them. So it
    is the same for every model, in every folder and on every machine."""
    digest = hashlib.sha256()
    for each in evaluated:
        said = each.truth if each.said is None else each.said
        if isinstance(said, dict) and "mask" in said:
            said = {**said, "mask": _content(said["mask"])}
        digest.update(json.dumps([each.name, said], sort_keys=True, default=str).encode())
    return digest.hexdigest()[:12]


def _content(mask: Any) -> str:
    """The hash of a mask: of its file, or of its pixels where it is an array."""
    if isinstance(mask, np.ndarray):
        return hashlib.sha256(str(mask.shape).encode() + mask.tobytes()).hexdigest()
    return sha256_of([Path(mask)])


def _teller(tell: Teller, total: int) -> Callable[[int, int], None]:
    """Says how far it has come, now and then."""
    seconds = stopclock()
    told = 0.0

    def on_images(done: int, before: int) -> None:
        nonlocal told
        if seconds() - told >= _TELL_EVERY or done == total:
            told = seconds()
            tell.send(Progress(done, total, (done - before) / told))

    return on_images
