"""What the libraries that build raise, as the failure of a stage."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.errors import StageError, first_line
from bench.paths import require_room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def named(error: Exception) -> str:
    """The type and the first line of an exception."""
    return f"{type(error).__name__}: {first_line(error)}"


@contextmanager
def refused(
    kind: str, said: str, room: Path | None = None, reason: Callable[[Exception], str] = named
) -> Iterator[None]:
    """Raise StageError `kind` with "SAID: REASON" for whatever a library raises in the block:
    quantizers, converters and ONNX's own have no base in common but Exception.

    What the machine lacks passes as it is (MemoryError, OSError), also where the folder `room` has
    become full and the library says something else; so does a StageError.
    """
    try:
        yield
    except (StageError, MemoryError, OSError):
        raise
    except Exception as error:
        if room is not None:
            require_room(room)
        raise StageError(kind, f"{said}: {reason(error)}") from error
