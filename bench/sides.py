"""What is compared: from what a person types to an artifact that is ready to be timed.

A side is `model@target` (or a file, or a bare model where the target is given apart), or the id of
a recorded result, whose own cached artifact is timed again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import catalog, targets
from bench.cache import Cache
from bench.errors import StageError, UsageError
from bench.launch import call, interpreter
from bench.machine import observe
from bench.messages import Inputs, Measure, Prepare, Prepared, Timed
from bench.public import result_id
from bench.records import Artifact, Job

if TYPE_CHECKING:
    from bench.messages import Ends
    from bench.records import Model, Option, Procedure, Result
    from bench.store import Store
    from bench.timing import Deadline

_ID = re.compile("[0-9a-f]{4,12}")


@dataclass(frozen=True)
class Asked:
    """One side as it was asked for: a job, or a recorded result's job and artifact."""

    name: str
    job: Job
    recorded: Result | None = None
    python: str | None = None


@dataclass(frozen=True)
class Side:
    """One side, built and ready to be timed in fresh processes."""

    asked: Asked
    model: Model
    timed: Timed
    packages: tuple[str, ...]

    @property
    def job(self) -> Job:
        return self.asked.job

    def request(self, partner: Ends | None = None) -> Measure:
        """What a fresh process is asked that times this side, in turns with a partner."""
        return Measure(self.job, self.timed, None, self.packages, partner)


def parse(
    text: str,
    *,
    target: str | None,
    weights: str,
    options: dict[str, Option],
    procedure: Procedure,
    store: Store,
    cache: Cache,
) -> Asked:
    """What `text` means. Raises UsageError for what is neither a result nor a model on a target."""
    if _ID.fullmatch(text):
        return recorded(store.get(text), procedure)
    model, _, named = text.rpartition("@")
    if not model or Path(text).is_file():  # a file's name may have an @
        model, named = text, target or ""
    if not named:
        raise UsageError(
            f"{text!r} has no target: write {text}@TARGET, or give --target (`bench list targets`)"
        )
    models = catalog.resolve([model], cache)
    chosen = targets.select([named], options)
    if len(models) != 1 or len(chosen) != 1:
        raise UsageError(f"{text!r} names {len(models) * len(chosen)} jobs: a side is one")
    return Asked(text, Job(models[0], chosen[0], weights, procedure))


def recorded(result: Result, procedure: Procedure) -> Asked:
    """A recorded result as a side: its own job and artifact, timed by this procedure."""
    name = result_id(result)
    if result.provenance:
        raise UsageError(
            f"result {name} was measured by {result.provenance.tool}: its artifact is not here to "
            "be timed again"
        )
    if result.failure or result.model is None or not result.artifacts:
        raise UsageError(f"result {name} failed, so there is nothing to compare: `bench show` it")
    alike = _under(result.job.procedure, procedure)
    procedure = replace(alike, threads=procedure.threads or alike.threads)
    return Asked(name, replace(result.job, procedure=procedure), result)


def same_conditions(a: Asked, b: Asked) -> tuple[Asked, Asked]:
    """Both sides at one batch, window and number of streams and threads: those of the recorded
    one, where one is. Raises UsageError where two recorded ones differ, for that ratio would mean
    nothing."""
    if a.recorded and b.recorded:
        if _conditions(a) != _conditions(b):
            raise UsageError(
                f"{a.name} was measured at {_in_words(a)}, {b.name} at {_in_words(b)}: "
                "they do not compare"
            )
        return a, b
    if a.recorded:
        return a, _as_measured(b, a)
    return (_as_measured(a, b), b) if b.recorded else (a, b)


def _conditions(asked: Asked) -> tuple[int, int, str, int | None]:
    how = asked.job.procedure
    return how.batch, how.streams, how.window, how.threads


def _in_words(asked: Asked) -> str:
    batch, streams, window, threads = _conditions(asked)
    at_once = f"{streams} streams, " if streams > 1 else ""
    return f"batch {batch}, {at_once}window {window}, {threads or 'default'} threads"


def _as_measured(asked: Asked, like: Asked) -> Asked:
    procedure = _under(like.job.procedure, asked.job.procedure)
    return replace(asked, job=replace(asked.job, procedure=procedure))


def _under(conditions: Procedure, procedure: Procedure) -> Procedure:
    """A procedure under the conditions of another one."""
    return replace(
        procedure,
        batch=conditions.batch,
        streams=conditions.streams,
        window=conditions.window,
        threads=conditions.threads,
    )


def prepare(asked: Asked, cache: Path, deadline: Deadline, *, anyway: bool) -> Side:
    """Build what is not built yet. Raises BenchError where that fails, or where a recorded
    artifact is gone: another one would not be what was recorded."""
    if not anyway:
        targets.require(asked.job.target, observe())
    if asked.python:
        asked = replace(asked, python=interpreter(asked.python))
    if asked.recorded:
        return _recall(asked, asked.recorded, cache, deadline)
    request = Prepare(asked.job, str(cache), fresh=False)
    made = call(request, Prepared, deadline, python=asked.python)
    return Side(asked, made.model, made.timed, made.packages)


def _recall(asked: Asked, result: Result, cache: Path, deadline: Deadline) -> Side:
    assert result.model is not None
    built = Cache(cache).kept(result.artifacts[-1])
    if built is None:
        raise StageError(
            "gone",
            f"the artifact of result {asked.name} is not there any more "
            f"({result.artifacts[-1].path}): only a machine that still has it can compare with it",
        )
    again = Inputs(result.model, result.job.data, str(cache))
    pool = call(again, Artifact, deadline, python=asked.python)
    return Side(asked, result.model, Timed(built, pool), tuple(result.environment.versions))


def same_inputs(a: Side, b: Side) -> tuple[Side, Side]:
    """Both sides on the same inputs, where they take the same."""
    if a.model.inputs != b.model.inputs or a.model.preprocess != b.model.preprocess:
        return a, b
    return a, replace(b, timed=Timed(b.timed.built, a.timed.pool))


def to_public(side: Side, p50_ns: float | None) -> dict[str, Any]:
    """One side as scripts see it."""
    return {
        "name": side.asked.name,
        "model": side.model.name,
        "source": side.model.source,
        "weights": side.model.weights,
        "target": side.job.target.name,
        "batch": side.job.procedure.batch,
        "streams": side.job.procedure.streams,
        "window": side.job.procedure.window,
        "threads": side.job.procedure.threads,
        "result": result_id(side.asked.recorded) if side.asked.recorded else None,
        "python": side.asked.python,
        "artifact_sha256": side.timed.built.sha256,
        "p50_ms": None if p50_ns is None else p50_ns / 1e6,
    }
