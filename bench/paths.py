"""A path as a person writes it."""

from __future__ import annotations

import os
from pathlib import Path

from bench.errors import UsageError


def expanded(text: str) -> Path:
    """The path with `~` as the home directory. Raises UsageError for that of a user there is not
    (pathlib's own raises RuntimeError), where nothing here is called so."""
    path = Path(os.path.expanduser(text))  # noqa: PTH111
    if text.startswith("~") and len(path.parts) > 1:
        home = Path(path.parts[0])
        if not home.exists():
            raise UsageError(f"{text}: there is no user {home.name[1:]!r} with a home folder")
    return path
