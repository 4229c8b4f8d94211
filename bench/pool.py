"""The pool of inputs that timing rotates through, as a measuring process reads it.

Apart from `bench/inputs.py`, which makes it: a process that measures has no use for images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bench.contracts import Array, Feed
    from bench.records import Artifact


#: What the name of an array begins with where each of its rows is a whole input, without a batch.
WHOLE = "whole "


def read(pool: Artifact, batch: int) -> list[Feed]:
    """The pool as feeds of a batch size: consecutive inputs, round and round. Where a batch is
    whole rounds, the second begins one later, so as not to be the first again."""
    with np.load(pool.path) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    n = max(len(column) for column in columns.values())
    later = 1 if batch % n == 0 else 0
    starts = [k * (batch + later) for k in range(n if batch == 1 else max(2, n // batch))]
    chosen = [[(start + i) % n for i in range(batch)] for start in starts]
    return [dict(_fed(*each, rows) for each in columns.items()) for rows in chosen]


def _fed(name: str, column: Array, rows: list[int]) -> tuple[str, Array]:
    if name.startswith(WHOLE):
        return name.removeprefix(WHOLE), column[rows[0] % len(column)]
    return name, column[rows]
