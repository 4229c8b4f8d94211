"""A path as a person writes it."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(text: str) -> Path:
    """The path with `~` as the home directory. That of a user there is not stays as it is, and will
    not be found; pathlib's own raises RuntimeError."""
    return Path(os.path.expanduser(text))  # noqa: PTH111
