"""A path as a person writes it, and the room that there is where it leads."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from bench.errors import UsageError

#: A disk with fewer bytes left is full: what did not fit any more was longer.
_FULL = 1_000_000


def expanded(text: str) -> Path:
    """The path with `~` as the home directory. Raises UsageError for that of a user there is not
    (pathlib's own raises RuntimeError), where nothing here is called so."""
    path = Path(os.path.expanduser(text))  # noqa: PTH111
    if text.startswith("~") and len(path.parts) > 1:
        home = Path(path.parts[0])
        if not home.exists():
            raise UsageError(f"{text}: there is no user {home.name[1:]!r} with a home folder")
    return path


def make_folder(folder: Path, named: str) -> None:
    """Make a folder where there is none yet. Raises UsageError, in which it is `named` so, where
    that cannot be done: now, rather than after what is to be written there has taken hours."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{named} cannot be written: {error.strerror}") from error


def require_writable(path: Path, named: str) -> None:
    """Raise UsageError, in which the file is `named` so, where it could not be written. None is
    left that was not there."""
    try:
        was_there = path.exists()
        with path.open("ab"):
            pass
        if not was_there:
            path.unlink()
    except OSError as error:
        raise UsageError(f"{named} cannot be written: {error.strerror}") from error


def require_room(folder: Path) -> None:
    """Raise the OSError of a full disk where the folder's is full. Libraries that write in C++ do
    not: they raise something of their own ("iostream error"), or leave a part of a file behind."""
    if shutil.disk_usage(folder).free < _FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
