"""The accuracy-latency frontier as a picture, one chart for each group of comparable results.

matplotlib is imported when a chart is drawn, never before, and only through its object interface:
nothing here touches pyplot's global state.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from bench.errors import Unavailable, UsageError
from reports.captions import caption, file_names, subtitle, title
from reports.frontier import frontier_rows, groups, why_not_drawn
from reports.lettering import FRAME_IN, draw_labels, draw_legends, draw_words, wrapped
from reports.marks import COLOURS, draw_axes, draw_frontier, draw_points

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from reports.frontier import Group, Row

#: Inches, about the shape of a slide; and dots an inch.
_WIDTH, _HEIGHT, _DPI = 10.0, 6.5, 160
#: Inches between the edge of the picture and the axes: room for ticks, legends and title. The
#: caption's lines, `_LINE` each, come on top of `_BOTTOM`.
_LEFT, _RIGHT, _TOP, _BOTTOM, _LINE = 0.85, 1.6, 0.9, 0.74, 0.15

#: Everything that could make the same results give other bytes, or choke on a name.
_STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "svg.fonttype": "none",  # text stays text: searchable, and small
    "svg.hashsalt": "frontier-bench",
    "pdf.fonttype": 42,
}
#: What makes an undrawn result drawable (`why_not_drawn`), the likeliest first.
_REMEDIES = {
    "without accuracy": "give `bench run` labelled images and trained weights",
    "invalid": "measure again while the machine is quiet",
    "failed": "mend what failed",
    "without samples": "time it with `bench run`",
}
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Creator": None, "Date": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


class Chart:
    """One picture for each group: same hardware, window, batch, streams, threads, metric and
    images."""

    formats = ("png", "svg", "pdf")

    def render(self, rows: Sequence[Mapping[str, Any]], out: Path, fmt: str) -> list[Path]:
        """Raises UsageError when no row can be drawn, Unavailable without matplotlib."""
        try:
            import matplotlib
        except ImportError as error:
            raise Unavailable(
                "charts need matplotlib: pip install 'frontier-bench[report]'"
            ) from error
        charts = groups(rows)
        if not charts:
            raise UsageError(_nothing_to_draw(rows))
        out.mkdir(parents=True, exist_ok=True)
        # One colour a runtime, the same on every chart of a report.
        runners = sorted({row["runner"] for drawn in charts.values() for row in drawn})
        colours = {runner: COLOURS[i % len(COLOURS)] for i, runner in enumerate(runners)}
        written = []
        with matplotlib.rc_context(), warnings.catch_warnings():
            matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
            matplotlib.rcParams.update(_STYLE)
            # A script that the font lacks shows as boxes; the table has the name in full.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            for (group, drawn), name in zip(charts.items(), file_names([*charts]), strict=True):
                figure = draw(group, drawn, rows, colours)
                path = out / f"{name}.{fmt}"
                figure.savefig(path, format=fmt, dpi=_DPI, metadata=_METADATA[fmt])
                written.append(path)
        return written


def draw(
    group: Group, drawn: Sequence[Row], rows: Sequence[Row], colours: Mapping[str, str]
) -> Figure:
    """The chart of one group. `rows` are all results: the caption says how many it leaves out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI)
    FigureCanvasAgg(figure)  # measures text, whatever format is written in the end
    lines = wrapped(figure, caption(group, drawn, rows), _WIDTH - 2 * FRAME_IN)
    bottom = _BOTTOM + _LINE * len(lines)
    size = (_WIDTH - _LEFT - _RIGHT) / _WIDTH, (_HEIGHT - _TOP - bottom) / _HEIGHT
    axes = figure.add_axes((_LEFT / _WIDTH, bottom / _HEIGHT, *size))
    front = frontier_rows(drawn)
    draw_axes(axes, group, drawn)
    covered = [*draw_frontier(axes, front), *draw_points(axes, drawn, front, colours)]
    draw_labels(figure, axes, drawn, front, covered)
    draw_legends(figure, axes, drawn, front, colours)
    draw_words(figure, title(group), subtitle(group, drawn), lines)
    return figure


def _nothing_to_draw(rows: Iterable[Row]) -> str:
    reasons = [why for why in map(why_not_drawn, rows) if why]
    if not reasons:
        return "there is no result to draw: measure something with `bench run` first"
    told = ", ".join(f"{reasons.count(why)} {why}" for why in sorted(set(reasons)))
    remedy = next(remedy for why, remedy in _REMEDIES.items() if why in reasons)
    return (
        f"no result has both a valid latency and an accuracy ({told}): {remedy}, or ask for the "
        "table, which shows them all"
    )
