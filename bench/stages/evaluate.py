"""The accuracy of the artifact that is timed, and of its fp32 reference on the same images."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bench import __version__, datasets, plugins
from bench.accuracy import figures, inference
from bench.accuracy.ledger import Ledger, Seen
from bench.cache import Cache, require_intact, versions
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
        ledger = Ledger(cache.root / "evaluations", key, fresh=request.fresh)

        def make(_: Path) -> list[Seen]:
            return inference.predict(
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

        seen, _ = cache.get_or_make("predictions", key, list[Seen], make)
        ledger.remove()
        return seen

    wanted = seen_by(request.exported, REFERENCE)
    found = seen_by(request.built, job.target)
    notes = [
        *dataset.notes,
        *_notes(strangers, known, found, len(dataset.classes), samples),
        *_broken(how, known, found, "outputs"),
    ]
    if wanted != found:
        notes += _broken(how, known, wanted, "outputs of the fp32 reference")
    if notes and job.data.strict:
        raise StageError("bad-data", f"--strict: {notes[0]}")
    left = [i for i, each in enumerate(found) if not each.bad]
    if not left:
        why = f": {notes[0]}" if notes else ""
        raise StageError("no-data", f"{dataset.name} has no image to evaluate on{why}")
    if all(how.broken(found[i].prediction) == 1 for i in left):
        count = images.count(left)
        raise StageError("wrong-output", f"{count}, and of none are the outputs finite")
    result = figures.accuracy(
        how,
        model,
        dataset,
        [found[i].prediction for i in left],
        [wanted[i].prediction for i in left],
        [known[i].truth for i in left],
    )
    result = replace(
        result, subset=_subset([known[i] for i in left]), skipped=len(samples) - len(left)
    )
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
    strangers: Sequence[str],
    samples: Sequence[Sample],
    seen: Sequence[Seen],
    classes: int,
    asked: Sequence[Sample],
) -> list[str]:
    """What was left out, and what is odd, with the first few names."""
    notes = []
    if strangers:
        which = images.first_few(strangers)
        if 2 * len(strangers) > len(asked):  # the data are another network's
            last = max(each.truth for each in asked)
            which = f"the model has {classes:,} outputs, the data classes up to {last:,}: {which}"
        notes.append(f"{images.count(strangers)} left out, labels out of range: {which}")
    if bad := [each.bad for each in seen if each.bad]:
        notes.append(f"{images.count(bad)} left out: {images.first_few(bad)}")
    for kind in sorted({each.odd for each in seen if each.odd}):
        names = [
            sample.name for sample, each in zip(samples, seen, strict=True) if each.odd == kind
        ]
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
    """The hash of what was evaluated, in its order."""
    names = "\n".join(each.name for each in evaluated).encode(errors="surrogateescape")
    return hashlib.sha256(names).hexdigest()[:12]


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
