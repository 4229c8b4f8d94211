"""Which report plug-in writes which format. Nothing here measures, or imports what does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import plugins
from bench.errors import UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


def write(
    rows: Sequence[Mapping[str, Any]], out: Path, formats: Iterable[str] | None
) -> list[Path]:
    """Write public results in the formats asked for, or in every one; the files written.

    When every format is asked for, one that has nothing to show is left out; when all have
    nothing, UsageError says why.
    """
    if not rows:
        raise UsageError("the store has no results to report: `bench run` makes some")
    makers = {
        form: report
        for report in map(plugins.report, plugins.find("reports"))
        for form in report.formats
    }
    for form in formats or ():
        if form not in makers:
            raise unknown("format", form, makers, f"one of: {', '.join(makers)}")
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    refusals: list[UsageError] = []
    for form in dict.fromkeys(formats or makers):
        try:
            written += makers[form].render(rows, out, form)
        except UsageError as refusal:
            refusals.append(refusal)
    if refusals and (formats or not written):
        raise refusals[0]
    return written
