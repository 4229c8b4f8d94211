"""Limits and ticks of a chart's axes. Pure functions of the rows drawn, no drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.frontier import Row


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis, in ms or percent."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False


def latency_scale(drawn: Sequence[Row]) -> Scale:
    """Logarithmic where the slowest network takes over five times as long as the fastest."""
    medians = [row["latency"]["p50_ms"] for row in drawn]
    ends = [end for row in drawn for end in latency_interval(row)]
    low, high = min(ends), max(ends)
    if max(medians) > 5 * min(medians):
        room = (high / low) ** 0.07
        low, high = low / room, high * room
        return Scale(low, high, _decade_ticks(low, high), log=True)
    room = max(0.08 * (high - low), 0.03 * high)
    low, high = max(low - room, 0), high + room
    return Scale(low, high, _even_ticks(low, high))


def accuracy_scale(drawn: Sequence[Row]) -> Scale:
    """Room above 100 % for a marker that lies on it, but no tick."""
    ends = [end for row in drawn for end in accuracy_interval(row)]
    room = max(0.08 * (max(ends) - min(ends)), 0.5)
    low, high = max(min(ends) - room, -room / 2), min(max(ends) + room, 100 + room / 2)
    return Scale(low, high, _even_ticks(max(low, 0), min(high, 100)))


def latency_interval(row: Row) -> tuple[float, float]:
    """The 95 % interval of the median, ms, with the median in it and above zero, which has no
    place on a logarithmic axis."""
    value, (low, high) = row["latency"]["p50_ms"], row["latency"]["ci95_ms"]
    return min(low if low > 0 else value, value), max(high, value)


def accuracy_interval(row: Row) -> tuple[float, float]:
    """The 95 % interval, percent, with the value in it."""
    value, (low, high) = row["accuracy"]["value"], row["accuracy"]["ci95"]
    return min(low, value), max(high, value)


def _decade_ticks(low: float, high: float) -> tuple[float, ...]:
    """0.1, 0.2, 0.5, 1, ...; more within a decade, only the powers of ten over many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: tuple[float, ...] = ()
    for steps in ((1.0,), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)):
        if len(ticks) < 5:
            wanted = (float(f"{step}e{power}") for power in powers for step in steps)
            ticks = tuple(tick for tick in wanted if low <= tick <= high)
    return ticks


def _even_ticks(low: float, high: float) -> tuple[float, ...]:
    """At most nine round numbers, evenly spaced."""
    rough = (high - low) / 8
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return tuple(round(i * step, 12) for i in range(first, last + 1))
