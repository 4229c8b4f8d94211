"""Two processes that take turns, from their start to their end: one of each side of a comparison.

They tell each other whose turn it is, through two pipes (`bench/stages/turns.py`). Where both sides
run on the same target they are twins (`bench/stages/twins.py`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING

from bench.launch import Child, ChildError, not_started
from bench.messages import Ended, Lead, Twins
from bench.timing import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.messages import Ends
    from bench.sides import Side

#: A process that was killed, and is not gone after so long, is not waited for.
GONE_SECONDS = 10.0
KILLED = -9


@contextmanager
def started(
    a: Side, b: Side, order: Sequence[int], patience: Callable[[int], Deadline]
) -> Iterator[dict[int, Child]]:
    """Both, ready to be warmed up: by 0 and 1. `order` says which is started first."""
    sides = (a, b)
    with ExitStack() as living:
        begin = _twins if alike(a, b) else _strangers
        try:
            children = living.enter_context(begin(sides, order, patience))
        except OSError as error:
            raise not_started(error) from error
        for i in order:
            children[i].answer(type(None), patience(i))
        yield children


def alike(a: Side, b: Side) -> bool:
    """Whether they can be twins. What a GPU's runtime has open does not outlive a fork, and macOS
    allows none after many a library."""
    one = a.job.target == b.job.target and a.asked.python == b.asked.python
    return one and a.job.target.device == "cpu" and sys.platform == "linux"


@contextmanager
def _strangers(
    sides: Sequence[Side], order: Sequence[int], patience: Callable[[int], Deadline]
) -> Iterator[dict[int, Child]]:
    """Each with an interpreter of its own, which has imported what it needs by itself."""
    with ExitStack() as living:
        children = {}
        with _pipes() as ends:
            for i in order:
                child = Child(
                    sides[i].request(ends[i]), python=sides[i].asked.python, inherit=ends[i]
                )
                children[i] = living.enter_context(child)
        yield children


@contextmanager
def _twins(
    sides: Sequence[Side], order: Sequence[int], patience: Callable[[int], Deadline]
) -> Iterator[dict[int, Child]]:
    """One interpreter that becomes two when it has imported what both need."""
    side = sides[0]
    with ExitStack() as living:
        with ExitStack() as theirs:
            ends = theirs.enter_context(_pipes())
            leads: list[Lead] = []
            ours: list[tuple[IO[bytes], IO[bytes]]] = []
            for i in order:
                reads, ask = theirs.enter_context(_pipe())
                hear, answers = theirs.enter_context(_pipe())
                leads.append(Lead(reads, answers, ends[i]))
                stdin = living.enter_context(os.fdopen(os.dup(ask), "wb"))
                ours.append((stdin, living.enter_context(os.fdopen(os.dup(hear), "rb"))))
            request = Twins(side.job.target, (leads[0], leads[1]))
            inherit = [end for lead in leads for end in lead.ends]
            maker = Child(request, python=side.asked.python, inherit=tuple(inherit))
            living.enter_context(maker)
        pids = maker.answer(list[int], patience(0))
        endings = _Endings(maker)
        children = {}
        for i, pid, files in zip(order, pids, ours, strict=True):
            twin = _Twin(pid, *files, endings)
            stderr = os.fdopen(os.dup(maker.stderr.fileno()), "rb")
            child = Child(sides[i].request(ends[i]), running=(twin, stderr))
            children[i] = living.enter_context(child)
        yield children


class _Endings:
    """How the twins of a maker have ended."""

    def __init__(self, maker: Child) -> None:
        self._maker = maker
        self._known: dict[int, int] = {}

    def of(self, pid: int, deadline: Deadline) -> int:
        """Wait for it. Raises TimeoutExpired; of a maker that is gone, all are killed."""
        while pid not in self._known:
            try:
                ended = self._maker.answer(Ended, deadline)
            except ChildError as error:
                if error.kind == "timeout":
                    raise subprocess.TimeoutExpired("a twin", deadline.left()) from error
                return KILLED
            self._known[ended.pid] = ended.status
        return self._known[pid]


class _Twin:
    """A process whose parent is another child, which tells how it ends."""

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes], endings: _Endings) -> None:
        self.pid, self.stdin, self.stdout, self._endings = pid, stdin, stdout, endings

    def wait(self, timeout: float | None = None) -> int:
        if timeout is not None:
            return self._endings.of(self.pid, Deadline.after(timeout))
        with suppress(subprocess.TimeoutExpired):
            return self._endings.of(self.pid, Deadline.after(GONE_SECONDS))
        return KILLED


@contextmanager
def _pipes() -> Iterator[tuple[Ends, Ends]]:
    """The ends of two pipes across, to read from and to write to, for two children that are started
    inside. They are closed here afterwards, so that whoever is left reads that the other is gone.
    """
    with _pipe() as (read_a, write_b), _pipe() as (read_b, write_a):
        yield (read_a, write_a), (read_b, write_b)


@contextmanager
def _pipe() -> Iterator[Ends]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)
