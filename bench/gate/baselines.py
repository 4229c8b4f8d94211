"""Which results a baseline is made of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.gate import series
from bench.public import result_id, to_public

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.records import Result
    from bench.store import Store


def choose(store: Store, ids: Sequence[str]) -> list[str]:
    """The results named by the starts of their ids, or the newest good one of every job on every
    machine and runtime.

    Raises UsageError for one that is not good, for two of one series, and where there is none.
    """
    if not ids:
        newest = {_series(each): each for each in store.read() if not _bad(each)}
        if not newest:
            raise UsageError("there is no good result in the store: `bench run` makes some")
        return [result_id(each) for each in newest.values()]
    chosen: dict[str, str] = {}
    for each in map(store.get, ids):
        name = result_id(each)
        if why := _bad(each):
            raise UsageError(f"result {name} {why}: a baseline is made of good ones of our own")
        if chosen.setdefault(_series(each), name) != name:
            raise UsageError(f"results {chosen[_series(each)]} and {name} are of one job")
    return list(chosen.values())


def _series(result: Result) -> str:
    return f"{series.key(result.job)} {json.dumps(series.stack(result), sort_keys=True)}"


def _bad(result: Result) -> str | None:
    """Why a result cannot be measured against; None when it can."""
    if result.provenance:
        return "was imported"  # its artifact is not here
    if result.failure or result.measurement is None or not result.artifacts:
        return "failed"
    try:
        return "is INVALID" if to_public(result)["verdict"] == "INVALID" else None
    except ValueError:  # a record of no processes, which an import may bring
        return "holds no measurement"
