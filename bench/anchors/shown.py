"""The comparison with published figures as a person sees it: the table, then the causes."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

from bench.anchors import TOLERANCE
from bench.terminal import number, say, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.anchors import Finding


def findings(found: Sequence[Finding]) -> None:
    """What could be compared first. Published and measured figures never share a column."""
    ordered = sorted(found, key=lambda each: each.verdict == "NOT MEASURED")
    table(
        ["model", "target", "window", "source", "published", "measured", "verdict"],
        [
            [
                each.anchor.model,
                each.anchor.target,
                _window(each),
                each.anchor.table.source,
                _published(each),
                number(each.measured_ms),
                each.verdict + (f" {each.ratio:.2f}" if each.ratio else ""),
            ]
            for each in ordered
        ],
        right={"published", "measured"},
        tight=True,
    )
    sys.stdout.flush()
    for each in ordered:
        if each.causes:
            say(f"{_name(each)}: {_difference(each)}:")
            for cause in each.causes:
                say(f"  - {cause}")
    for name, note in dict.fromkeys(
        (_name(each), note) for each in ordered if each.row for note in each.row["notes"]
    ):
        say(f"note: {name}: {note}")
    for name, title in {
        each.anchor.table.source: each.anchor.source.title for each in found
    }.items():
        say(f"{name}: {title}")
    counts = Counter(each.verdict for each in found)
    listed = ", ".join(f"{n} {verdict}" for verdict, n in counts.most_common())
    say(f"ms at batch 1, measured over published, within {TOLERANCE:.0%}: {listed}")


def _name(each: Finding) -> str:
    return f"{each.anchor.model} @ {each.anchor.target}"


def _difference(each: Finding) -> str:
    if each.ratio is None:
        return "no verdict"
    return f"{each.ratio:.2f} of the time that {each.anchor.table.source} published; it may be"


def _window(each: Finding) -> str:
    if each.row:
        return str((each.row["latency"] or each.row["reported"])["window"])
    return each.anchor.table.windows[0] if len(each.anchor.table.windows) == 1 else "either"


def _published(each: Finding) -> str:
    least, most = each.anchor.least_ms, each.anchor.most_ms
    return f"{least:g}" if least == most else f"{least:g}-{most:g}"
