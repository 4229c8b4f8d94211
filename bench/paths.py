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


def require_room(folder: Path) -> None:
    """Raise the OSError of a full disk where the folder's is full. Libraries that write in C++ do
    not: they raise something of their own ("iostream error"), or leave a part of a file behind."""
    if shutil.disk_usage(folder).free < _FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
