"""One job, from its name to its row: prepare, time until the interval is narrow, evaluate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from bench import rounds, targets
from bench.environment import environment
from bench.errors import Unavailable
from bench.launch import ChildError, call
from bench.machine import observe
from bench.messages import At, Evaluate, Evaluated, Prepare, Prepared, Progress
from bench.records import Failure, Result
from bench.timing import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.messages import Found, Update
    from bench.records import Job, Stage


@dataclass(frozen=True)
class Settings:
    """How jobs are run, which is no part of what is measured."""

    cache: Path
    fresh: bool = False
    anyway: bool = False
    on_stage: Callable[[Stage], None] = lambda _: None
    on_images: Callable[[Progress], None] = lambda _: None
    on_details: Callable[[str], None] = lambda _: None


def run(job: Job, settings: Settings) -> Result:
    """Measure one job. A failure is a Result too; only the user's interruption is raised."""
    return _row(job, settings, _measure).result


def build_only(job: Job, settings: Settings) -> Result:
    """Everything up to the artifact, and nothing that needs the target itself. The Result has no
    measurement, and is not for the store."""
    return _row(job, settings, _build_only).result


def _row(job: Job, settings: Settings, fill: Callable[[_Row, Settings], None]) -> _Row:
    row = _Row(job)
    try:
        fill(row, settings)
    except Unavailable as refusal:
        row.set(failure=Failure("target", refusal.kind, str(refusal)))
    except ChildError as failed:
        row.set(failure=failed.failure)
        settings.on_details(failed.details)
    return row


def _build_only(row: _Row, settings: Settings) -> None:
    job = row.result.job
    request = Prepare(job, **_where(settings), build_only=True)
    _prepared(row, request, Deadline.after(job.procedure.timeout_seconds), settings)


def _measure(row: _Row, settings: Settings) -> None:
    job = row.result.job
    if not settings.anyway:
        targets.require(job.target, observe())
    deadline = Deadline.after(job.procedure.timeout_seconds)
    prepared = _prepared(row, Prepare(job, **_where(settings)), deadline, settings)
    on_reply = _listener(row, settings)
    measurement, observed = rounds.measure(job, prepared, deadline, on_reply)
    row.set(measurement=measurement, environment=observed)

    if prepared.accuracy_note is not None:
        row.note(prepared.accuracy_note)
        return
    evaluation = Evaluate(
        job, prepared.model, prepared.exported, prepared.timed.built, **_where(settings)
    )
    evaluated = call(evaluation, Evaluated, deadline, on_reply)
    row.set(accuracy=evaluated.accuracy)
    row.note(*evaluated.notes)


def _prepared(row: _Row, request: Prepare, deadline: Deadline, settings: Settings) -> Prepared:
    prepared = call(request, Prepared, deadline, _listener(row, settings))
    row.set(facts=prepared.facts, check=prepared.check)
    row.note(*prepared.notes)
    return prepared


def _where(settings: Settings) -> dict[str, Any]:
    return {"cache": str(settings.cache), "fresh": settings.fresh}


def _listener(row: _Row, settings: Settings) -> Callable[[Update], None]:
    """What keeps and passes on what a child says on its way."""

    def on_reply(reply: Update) -> None:
        if isinstance(reply, At):
            settings.on_stage(reply.stage)
        elif isinstance(reply, Progress):
            settings.on_images(reply)
        else:
            row.keep(reply)

    return on_reply


class _Row:
    """A result being filled in, so that a failure keeps what was found before it."""

    def __init__(self, job: Job) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self.result = Result(job=job, started_at=now, environment=environment(job.target))

    def set(self, **found: Any) -> None:
        self.result = replace(self.result, **found)

    def keep(self, found: Found) -> None:
        if found.model:
            self.set(model=found.model)
        if found.artifact:
            self.set(artifacts=(*self.result.artifacts, found.artifact))

    def note(self, *notes: str) -> None:
        self.set(notes=(*self.result.notes, *notes))
