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
) -> tuple[list[Path], dict[str, list[str]]]:
    """Write public results in the formats asked for, or in every one: the files written, and the
    formats left out, by reason.

    A format that has nothing to show is left out when every format is asked for; when it was asked
    for by name, or all have nothing, UsageError says why.
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
    left_out: dict[str, list[str]] = {}
    for form in dict.fromkeys(formats or makers):
        try:
            written += makers[form].render(rows, out, form)
        except UsageError as refusal:
            left_out.setdefault(str(refusal), []).append(form)
    if left_out and (formats or not written):
        raise UsageError(next(iter(left_out)))
    return written, left_out
