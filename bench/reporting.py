"""Which report plug-in writes which format. Nothing here measures, or imports what does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import plugins
from bench.errors import BenchError, Unavailable, UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


def write(
    rows: Sequence[Mapping[str, Any]], out: Path, formats: Iterable[str] | None
) -> tuple[list[Path], dict[str, list[str]]]:
    """Write public results in the formats asked for, or in every one: the files written, and the
    formats left out, by reason.

    A format that has nothing to show, or lacks a package, is left out when every format is asked
    for; when it was asked for by name, or none is left, UsageError or Unavailable says why.
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
    refused: dict[str, BenchError] = {}
    for form in dict.fromkeys(formats or makers):
        try:
            written += makers[form].render(rows, out, form)
        except (UsageError, Unavailable) as refusal:
            refused[form] = refusal
    if refused and (formats or not written):
        raise next(iter(refused.values()))
    left_out: dict[str, list[str]] = {}
    for form, why in refused.items():
        left_out.setdefault(str(why), []).append(form)
    return written, left_out
