"""How long a child spends in each of its stages, and how much memory it takes there."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from bench import memory
from bench.timing import stopclock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.records import Stage

#: Seconds between two looks at the memory. Nothing is being timed while a child is watched.
INTERVAL = 0.2
#: What a child does before it tells of a first stage.
START = "start"


class Watch:
    """Have it follow a child, and tell it of each stage (`at`).

    `peak_bytes` is resident memory, pages of mapped files included: of the child, by the kernel's
    own high-water mark, and of all that it has started, by looking every 0.2 s. Empty where the
    system has no /proc.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peak_bytes: dict[str, int] = {}
        self._stage: str = START
        self._session = 0
        self._high = 0
        self._clock = stopclock()
        self._began = 0.0
        self._over = Event()

    @contextmanager
    def follow(self, session: int) -> Iterator[None]:
        """Look at a child, whose process id is that of its session, until the end of the block."""
        self._session = session
        thread = Thread(target=self._look_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            self._end_stage()

    def at(self, stage: Stage) -> None:
        """A stage begins, and the one before it ends."""
        self._look()
        self._end_stage()
        self._stage = stage

    def _end_stage(self) -> None:
        now = self._clock()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._began
        self._began = now

    def _look_on(self) -> None:
        while not self._over.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        high, resident = 0, 0
        for pid in _session(self._session):
            sizes = memory.sizes(pid)
            resident += sizes.get("VmRSS", 0)
            if pid == self._session:
                high = sizes.get("VmHWM", 0)
        # The mark is of the whole life: only one that has risen is about this stage.
        if high > self._high:
            self._high = high
            resident = max(resident, high)
        if resident:
            self.peak_bytes[self._stage] = max(resident, self.peak_bytes.get(self._stage, 0))


def _session(leader: int) -> list[int]:
    """The processes of a session."""
    found = []
    with suppress(OSError):
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with suppress(OSError, IndexError):  # it has just ended
                    # After the name in parentheses: state, parent, group, session.
                    fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                    if int(fields[3]) == leader:
                        found.append(int(entry.name))
    return found
