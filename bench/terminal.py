"""How anything is said in a terminal: tables on standard output, lines for people on standard
error, numbers and changes in words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Iterable[str] = (),
    fold: int | tuple[int, ...] = 0,
    tight: bool = False,
) -> None:
    """Print a table to standard output, the columns `fold` folded to fit the terminal's width.
    `tight` leaves one space between columns, not two."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    space = (0, 0 if tight else 1, 0, 0)
    folded = {columns[i] for i in ((fold,) if isinstance(fold, int) else fold)}
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=space)
    for column in columns:
        side: Literal["left", "right"] = "right" if column in set(right) else "left"
        grid.add_column(column, justify=side, overflow="fold", no_wrap=column not in folded)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(grid)


def say(text: str) -> None:
    """A line for a person, on standard error: standard output belongs to the results."""
    print(text, file=sys.stderr, flush=True)


def draw(what: str, now: str = "") -> None:
    """Write the live line anew: what is worked on, cut where the line is too narrow, and how it
    stands `now`."""
    from shutil import get_terminal_size

    width = get_terminal_size().columns - 1
    room = max(0, width - len(now))
    if len(what) > room:
        what = what[: room - 1] + "…" if room else ""
    print(f"\r\033[K{what}{now[:width]}", end="", file=sys.stderr, flush=True)


def number(value: float | None) -> str:
    """Three significant digits, never in powers of ten."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.4f}"


def counted(n: object, noun: str, plural: str | None = None) -> str:
    """So many of something: 1 pair, 2 pairs."""
    said = f"{n:,}" if isinstance(n, int) else str(n)
    return f"{said} {noun if n == 1 else plural or noun + 's'}"


def amount(value: float | None) -> str:
    """A count with K, M or G behind it, "-" where it is not known."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    for letter, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= size:
            return f"{number(value / size)} {letter}"
    return number(value)


def change(ratio: float) -> str:
    """A ratio as the change that it is."""
    return f"{100 * (ratio - 1):+.2f} %"
