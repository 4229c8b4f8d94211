"""A run of several jobs: each is in the store before the next one starts."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import pipeline, transfer
from bench.errors import StoreError
from bench.public import result_id, to_public

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bench.records import Job, Result
    from bench.store import Store


@dataclass
class Campaign:
    """Runs jobs and keeps their public rows, whatever happens to a later one."""

    store: Store
    settings: pipeline.Settings
    on_start: Callable[[Job], None] = lambda _: None
    on_finish: Callable[[dict[str, Any]], None] = lambda _: None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def run(self, jobs: Iterable[Job]) -> None:
        self.store.require_writable()
        for job in jobs:
            self.measure(job)

    def measure(self, job: Job) -> Result:
        """Run one job and keep its result."""
        self.on_start(job)
        result = pipeline.run(job, self.settings)
        self._keep(result)
        self.rows.append(to_public(result))
        self.on_finish(self.rows[-1])
        return result

    def _keep(self, result: Result) -> None:
        """Store a result; where the store has gone, save it beside."""
        try:
            self.store.append(result)
        except StoreError as error:
            rescue = Path(tempfile.gettempdir()) / f"bench-{result_id(result)}.jsonl"
            try:
                rescue.write_text(transfer.to_line(result) + "\n")
            except OSError:
                raise error from None
            raise StoreError(
                f"{error}; the result just measured is saved in {rescue}: `bench import` it"
            ) from error


def exit_status(rows: Sequence[dict[str, Any]]) -> int:
    """0 done, 1 a job failed, 2 wrong usage, 3 a target is not available, 5 accuracy, 6 invalid
    measurement; of several, the worst."""
    kinds = {"usage": 2, "accuracy": 5, "unavailable": 3}

    def status(row: dict[str, Any]) -> int:
        if failure := row["failure"]:
            return kinds.get(failure["kind"], 1)
        return 6 if row.get("verdict") == "INVALID" else 0

    return worst(map(status, rows))


def worst(statuses: Iterable[int]) -> int:
    """Of several exit statuses, the one that needs a person most."""
    return min(statuses, key=(2, 1, 5, 3, 6, 0).index, default=0)
