"""Everything this tool raises on purpose.

    BenchError                 one sentence for a person; exit status 1
    ├── UsageError             the request itself is wrong; exit status 2
    ├── Unavailable            this machine cannot do it; the message holds the remedy; 3
    ├── StoreError             the store cannot be read or written; 1
    ├── StageError             a job failed at a stage; becomes a Failure row; 1
    └── ChildError             (bench.launch) a child failed or died: as its own failure, or 1

The engine raises or returns; only `bench.cli` prints or exits.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class BenchError(Exception):
    """The root. `kind` is the one word that scripts may match in a Failure."""

    exit_status = 1
    kind = "error"


class UsageError(BenchError):
    """The request is wrong: an unknown name, a bad option, a file that is not there."""

    exit_status = 2
    kind = "usage"


class Unavailable(BenchError):
    """The request is right, but not on this machine: hardware, package or driver is missing."""

    exit_status = 3
    kind = "unavailable"


class StoreError(BenchError):
    """The results cannot be read or written."""

    kind = "store"


class StageError(BenchError):
    """A stage of a job failed in a way that its plug-in understands."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def first_line(error: BaseException) -> str:
    """What a library's exception says, in one line; its type's name where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def unknown(what: str, name: str, known: Iterable[str], see: str) -> UsageError:
    """The error for a name that does not exist, with its near matches, or where to look: a command,
    a file or a part of one, or all that there is ("one of: ...")."""
    near = close(name, known, cutoff=0.5)
    look = see if see.startswith("one of: ") else f"see `{see}`"
    hint = f"did you mean {', '.join(near)}?" if near else look
    return UsageError(f"unknown {what} {name!r}: {hint}")


def close(name: str, known: Iterable[str], cutoff: float) -> list[str]:
    """The few of the known names that are nearest, whatever their case."""
    folded: dict[str, str] = {}
    for each in known:
        folded.setdefault(each.lower(), each)
    return [folded[each] for each in get_close_matches(name.lower(), folded, n=4, cutoff=cutoff)]
