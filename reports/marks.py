"""What a chart draws at the data: axes, frontier line, interval bars, markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.captions import setup, shorten
from reports.placement import Box
from reports.scales import accuracy_interval, accuracy_scale, latency_interval, latency_scale

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from reports.frontier import Group, Row

#: The usual shapes of this field's charts; anything else is a cross.
_MARKERS = {"int8": "o", "fp16": "^", "fp32": "s", "bf16": "D", "tf32": "v"}
#: Colours that the colour-blind can tell apart (Okabe and Ito 2008), without the yellow that
#: white paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, GREY, LINE = "#222222", "#6b6b6b", "#4a4a4a"


def pale(colour: str) -> str:
    """The colour of a dominated point. Mixed with white instead of made translucent, so that bars
    do not show through the marker."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(0.42 * channel + 0.58 * 255):02x}" for channel in channels)


def position(row: Row) -> tuple[float, float]:
    """Where a row lies: ms, percent."""
    return row["latency"]["p50_ms"], row["accuracy"]["value"]


def pixels(axes: Axes, at: tuple[float, float]) -> tuple[float, float]:
    """Display units of a point in data units."""
    x, y = axes.transData.transform(at)
    return float(x), float(y)


def is_in(row: Row, rows: Sequence[Row]) -> bool:
    """By identity: two results may be equal in everything."""
    return any(row is other for other in rows)


def draw_axes(axes: Axes, group: Group, drawn: Sequence[Row]) -> None:
    """Limits, ticks, grid and the names of the axes."""
    x, y = latency_scale(drawn), accuracy_scale(drawn)
    axes.set_xscale("log" if x.log else "linear")
    axes.set_xlim(x.low, x.high)
    axes.set_ylim(y.low, y.high)
    axes.set_xticks(x.ticks, [f"{tick:.6g}" for tick in x.ticks])
    axes.set_yticks(y.ticks, [f"{tick:.6g}" for tick in y.ticks])
    axes.minorticks_off()
    how = f"{setup(group.conditions)}, window {shorten(group.conditions.window, 20)}"
    axes.set_xlabel(f"Latency, median (ms) · {how}", size=9.5, color=INK, labelpad=7)
    axes.set_ylabel(f"Accuracy, {shorten(group.metric, 30)} (%)", size=9.5, color=INK, labelpad=7)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK, pad=6)
    axes.grid(color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#9a9a9a")


def draw_frontier(axes: Axes, front: Sequence[Row]) -> list[Box]:
    """The best accuracy that can be had within a latency: a step up at each point of the frontier.
    Returns the line's straight pieces, in display units."""
    x, y = map(list, zip(*map(position, front), strict=True))
    x, y = [*x, axes.get_xlim()[1]], [*y, y[-1]]
    axes.fill_between(
        x, y, axes.get_ylim()[0], step="post", color=LINE, alpha=0.045, linewidth=0, zorder=0.5
    )
    axes.plot(x, y, drawstyle="steps-post", color=LINE, linewidth=1.3, zorder=2)
    corners = [(x[0], y[0])]
    for i in range(1, len(x)):
        corners += [(x[i], y[i - 1]), (x[i], y[i])]
    at = [pixels(axes, corner) for corner in corners]
    return [around(at[i], at[i + 1], 1) for i in range(len(at) - 1)]


def draw_points(
    axes: Axes, drawn: Sequence[Row], front: Sequence[Row], colours: Mapping[str, str]
) -> list[Box]:
    """Markers and interval bars, the frontier's above the faded rest. Returns the bars, in display
    units."""
    bars = []
    for row in drawn:
        best = is_in(row, front)
        x, y = position(row)
        (x0, x1), (y0, y1) = latency_interval(row), accuracy_interval(row)
        colour = colours[row["runner"]]
        axes.errorbar(
            x,
            y,
            xerr=[[x - x0], [x1 - x]],
            yerr=[[y - y0], [y1 - y]],
            fmt="none",
            ecolor=colour,
            elinewidth=0.9,
            capsize=2,
            capthick=0.9,
            alpha=0.6 if best else 0.22,
            zorder=3 if best else 1.5,
        )
        point = marker(row["precision"], colour, best=best, noisy=row["verdict"] == "NOISY")
        point.set_data([x], [y])
        axes.add_line(point)
        bars.append(around(pixels(axes, (x0, y)), pixels(axes, (x1, y)), 1))
        bars.append(around(pixels(axes, (x, y0)), pixels(axes, (x, y1)), 1))
    return bars


def marker(precision: str, colour: str, *, best: bool = True, noisy: bool = False) -> Line2D:
    """A point of the chart or of a legend."""
    from matplotlib.lines import Line2D

    shade = colour if best else pale(colour)
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=_MARKERS.get(precision, "X"),
        markersize=8.0 if best else 6.5,
        markerfacecolor="white" if noisy else shade,
        markeredgecolor=shade if noisy else "white",
        markeredgewidth=1.4 if noisy else 0.7,
        zorder=5 if best else 4,
    )


def around(start: tuple[float, float], end: tuple[float, float], by: float) -> Box:
    """The box of a straight line, `by` wider on each side."""
    (x0, x1), (y0, y1) = sorted((start[0], end[0])), sorted((start[1], end[1]))
    return Box(x0, y0, x1, y1).padded(by)
