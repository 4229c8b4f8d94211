"""Which class of the model is meant: by the names that data and model share, or in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.datasets.images import first_few, shown
from bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


def by_name(data: str, names: Sequence[str], labels: Sequence[str]) -> list[int] | None:
    """The model's class of each name in the data; None where no name is one of the model's. `data`
    says what has the names: "val has 3 subfolders".

    Raises UsageError where only some are the model's: a name that was misspelt would move every
    class after it, were they taken in order.
    """
    known = set(labels)
    strange = [name for name in names if name not in known]
    if not strange:
        return [list(labels).index(name) for name in names]
    if len(strange) == len(names):
        return None
    raise UsageError(
        f"{data}, and none of the model's {len(labels)} classes is called {first_few(strange)}"
    )


def in_order(data: str, names: Sequence[str], labels: Sequence[str]) -> tuple[list[int], str]:
    """The model's classes one after the other, and a note that says so: nothing but their number
    speaks for it. Raises UsageError where there are more or fewer."""
    if len(names) != len(labels):
        raise UsageError(
            f"{data}, and the model has {len(labels)} classes of other names: they cannot be "
            "matched"
        )
    return list(range(len(names))), (
        f"{data}, and no class of the model has the name of one: they were taken in order, "
        f"{shown(names[0])} for {shown(labels[0])} and so on"
    )
