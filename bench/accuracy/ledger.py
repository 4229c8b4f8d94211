"""Predictions on disk, batch by batch, so that an evaluation that was interrupted goes on."""

from __future__ import annotations

import hashlib
import json
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from pathlib import Path


class Ledger:
    """One JSON line a batch: its number and its predictions. A line that was cut off by a crash is
    left out, and so made again."""

    def __init__(self, folder: Path, key: Any, *, fresh: bool = False) -> None:
        name = hashlib.sha256(msgspec.json.encode(key, order="deterministic")).hexdigest()[:32]
        self._path = folder / f"{name}.jsonl"
        self._lock = Lock()
        self.done: dict[int, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if fresh:
            self.remove()
        if not self._path.exists():
            return
        lines = self._path.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        for line in whole:
            number, predictions = json.loads(line)
            self.done[number] = predictions
        if whole != lines:
            self._path.write_bytes(b"".join(whole))

    def add(self, number: int, predictions: Any) -> None:
        """Keep the predictions of a batch. May be called by several threads."""
        with self._lock, self._path.open("ab") as file:
            file.write(msgspec.json.encode([number, predictions]) + b"\n")
            self.done[number] = predictions

    def remove(self) -> None:
        """The evaluation is complete, and kept elsewhere."""
        self._path.unlink(missing_ok=True)
