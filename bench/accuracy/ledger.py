"""Predictions on disk, batch by batch, so that an evaluation that was interrupted goes on."""

from __future__ import annotations

import hashlib
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from pathlib import Path


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one image: its prediction, or why there is none (`bad`), and whether that may
    be otherwise another time (`passing`); `odd` is what is not ordinary about it."""

    prediction: Any = None
    bad: str | None = None
    odd: str | None = None
    passing: bool = False


class Ledger:
    """One JSON line a batch: its number and what became of its images. From the first line on that
    cannot be read (cut off by a crash, or damaged) all are dropped, and so made again."""

    def __init__(self, folder: Path, key: Any, *, fresh: bool = False) -> None:
        name = hashlib.sha256(msgspec.json.encode(key, order="deterministic")).hexdigest()[:32]
        self._path = folder / f"{name}.jsonl"
        self._lock = Lock()
        self.done: dict[int, list[Seen]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if fresh:
            self.remove()
        if not self._path.exists():
            return
        lines = self._path.read_bytes().splitlines(keepends=True)
        whole: list[bytes] = []
        for line in lines:
            try:
                number, predictions = msgspec.json.decode(line, type=tuple[int, list[Seen]])
            except (msgspec.DecodeError, ValueError):  # the latter for bytes that are no text
                break
            if not line.endswith(b"\n"):
                break
            whole.append(line)
            self.done[number] = predictions
        if whole != lines:
            self._path.write_bytes(b"".join(whole))

    def add(self, number: int, predictions: list[Seen]) -> None:
        """Keep the predictions of a batch; not on disk where some may be otherwise next time. May
        be called by several threads."""
        with self._lock:
            if not any(each.passing for each in predictions):
                with self._path.open("ab") as file:
                    file.write(msgspec.json.encode([number, predictions]) + b"\n")
            self.done[number] = predictions

    def remove(self) -> None:
        """The evaluation is complete, and kept elsewhere."""
        self._path.unlink(missing_ok=True)
