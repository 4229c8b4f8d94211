"""One of two processes that take turns: whose turn it is they tell each other, through two pipes.

No third process has to wake up between one block and the next, and the core does not fall asleep
meanwhile: after a pause the first calls are slow, and the more of them have to be dropped, the
further apart are the blocks that are compared (`docs/architecture.md`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from bench.timing import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.messages import Ends, Turns

#: A spell has at least so many turns that count, however slow they are.
LEAST_TURNS = 5
_GO_ON, _LAST = b"+", b"."


def take(turns: Turns, partner: Ends, block: Callable[[], list[int]]) -> list[tuple[int, ...]]:
    """The blocks of this process in a spell of turns. Who is `first` says how long it goes on, the
    other one echoes that; where the other one is gone, nobody waits for it."""
    taken: list[tuple[int, ...]] = []
    end = Deadline.after(turns.seconds)
    going = True
    while going:
        if not turns.first:
            going = _told(partner)
        taken.append(tuple(block()))
        if turns.first:
            going = end.left() > 0 or len(taken) < turns.uncounted + LEAST_TURNS
        _tell(partner, going=going)
        if turns.first:
            going = _told(partner)
    return taken[turns.uncounted :]


def _told(partner: Ends) -> bool:
    """Wait for one's turn; whether another one follows it."""
    return os.read(partner[0], 1) == _GO_ON


def _tell(partner: Ends, *, going: bool) -> None:
    with suppress(BrokenPipeError):  # it is gone, and the parent knows why
        os.write(partner[1], _GO_ON if going else _LAST)
