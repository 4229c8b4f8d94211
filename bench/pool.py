"""The pool of inputs that timing rotates through, as a measuring process reads it.

Apart from `bench/inputs.py`, which makes it: a process that measures has no use for images.
"""

from __future__ import annotations

from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bench.contracts import Feed
    from bench.records import Artifact


def read(pool: Artifact, batch: int) -> list[Feed]:
    """The pool as feeds of a batch size: consecutive inputs, round and round."""
    with np.load(pool.path) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    n = len(next(iter(columns.values())))
    order = cycle(range(n))
    chosen = [list(islice(order, batch)) for _ in range(n if batch == 1 else max(2, n // batch))]
    return [{name: column[rows] for name, column in columns.items()} for rows in chosen]
