"""One night: measure each job, judge it against the baseline, look into its history."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from math import exp, log
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cache import Cache
from bench.errors import BenchError
from bench.gate import changes, judge, series
from bench.gate.judge import Outcome, Status, Terms
from bench.modelref import is_file
from bench.public import result_id
from bench.timing import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bench.campaign import Campaign
    from bench.comparison import Comparison
    from bench.gate.matrix import Matrix
    from bench.records import Job, Result
    from bench.store import Store

#: Results of a model and target that are read for their history.
HISTORY = 1000
#: By how many nights the place of a change may move when there are more nights to tell it from.
NIGHTS_APART = 2
#: What an odd record, a damaged file or a plug-in that is gone may raise: a job's own end, not the
#: night's.
_ODD = (BenchError, OSError, ValueError, LookupError)


def run(
    matrix: Matrix,
    jobs: Sequence[Job],
    baseline: Iterable[Result],
    campaign: Campaign,
    outcomes: list[Outcome],
    on_pair: Callable[[Comparison], None] = lambda _: None,
) -> None:
    """Add every job's outcome to `outcomes`, which the caller keeps whatever ends the night. Each
    result is stored before the next job."""
    campaign.store.require_writable()
    known: dict[str, list[Result]] = {}
    for result in baseline:
        known.setdefault(series.key(result.job), []).append(result)
        with suppress(*_ODD):  # who set the baseline may have done so on another machine
            Cache(campaign.settings.cache).keep(result.artifacts[-1])
    terms = Terms(matrix, len(jobs), campaign.settings.cache, on_pair)
    budget = Deadline.after(matrix.budget_minutes * 60)
    try:
        for job in jobs:
            outcomes.append(Outcome(job))
            if budget.left():
                _measure(outcomes[-1], known.get(series.key(job), ()), terms, campaign)
            else:
                over = f"not measured: the {matrix.budget_minutes:g} minutes are over"
                outcomes[-1].notes.append(over)
    finally:  # what was found holds, whatever ended the night
        judge.correct(outcomes)


def _measure(outcome: Outcome, known: Sequence[Result], terms: Terms, campaign: Campaign) -> None:
    """Measure one job, store its result, and judge it."""
    result = campaign.measure(outcome.job)
    outcome.result = campaign.rows[-1]
    if result.failure:
        named: dict[str, Status] = {"unavailable": "UNAVAILABLE", "accuracy": "ACCURACY"}
        outcome.status = named.get(result.failure.kind, "FAILED")
        outcome.notes.append(result.failure.message)
        return
    try:
        judge.judge(outcome, result, known, terms)
    except _ODD as error:
        outcome.status = "UNCONFIRMED"
        outcome.notes.append(f"it could not be judged: {_said(error)}")
    try:
        _read_history(outcome, result, terms.matrix.margin, campaign.store)
    except _ODD as error:
        outcome.notes.append(f"its history cannot be read: {_said(error)}")


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"


def _read_history(outcome: Outcome, result: Result, margin: float, store: Store) -> None:
    """Note the change points of this result's series that were not told yet."""
    asked = series.key(result.job)
    model, target = result.job.model, result.job.target.name
    which = {"file": Path(model).name} if is_file(model) else {"models": [model]}
    canary = result.measurement.canary if result.measurement else None
    # Of each night no more than this is kept: all samples of a long series are gigabytes.
    nights = [
        (result_id(each), each.started_at[:10], series.log_latency(each, canary))
        for each in store.walk(targets=[target], newest=HISTORY, **which)
        if each.measurement
        and not each.provenance
        and each.measurement.canary == canary
        and series.key(each.job) == asked
        and not series.changed(each, result)
        and not series.is_invalid(each)
    ]
    ids = [name for name, _, _ in nights]
    name = hashlib.sha256(f"{asked} {series.stack(result)} {canary}".encode()).hexdigest()
    told = store.reported(name)
    for change in changes.find([value for _, _, value in nights], log(1 + margin)):
        # The place of a change is known to a night or two; it is the same one.
        near = ids[max(0, change.index - NIGHTS_APART) : change.index + NIGHTS_APART + 1]
        if told.isdisjoint(near):
            (first, date, _), percent = nights[change.index], 100 * (exp(change.shift) - 1)
            outcome.notes.append(f"since {date} (result {first}) it takes {percent:+.1f} %")
            outcome.told.append((name, first))


def remember(outcomes: Iterable[Outcome], store: Store) -> None:
    """That these changes were told: once they really were."""
    for outcome in outcomes:
        for told in outcome.told:
            store.report_once(*told)
