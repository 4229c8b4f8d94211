"""One job, from its name to its row: prepare, time until the interval is narrow, evaluate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench import layers, recipes, remedies, rounds, targets
from bench.environment import environment
from bench.errors import StageError, Unavailable
from bench.launch import ChildError, call
from bench.machine import observe
from bench.messages import At, Evaluate, Evaluated, Prepare, Prepared, Progress
from bench.records import Failure, Result, Trial
from bench.timing import Deadline, utc

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.messages import Found, Quantized, Update
    from bench.records import Job, Option, Recipe, Stage


@dataclass(frozen=True)
class Settings:
    """How jobs are run, which is no part of what is measured."""

    cache: Path
    fresh: bool = False
    anyway: bool = False
    #: What a person can do when a job takes longer than it may.
    if_late: str = "raise --timeout"
    on_stage: Callable[[Stage], None] = lambda _: None
    on_images: Callable[[Progress], None] = lambda _: None
    on_details: Callable[[str], None] = lambda _: None
    on_trial: Callable[[Trial], None] = lambda _: None


def run(job: Job, settings: Settings) -> Result:
    """Measure one job. A failure is a Result too; only the user's interruption is raised."""
    return _row(job, settings, _measure)


def build_only(job: Job, settings: Settings) -> Result:
    """Everything up to the artifact, and nothing that needs the target itself. The Result has no
    measurement, and is not for the store."""
    return _row(job, settings, _build)


def _row(job: Job, settings: Settings, fill: Callable[[_Row, _Ask, Settings], None]) -> Result:
    row = _Row(job)
    deadline = Deadline.after(job.procedure.timeout_seconds, settings.if_late)

    def on_reply(reply: Update) -> None:
        if isinstance(reply, At):
            settings.on_stage(reply.stage)
        elif isinstance(reply, Progress):
            settings.on_images(reply)
        else:
            row.keep(reply)

    try:
        fill(row, _Ask(str(settings.cache), settings.fresh, deadline, on_reply), settings)
    except Unavailable as refusal:
        row.set(failure=Failure("target", refusal.kind, str(refusal)))
    except ChildError as failed:
        row.set(failure=failed.failure)
        settings.on_details(failed.details)
    except StageError as error:
        row.set(failure=Failure("evaluate", error.kind, str(error)))
    return row.result


def _build(row: _Row, ask: _Ask, settings: Settings) -> None:
    prepared = ask.prepare(row.result.job, canary=False, build_only=True)
    row.prepared(prepared)
    row.note_layers(prepared.timed.built.details.get("layers_as_typed"))


def _measure(row: _Row, ask: _Ask, settings: Settings) -> None:
    job = row.result.job
    if not settings.anyway:
        targets.require(job.target, observe())
    evaluated = None
    if job.max_drop is None:
        prepared = ask.prepare(job)
    else:
        prepared, evaluated = _search(row, job.max_drop, ask, settings)
    row.prepared(prepared)
    measurement, observed = rounds.measure(job, prepared, ask.deadline, ask.on_reply)
    row.set(measurement=measurement, environment=observed)
    row.note_layers(observed.flags.get("executed"))

    if prepared.accuracy_note is not None:
        row.note(prepared.accuracy_note)
        return
    evaluated = evaluated or ask.evaluate(job, prepared)
    row.set(accuracy=evaluated.accuracy)
    row.note(*evaluated.notes)


def _search(
    row: _Row, max_drop: float, ask: _Ask, settings: Settings
) -> tuple[Prepared, Evaluated]:
    """The first artifact that loses no more than `max_drop` points. Raises StageError "accuracy"
    when none does; what was tried is in the row."""
    job = row.result.job
    recipe: Recipe | None = remedies.first(job.recipe)
    while recipe:
        row.set(artifacts=())
        row.quantized = None
        failure = None
        try:
            prepared = ask.prepare(replace(job, recipe=recipe))
            if prepared.accuracy_note is not None:
                raise StageError("no-data", f"--max-drop needs accuracy: {prepared.accuracy_note}")
            evaluated = ask.evaluate(job, prepared)
        except ChildError as failed:
            if row.quantized is None or not remedies.goes_on(failed.failure):
                raise
            failure, accuracy, kept = failed.failure, None, row.quantized.kept
            settings.on_details(failed.details)
        else:
            accuracy, kept = evaluated.accuracy, recipes.kept(prepared.timed.built)
        made = row.quantized
        trial = Trial(remedies.resolved(recipe, made), kept, accuracy, failure)
        row.set(tried=(*row.result.tried, trial))
        settings.on_trial(trial)
        if accuracy and remedies.enough(accuracy, max_drop):
            return prepared, evaluated
        recipe = remedies.following(row.result.tried, made) if made else None
    raise StageError("accuracy", remedies.in_vain(row.result.tried, max_drop))


@dataclass(frozen=True)
class _Ask:
    """The children of a job, each fresh, all before one deadline."""

    cache: str
    fresh: bool
    deadline: Deadline
    on_reply: Callable[[Update], None]

    def prepare(self, job: Job, *, canary: bool = True, build_only: bool = False) -> Prepared:
        request = Prepare(job, self.cache, self.fresh, canary=canary, build_only=build_only)
        return call(request, Prepared, self.deadline, self.on_reply)

    def evaluate(self, job: Job, prepared: Prepared) -> Evaluated:
        built = prepared.timed.built
        request = Evaluate(job, prepared.model, prepared.exported, built, self.cache, self.fresh)
        return call(request, Evaluated, self.deadline, self.on_reply)


class _Row:
    """A result being filled in, so that a failure keeps what was found before it."""

    def __init__(self, job: Job) -> None:
        self.result = Result(job=job, started_at=utc(), environment=environment(job.target))
        #: How int8 is being made, as the child says.
        self.quantized: Quantized | None = None

    def set(self, **found: Any) -> None:
        self.result = replace(self.result, **found)

    def keep(self, found: Found) -> None:
        if found.model:
            self.set(model=found.model)
        self.quantized = found.quantized or self.quantized
        if found.artifact:
            self.set(artifacts=(*self.result.artifacts, found.artifact))

    def prepared(self, found: Prepared) -> None:
        self.set(facts=found.facts, check=found.check)
        self.note(*found.notes)

    def note(self, *notes: str) -> None:
        self.set(notes=(*self.result.notes, *notes))

    def note_layers(self, told: Option | None) -> None:
        """Note where an int8 target is hardly int8, as its runtime tells it."""
        if self.result.job.target.precision == "int8" and (said := layers.barely_int8(told)):
            self.note(said)
