"""Where the labels of a chart go: plain rectangles in, plain rectangles out, no drawing.

Greedy and deterministic. Labels are placed in the order given, so the important ones come first;
each takes the cheapest place that is free, and one that fits nowhere is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in any unit; the y axis points up. Boxes that only touch do not overlap."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlaps(self, other: Box) -> bool:
        return (
            self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1
        )

    def inside(self, frame: Box) -> bool:
        return (
            frame.x0 <= self.x0
            and self.x1 <= frame.x1
            and frame.y0 <= self.y0
            and self.y1 <= frame.y1
        )

    def padded(self, by: float) -> Box:
        return Box(self.x0 - by, self.y0 - by, self.x1 + by, self.y1 + by)

    def nearest(self, x: float, y: float) -> Point:
        """The point of the rectangle that is nearest to (x, y): where a leader line ends."""
        return min(max(x, self.x0), self.x1), min(max(y, self.y0), self.y1)

    def crossed_by(self, start: Point, end: Point) -> bool:
        """Whether the straight line from start to end passes through the inside (Liang and Barsky
        1984: clip the line to each pair of sides in turn)."""
        enter, leave = 0.0, 1.0
        for a, b, low, high in (
            (start[0], end[0], self.x0, self.x1),
            (start[1], end[1], self.y0, self.y1),
        ):
            if a == b:
                if not low < a < high:
                    return False
                continue
            first, last = sorted(((low - a) / (b - a), (high - a) / (b - a)))
            enter, leave = max(enter, first), min(leave, last)
        return enter < leave


@dataclass(frozen=True, slots=True)
class Wanted:
    """A label to place: the point it names, its size, and the highest cost it is worth. A place
    costs its distance from the point, and more where it is hard to read."""

    x: float
    y: float
    width: float
    height: float
    worth: float = math.inf


#: Distance between the rings on which a place is looked for, in heights of the label.
_RING = 0.75
#: What a place costs besides its distance, in heights of the label: for each thing that it covers
#: and may cover, for each marker its leader line crosses, and when another marker is nearer.
_COVERING, _CROSSING, _MISTAKABLE = 1.5, 1.5, 1.0
#: Directions from the point, best first: readers look for a name above or right of its point. A
#: zero centres the label on that axis.
_DIRECTIONS = (
    *((0.7, 0.7), (-0.7, 0.7), (1, 0), (0.7, -0.7), (-1, 0), (0, 1), (-0.7, -0.7), (0, -1)),
    *((0.95, 0.3), (-0.95, 0.3), (0.95, -0.3), (-0.95, -0.3)),
    *((0.3, 0.95), (-0.3, 0.95), (0.3, -0.95), (-0.3, -0.95)),
)


def place(
    wanted: Sequence[Wanted],
    hard: Sequence[Box],
    soft: Sequence[Box],
    frame: Box,
    gap: float = 6.0,
) -> list[Box | None]:
    """A place for each label inside `frame`, None for those without one.

    A label covers no box of `hard` (the markers), no other label and no leader line, and its own
    leader line passes under no label. It rather covers no box of `soft` (interval bars, the
    frontier line), and its leader line rather crosses no marker. It starts `gap` from its point.
    """
    placed: list[Box | None] = []
    leaders: list[tuple[Point, Point]] = []
    for label in wanted:
        taken = [box for box in placed if box]
        best, lowest = None, label.worth
        for distance, box in _candidates(label, frame, gap):
            if distance >= lowest:
                break  # the rings widen, and no place costs less than its distance
            leader = ((label.x, label.y), box.nearest(label.x, label.y))
            if (
                not box.inside(frame)
                or any(map(box.overlaps, [*hard, *taken]))
                or any(other.crossed_by(*leader) for other in taken)
                or any(box.crossed_by(*other) for other in leaders)
            ):
                continue
            cost = distance + label.height * _unreadable(label, box, leader, hard, soft)
            if cost < lowest:
                best, lowest = box, cost
        placed.append(best)
        if best:
            leaders.append(((label.x, label.y), best.nearest(label.x, label.y)))
    return placed


def _unreadable(
    label: Wanted,
    box: Box,
    leader: tuple[Point, Point],
    hard: Sequence[Box],
    soft: Sequence[Box],
) -> float:
    """How bad a free place is, in heights of the label."""
    others = [it for it in hard if not (it.x0 <= label.x <= it.x1 and it.y0 <= label.y <= it.y1)]
    own = math.dist(*leader)
    centres = [((it.x0 + it.x1) / 2, (it.y0 + it.y1) / 2) for it in others]
    return (
        _COVERING * sum(map(box.overlaps, soft))
        + _CROSSING * sum(it.crossed_by(*leader) for it in others)
        + _MISTAKABLE * any(math.dist(at, box.nearest(*at)) < own for at in centres)
    )


def _candidates(label: Wanted, frame: Box, gap: float) -> Iterator[tuple[float, Box]]:
    """Places around the point, ring after ring, with the ring's distance."""
    far = min(label.worth, math.hypot(frame.x1 - frame.x0, frame.y1 - frame.y0))
    distance = gap
    while distance <= far:
        for dx, dy in _DIRECTIONS:
            # The box grows away from its point, so that its near side or corner is on the ring.
            x = label.x + distance * dx - label.width * (1 - _sign(dx)) / 2
            y = label.y + distance * dy - label.height * (1 - _sign(dy)) / 2
            yield distance, Box(x, y, x + label.width, y + label.height)
        distance += _RING * label.height


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)
