"""The types that a network's layers run in, as runtimes tell them: "fp16:73 int8:1"."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.records import Option

#: What runtimes call int8.
_INT8 = {"int8", "i8", "u8"}


def counts(told: Option | None) -> dict[str, int]:
    """How many compute layers there are of each type; empty where the runtime does not tell."""
    pairs = (each.partition(":") for each in str(told or "").split())
    return {kind: int(n) for kind, _, n in pairs}


def barely_int8(told: Option | None) -> str | None:
    """What to say of an int8 artifact that is int8 for the lesser part of its layers only."""
    layers = counts(told)
    n, int8 = sum(layers.values()), sum(layers.get(kind, 0) for kind in _INT8)
    if 2 * int8 >= n:
        return None
    others = ", ".join(f"{each} in {kind}" for kind, each in layers.items() if kind not in _INT8)
    return (
        f"int8 for the lesser part only: {int8} of {n} compute layers, {others}; do not expect "
        "int8's speed or size of it"
    )
