"""The models of a list, and what is meant by each of its lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import catalog
from bench.errors import BenchError, UsageError
from bench.records import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bench.cache import Cache

#: The families by which the field tells its history, the smallest first.
SHIPPED = Path(__file__).parent / "models.tsv"


@dataclass(frozen=True, slots=True)
class Entry:
    """One model; `problem` says why the name means none."""

    model: str
    problem: Failure | None = None


def read(path: Path) -> list[str]:
    """The names in a file: one a line, or the column `model` of a table with tabs between.

    Lines that start with # are comments. Raises UsageError for a file without a name.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the list {path} cannot be read: {error}") from error
    rows = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    column = 0
    if rows and "model" in rows[0]:
        column = rows[0].index("model")
        rows = rows[1:]
    names = [row[column].strip() for row in rows if len(row) > column and row[column].strip()]
    if not names:
        raise UsageError(f"the list {path} names no model: give one a line, or a column `model`")
    return names


def resolve(names: Iterable[str], cache: Cache) -> list[Entry]:
    """Each model once, every one with its source; what means none is kept, with the reason."""
    return list(dict.fromkeys(entry for name in names for entry in _resolve(name, cache)))


def _resolve(name: str, cache: Cache) -> Iterator[Entry]:
    try:
        for model in catalog.resolve([name], cache):
            yield Entry(model)
    except BenchError as error:
        yield Entry(name, Failure("describe", error.kind, str(error)))
