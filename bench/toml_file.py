"""Reading a TOML file that a person wrote into a struct, with one sentence for what is wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

import msgspec

from bench.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pathlib import Path

Form = TypeVar("Form")


def read(path: Path, form: type[Form], what: str) -> Form:
    """The file's content. Raises UsageError that begins with `what` it is and its path."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), form)
    except OSError as error:
        raise UsageError(f"{what} {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{what} {path} is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise UsageError(f"{what} {path}: {error}") from error
