"""Which results a baseline is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.gate import series
from bench.public import result_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.records import Result
    from bench.store import Store


def choose(store: Store, ids: Sequence[str]) -> list[str]:
    """The results named by the starts of their ids, or the newest good one of every job.

    Raises UsageError for one that failed, for two of one job, and where there is none.
    """
    if not ids:
        newest = {series.key(each.job): each for each in store.read() if _good(each)}
        if not newest:
            raise UsageError("there is no good result in the store: `bench run` makes some")
        return [result_id(each) for each in newest.values()]
    chosen: dict[str, str] = {}
    for each in map(store.get, ids):
        name = result_id(each)
        if not _good(each):
            why = "was imported" if each.provenance else "failed"
            raise UsageError(f"result {name} {why}: a baseline is made of good ones of our own")
        if chosen.setdefault(series.key(each.job), name) != name:
            raise UsageError(f"results {chosen[series.key(each.job)]} and {name} are of one job")
    return list(chosen.values())


def _good(result: Result) -> bool:
    """What can be measured again: not what another tool measured, for its artifact is not here."""
    return result.failure is None and result.measurement is not None and not result.provenance
