"""What a reader of another tool's files is asked, and what it answers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from bench.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from bench.records import Option, Reported, Window

#: What a terminal obeys instead of showing it: escape sequences, control characters but tab and the
#: ends of lines, and what turns the direction of writing.
_OBEYED = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]|[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
)
#: No inference takes an hour: a larger number is in another unit.
LONGEST_NS = 3600 * 10**9


@dataclass(frozen=True)
class Asked:
    """What a person says of the files: `log` is what the tool printed. The rest is None where the
    files have to tell; where both do, they have to agree."""

    file: Path
    log: Path | None = None
    batch: int | None = None
    window: Window | None = None
    hardware: str | None = None

    @property
    def log_beside(self) -> Path:
        """Where the log is looked for that is not named: times.log, of times.json."""
        return self.file.parent / f"{self.file.stem}.log"


@dataclass(frozen=True)
class Foreign:
    """What the files tell. `processes` are samples in ns by process and block, or empty, and then
    `reported` holds the figures that the tool printed."""

    tool: str
    version: str | None
    hardware: str
    window: Window
    batch: int
    started_at: str
    processes: tuple[tuple[tuple[int, ...], ...], ...] = ()
    warmup_ns: tuple[int, ...] = ()
    reported: Reported | None = None
    streams: int = 1
    threads: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    flags: dict[str, Option] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def opened(path: Path) -> BinaryIO:
    """The file, open for reading. Raises UsageError when it cannot be."""
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def text(path: Path, what: str) -> str:
    """The file as text, without what a terminal would obey. Raises UsageError when it cannot be
    read, or is none."""
    with opened(path) as file:
        data = file.read()
    if b"\0" in data:
        raise UsageError(f"{path} is binary, and no {what}")
    return plain(data.decode("utf-8-sig", errors="replace"))


def plain(text: str) -> str:
    """The text without what a terminal would obey: names in files may hold anything."""
    return _OBEYED.sub("", text)


def json(path: Path, what: str) -> Any:
    """The file's JSON. Raises UsageError when it is damaged or none."""
    try:
        return msgspec.json.decode(text(path, what).encode())
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise UsageError(f"{path} is no {what}, or was cut short: {error}") from error


def ns(value: object, unit_ns: float, where: str) -> int:
    """A latency in ns. Raises UsageError, naming where it stands, for what is none."""
    found = number(value, where)
    if not 0 < found * unit_ns <= LONGEST_NS or not round(found * unit_ns):
        raise UsageError(f"{where} is {found:g}, and no inference takes that long")
    return round(found * unit_ns)


def number(value: object, where: str, what: str = "a time") -> float:
    """A finite number. Raises UsageError, naming where it stands, for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{where} is {str(value)[:40]!r}, and not {what}")
    try:
        found = float(value)
    except OverflowError:
        found = inf
    if not isfinite(found):
        raise UsageError(f"{where} is {found}, and not {what}")
    return found


def count(text: str) -> int | None:
    """A count of up to nine ASCII digits; None for anything else, "²" too."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None


def written_at(path: Path) -> str:
    """When the file was last written, where nothing in it says when it was measured."""
    return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat(
        timespec="milliseconds"
    )


def agreed(said: Any, found: Any, option: str, where: Path) -> Any:
    """What is said and what is found, where only one of them is known or both are the same. Raises
    UsageError where they differ or neither is known."""
    if said is None and found is None:
        raise UsageError(f"{where} does not tell: give {option}")
    if said is not None and found is not None and said != found:
        raise UsageError(f"{option} {said} was given, and {where} says {found}")
    return found if said is None else said
