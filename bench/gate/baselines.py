"""Which results a baseline is made of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.gate import series
from bench.public import result_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.records import Result
    from bench.store import Store


def choose(store: Store, ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """The results named by the starts of their ids, or the newest good one of every job on every
    machine and runtime; and a sentence for each newer one that was passed over.

    Raises UsageError for one that is not good, for two of one series, and where there is none.
    """
    if not ids:
        return _newest(store)
    chosen: dict[str, str] = {}
    for each in map(store.get, ids):
        name = result_id(each)
        if why := _bad(each) or _invalid(each):
            raise UsageError(f"result {name} {why}: a baseline is made of good ones of our own")
        if chosen.setdefault(_series(each), name) != name:
            raise UsageError(f"results {chosen[_series(each)]} and {name} are of one job")
    return list(chosen.values()), []


def _newest(store: Store) -> tuple[list[str], list[str]]:
    every: dict[str, list[Result]] = {}
    for each in store.read():
        if not _bad(each):
            every.setdefault(_series(each), []).append(each)
    chosen, passed = [], []
    for of_series in every.values():
        good = next((each for each in reversed(of_series) if not _invalid(each)), None)
        newest = of_series[-1]
        if good is not newest:
            instead = f"{result_id(good)} is taken" if good else "the baseline has none"
            passed.append(
                f"result {result_id(newest)} of {newest.job.model} @ {newest.job.target.name} "
                f"{_invalid(newest)}: {instead}"
            )
        if good:
            chosen.append(result_id(good))
    if not chosen:
        raise UsageError("there is no good result in the store: `bench run` makes some")
    return chosen, passed


def _series(result: Result) -> str:
    return f"{series.key(result.job)} {json.dumps(series.stack(result), sort_keys=True)}"


def _bad(result: Result) -> str | None:
    """Why a result cannot be measured against; None when it can."""
    if result.provenance:
        return "was imported"  # its artifact is not here
    if result.failure or result.measurement is None or not result.artifacts:
        return "failed"
    return None


def _invalid(result: Result) -> str | None:
    """Why the number of a result is none; None when it is one."""
    return "is INVALID" if series.is_invalid(result) else None
