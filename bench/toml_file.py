"""Reading a TOML file that a person wrote into a struct, with one sentence for what is wrong."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

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
    except msgspec.ValidationError as error:
        raise UsageError(f"{what} {path}: {error}{_allowed(str(error), form)}") from error
    except ValueError as error:  # no UTF-8, no TOML, or a number of thousands of digits
        raise UsageError(f"{what} {path} is not TOML: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{what} {path} is nested too deeply to be read") from error


def _allowed(problem: str, form: type[Any]) -> str:
    """What a key may be, where it is one of a few words and the file has another."""
    found = re.fullmatch(r"Invalid enum value .* - at `\$\.(\w+)`", problem)
    hints = get_type_hints(form) if found else {}
    kind = hints.get(found[1]) if found else None
    words = [word for part in (kind, *get_args(kind)) for word in get_args(part)]
    words = [word for word in words if isinstance(word, str)]
    return f"; it is one of {', '.join(words)}" if words else ""
