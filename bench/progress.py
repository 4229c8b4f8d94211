"""The live line on standard error while something is measured.

Nothing is drawn while a stage lasts: the parent sleeps while its child measures.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.cells import outcome
from bench.coverage.table import cost, failure
from bench.recipes import asked, written
from bench.remedies import change as points_lost
from bench.terminal import change, counted, draw, say
from bench.timing import lap

if TYPE_CHECKING:
    from bench import messages
    from bench.comparison import Comparison
    from bench.coverage.ledger import Attempt
    from bench.records import Job, Stage, Trial


class Progress:
    """One line a job: which stage, and in the end how long each took."""

    def __init__(self, jobs: int | None = None) -> None:
        self._of = "" if jobs is None else f"/{jobs}"
        self._done = 0
        self._live = sys.stderr.isatty()
        self._head = ""
        self._stages: dict[str, float] = {}
        self._clock: Any = None

    def start(self, job: Job) -> None:
        self._done += 1
        self._head = f"[{self._done}{self._of}] {job.model} @ {job.target.name}{_how(job)}"
        if job.max_drop is not None:
            say(f"{self._head}: at most {job.max_drop:g} points may be lost")
        self._stages = {}
        if self._live:
            draw(self._head)

    def at(self, stage: Stage) -> None:
        """A stage begins, and the one before it ends."""
        self._end_stage()
        self._clock = lap()
        self._lap = self._clock.__enter__()
        self._stage: str = stage
        if self._live:
            draw(self._head, f": {stage} ...")

    def images(self, at: messages.Progress) -> None:
        """So many images are evaluated: how many a second, and how long it still takes."""
        if self._live:
            left = (at.total - at.done) / at.rate if at.rate else 0.0
            draw(
                self._head,
                f": {self._stage} {at.done}/{at.total}, {at.rate:.0f} images/s, {left:.0f} s left",
            )

    def trial(self, found: Trial) -> None:
        """A recipe was tried: what it came to, in a line that stays."""
        self._end_stage()
        if self._live:
            draw("")
        kept = f", {counted(len(found.kept), 'layer')} kept in fp32" if found.kept else ""
        recipe = written(replace(found.recipe, keep=0))
        if found.accuracy:
            said = f"{found.accuracy.metric} {points_lost(found.accuracy):+.2f} points"
        else:
            said = found.failure.message if found.failure else "failed"
        say(f"    {recipe}{kept}: {said}")

    def finish(self, row: dict[str, Any]) -> None:
        self._end_stage()
        if self._live:
            draw("")
        said = f"{row['failure']['kind']}" if row["failure"] else outcome(row)
        say(f"{self._head}: {said} ({self._spent() or 'at once'})")

    def _end_stage(self) -> None:
        if self._clock is not None:
            self._clock.__exit__(None, None, None)
            self._stages[self._stage] = self._stages.get(self._stage, 0.0) + self._lap.seconds
            self._clock = None

    def _spent(self) -> str:
        """What took a while."""
        return ", ".join(
            f"{stage} {seconds:.1f} s" for stage, seconds in self._stages.items() if seconds >= 0.05
        )


class Coverage:
    """A line for each model and target that was tried."""

    def __init__(self) -> None:
        self._expected = self._done = 0
        self._live = sys.stderr.isatty()
        self._head = ""

    def expect(self, attempts: int) -> None:
        self._expected = attempts

    def start(self, attempt: Attempt) -> None:
        self._head = f"[{self._done + 1}/{self._expected}] {_place(attempt)}"
        if self._live:
            draw(self._head)

    def at(self, stage: Stage) -> None:
        if self._live:
            draw(self._head, f": {stage} ...")

    def finish(self, attempt: Attempt) -> None:
        self._done += 1
        if self._live:
            draw("")
        how = f"fails at {failure(attempt)}" if attempt.failure else "works"
        say(f"[{self._done}/{self._expected}] {_place(attempt)}: {how}; {cost(attempt)}")


def _place(attempt: Attempt) -> str:
    return attempt.model + (f" @ {attempt.target}" if attempt.target else ", export")


class Pairs:
    """How far a comparison has come."""

    def __init__(self, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._live = sys.stderr.isatty()

    def show(self, found: Comparison) -> None:
        if self._live:
            draw(
                f"pair {len(found.pairs)}, {found.seconds:.0f} of {self._max_seconds:.0f} s: "
                f"{change(found.ratio)}"
            )

    def end(self) -> None:
        if self._live:
            draw("")


def _how(job: Job) -> str:
    """Batch and streams, where they are not 1; and the recipe, where one was asked for."""
    how, recipe = job.procedure, asked(job.recipe)
    batch = f", batch {how.batch}" if how.batch > 1 else ""
    streams = f", {how.streams} streams" if how.streams > 1 else ""
    return batch + streams + (f", {recipe}" if recipe else "")
