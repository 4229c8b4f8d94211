"""The pool of inputs that timing rotates through, as a measuring process reads it.

Apart from `bench/inputs.py`, which makes it: a process that measures has no use for images.
"""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bench.contracts import Array, Feed
    from bench.records import Artifact


#: What the name of an array begins with where each of its rows is a whole input, without a batch.
WHOLE = "whole "


def read(pool: Artifact, batch: int) -> list[Feed]:
    """The pool as feeds of a batch size: consecutive inputs, round and round, each round begun one
    later, so that no two feeds are alike."""
    with np.load(pool.path) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    n = max(len(column) for column in columns.values())
    order = ((i + i // n) % n for i in count())
    chosen = [list(islice(order, batch)) for _ in range(n if batch == 1 else max(2, n // batch))]
    return [dict(_fed(*each, rows) for each in columns.items()) for rows in chosen]


def _fed(name: str, column: Array, rows: list[int]) -> tuple[str, Array]:
    if name.startswith(WHOLE):
        return name.removeprefix(WHOLE), column[rows[0] % len(column)]
    return name, column[rows]
