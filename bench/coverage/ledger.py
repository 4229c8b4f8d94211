"""What was tried and what came of it, a line each, durable before the next one is tried."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from bench.errors import UsageError
from bench.records import Check, Facts, Failure, Option

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one model on one target; with `target` None, of its export, which all targets
    share. It works when there is no failure.

    `weights` is what was asked for, `used` the tag of what it got: "random" where the hub did not
    answer. `content` changes with the files or the code that a name stands for.
    `seconds` and `peak_mb` (resident memory) are by stage. `versions` are those of the packages
    that decide it; `calibration` is how many images an int8 was calibrated on at most; `ahead` says
    that it was built for a device that is not here, and not run. `machine` is where it was tried,
    None in ledgers from before that was kept; whether a model works does not hang on it.
    """

    model: str
    target: str | None
    weights: str
    versions: dict[str, str]
    started_at: str
    content: str | None = None
    calibration: int | None = None
    ahead: bool = False
    used: str | None = None
    failure: Failure | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    artifact_mb: float | None = None
    made_by: str | None = None
    details: dict[str, Option] = field(default_factory=dict)
    facts: Facts | None = None
    check: Check | None = None
    notes: tuple[str, ...] = ()
    machine: str | None = None

    @property
    def works(self) -> bool:
        return self.failure is None

    @property
    def fell_back(self) -> bool:
        """Whether it got random weights in place of those that were asked for."""
        return self.used == "random" != self.weights

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    @property
    def highest_mb(self) -> float | None:
        """The most memory of all stages, None where the system does not tell."""
        return max(self.peak_mb.values(), default=None)

    @property
    def asked(self) -> tuple[object, ...]:
        """Two attempts with the same of this are the same attempt, done twice."""
        versions = tuple(sorted(self.versions.items()))
        what = self.model, self.content, self.target, self.weights
        return *what, self.calibration, self.ahead, versions


class Ledger:
    """A file of attempts in JSON lines; of several of the same, the last one counts.

    Raises UsageError for a file that holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[tuple[object, ...], Attempt] = {}
        lines = path.read_bytes().split(b"\n") if path.is_file() else [b""]
        #: Where the file ends once what was cut off is gone; what a last line that is whole lacks.
        self._cut: int | None = None
        self._end = b"\n" if lines[-1] else b""
        for i, line in enumerate(lines, 1):
            try:
                if line.strip():
                    self._keep(msgspec.json.decode(line, type=Attempt))
            except msgspec.MsgspecError as error:
                if i < len(lines):
                    raise UsageError(
                        f"{path}, line {i}, is no attempt of this version of bench ({error}): "
                        "move the file away, and start anew"
                    ) from error
                # It was cut off as it was written.
                self._cut, self._end = sum(len(line) + 1 for line in lines[:-1]), b""

    def find(self, asked: Attempt) -> Attempt | None:
        """The same attempt, where it was done already."""
        return self._known.get(asked.asked)

    def append(self, attempt: Attempt) -> None:
        line = self._end + msgspec.json.encode(attempt) + b"\n"
        with self.path.open("ab") as file:
            if self._cut is not None:
                file.truncate(self._cut)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._cut, self._end = None, b""
        self._keep(attempt)

    def _keep(self, attempt: Attempt) -> None:
        self._known[attempt.asked] = attempt


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Nobody else has this ledger until the end of the block: two at work on one would clear the
    folder that they share under each other.

    Raises UsageError where somebody has it, or where the file cannot be written.
    """
    try:
        file = path.open("ab")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    with file:
        if not _lock(file.fileno()):
            raise UsageError(
                f"another `bench coverage` is at work on {path}: wait for its end, or give another "
                "--out"
            )
        yield


def _lock(descriptor: int) -> bool:
    """Whether the lock is ours, until the file is closed, by whatever end of the process."""
    try:
        import fcntl
    except ImportError:  # Windows: there it is up to the user
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True
