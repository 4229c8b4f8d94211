"""What a chart writes: labels beside the points, legends, title and caption."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reports.captions import labels, shorten
from reports.frontier import one_line
from reports.marks import GREY, INK, LINE, around, is_in, marker, pixels, position
from reports.placement import Box, Wanted, place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reports.frontier import Row

#: Inches that title and caption keep from the picture's edge.
FRAME_IN = 0.25
#: Sizes of text, in points.
_TITLE, _SUBTITLE, _LEGEND, _LABEL, _CAPTION = 13, 9.5, 9, 8.5, 7.5
#: The widest a label and a legend's entry may be, in inches.
_LABEL_IN, _ENTRY_IN = 2.6, 1.1
#: How far a dominated point's label may go, and what it may cover: see `placement.Wanted.worth`.
#: In heights of the label; so it stands clear beside its point or is left out.
_WORTH = 2.2
#: From this distance on, in points, a thin line leads from the point to its label.
_LEADER = 12


def draw_labels(
    figure: Figure, axes: Axes, drawn: Sequence[Row], front: Sequence[Row], covered: Sequence[Box]
) -> None:
    """Names beside the points: the frontier's first, then those of the rest that find room.
    `covered` are the lines that a label rather stays clear of, in display units."""
    from matplotlib.lines import Line2D

    point = figure.dpi / 72
    texts = [fitted(figure, text, _LABEL, _LABEL_IN) for text in labels(drawn)]
    order = sorted(range(len(drawn)), key=lambda i: not is_in(drawn[i], front))
    at = [pixels(axes, position(row)) for row in drawn]
    wanted = []
    for i in order:
        width, height = extent(figure, texts[i], _LABEL)
        worth = math.inf if is_in(drawn[i], front) else _WORTH * height
        wanted.append(Wanted(*at[i], width + 2 * point, height + point, worth))
    area = axes.get_window_extent()
    frame = Box(area.x0, area.y0, area.x1, area.y1)
    markers = [around(xy, xy, 5 * point) for xy in at]
    to_axes = axes.transAxes.inverted()
    for i, box in zip(order, place(wanted, markers, covered, frame), strict=True):
        if box is None:
            continue
        x, y = to_axes.transform(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2))
        axes.text(
            x,
            y,
            texts[i],
            transform=axes.transAxes,
            size=_LABEL,
            color=INK if is_in(drawn[i], front) else "#858585",
            ha="center",
            va="center",
            zorder=6,
            gid=f"label-{i}",
            # Where a line had to be covered, it does not strike the name through.
            bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0},
        )
        end = box.nearest(*at[i])
        if math.dist(at[i], end) > _LEADER * point:
            ends = to_axes.transform([at[i], end])
            leader = Line2D(*ends.T, transform=axes.transAxes, color="#8a8a8a", linewidth=0.6)
            leader.set_zorder(2.5)
            axes.add_line(leader)


def draw_legends(
    figure: Figure,
    axes: Axes,
    drawn: Sequence[Row],
    front: Sequence[Row],
    colours: Mapping[str, str],
) -> None:
    """Keys to the right of the axes, where they hide nothing, one below the other."""
    from matplotlib.lines import Line2D

    runners = sorted({row["runner"] for row in drawn})
    precisions = sorted({row["precision"] for row in drawn})
    marks = [(Line2D([], [], color=LINE, linewidth=1.3), "frontier")]
    if len(front) < len(drawn):
        marks.append((marker("int8", GREY, best=False), "dominated"))
    if any(row["verdict"] == "NOISY" for row in drawn):
        marks.append((marker("int8", GREY, noisy=True), "noisy"))
    blocks = {
        "Runtime": [(marker("int8", colours[runner]), runner) for runner in runners],
        "Precision": [(marker(precision, GREY), precision) for precision in precisions],
        "Marks": marks,
    }
    top = 1.0
    for heading, entries in blocks.items():
        names = [fitted(figure, one_line(name), _LEGEND, _ENTRY_IN) for _, name in entries]
        legend = axes.legend(
            [handle for handle, _ in entries],
            # matplotlib leaves out an entry that starts with an underscore.
            [f" {name}" if name.startswith("_") else name for name in names],
            title=heading,
            loc="upper left",
            bbox_to_anchor=(1.015, top),
            borderaxespad=0,
            frameon=False,
            fontsize=_LEGEND,
            labelcolor=INK,
            alignment="left",
            handlelength=1.5,
            handletextpad=0.6,
            labelspacing=0.45,
            title_fontproperties={"size": _LEGEND, "weight": "bold"},
        )
        legend.get_title().set_color(INK)
        axes.add_artist(legend)  # else the next call takes it away
        top -= (legend.get_window_extent().height + 12) / axes.get_window_extent().height


def draw_words(figure: Figure, title: str, subtitle: str, caption: Sequence[str]) -> None:
    """Title and subtitle at the top, the caption's lines at the bottom, all flush left."""
    width, height = figure.get_size_inches()
    left, room = FRAME_IN / width, width - 2 * FRAME_IN
    head = fitted(figure, title, _TITLE, room, bold=True)
    figure.text(left, 1 - 0.22 / height, head, size=_TITLE, weight="bold", color=INK, va="top")
    below = fitted(figure, subtitle, _SUBTITLE, room)
    figure.text(left, 1 - 0.52 / height, below, size=_SUBTITLE, color=GREY, va="top")
    foot = "\n".join(caption)
    figure.text(left, 0.16 / height, foot, size=_CAPTION, color=GREY, va="bottom", linespacing=1.35)


def wrapped(figure: Figure, paragraphs: Sequence[str], inches: float) -> list[str]:
    """The caption's lines, each at most that wide."""
    lines = []
    for paragraph in paragraphs:
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and extent(figure, longer, _CAPTION)[0] > inches * figure.dpi:
                lines.append(line)
                longer = word
            line = fitted(figure, longer, _CAPTION, inches)
        lines.append(line)
    return lines


def fitted(figure: Figure, text: str, size: float, inches: float, bold: bool = False) -> str:
    """The text, its middle left out where it would be wider."""
    length = len(text)
    while length > 1 and extent(figure, text, size, bold)[0] > inches * figure.dpi:
        length -= 1
        text = shorten(text, length)
    return text


def extent(figure: Figure, text: str, size: float, bold: bool = False) -> tuple[float, float]:
    """Width and height of one line of text, in pixels."""
    probe = figure.text(0, 0, text, size=size, weight="bold" if bold else "normal")
    box = probe.get_window_extent()
    probe.remove()
    return float(box.width), float(box.height)
