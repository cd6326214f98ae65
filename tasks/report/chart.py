"""Line charts as numbers: ticks, points and places in percent, which `page.html` draws.

A chart has no size of its own. Lines are drawn in a box of 1000 by 1000 that stretches to its
place; names and numbers are text of the page, so that they can be read at any width. Colours are
numbers of the style sheet's, which has them for light and dark.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Points = Sequence[tuple[float, float]]

MOST_POINTS = 300
"""Points of a line; more are replaced by means of neighbours."""

MOST_DOTS = 12
"""Points of a line that are drawn as dots, too."""

NARROW_PX, LETTER_PX = 280, 7
"""A phone's chart and an average letter in pixels: marks whose names would meet get a row each."""


PLANNED = 5
"""Colour of the legend's word for dashed lines."""


@dataclass(frozen=True)
class Line:
    """A line; with `area` a filled outline down to the axis, with `scatter` its points alone."""

    name: str
    colour: int
    points: Points
    dashed: bool = False
    area: bool = False
    scatter: bool = False


@dataclass(frozen=True)
class Mark:
    """A vertical line with a name above it; without `drawn` only the name."""

    name: str
    x: float
    drawn: bool = True


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in percent from the left or the bottom, and what stands there."""

    at: float
    text: str


@dataclass(frozen=True)
class Path:
    """A line as an SVG path."""

    name: str
    colour: int
    path: str
    dashed: bool
    area: bool
    dots: str
    """The points as strokes without length, which round ends make into dots; "" for many."""


@dataclass(frozen=True)
class Label:
    """The name of a mark: its place in percent, its row above the chart, and on which side of its
    place it stands.
    """

    text: str
    at: float
    row: int
    left_of: bool
    drawn: bool


@dataclass(frozen=True)
class Chart:
    """See the module docstring. `description` is for those who do not see it."""

    title: str
    x: str
    y: str
    description: str
    paths: tuple[Path, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    labels: tuple[Label, ...]
    wide: bool = True

    @property
    def rows(self) -> int:
        """Rows of names above the chart."""
        return 1 + max((label.row for label in self.labels), default=-1)

    @property
    def longest_tick(self) -> str:
        """The widest text beside the vertical axis."""
        return max((tick.text for tick in self.y_ticks), key=len, default="")

    @property
    def legend(self) -> list[tuple[str, int, bool]]:
        """Name, colour, and whether its line is dashed; "planned" where names have both kinds."""
        found: dict[str, tuple[int, set[bool]]] = {}
        for path in self.paths:
            if path.name:
                found.setdefault(path.name, (path.colour, set()))[1].add(path.dashed)
        planned = any(len(kinds) == 2 for _, kinds in found.values())
        keys = [(name, colour, kinds == {True}) for name, (colour, kinds) in found.items()]
        return [*keys, *([("planned", PLANNED, True)] if planned else [])] if len(keys) > 1 else []


@dataclass(frozen=True)
class Axis:
    """The range of an axis, from the values on it."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, values: Sequence[float], *, log: bool, zero: bool, margin: float) -> Axis:
        """An axis that holds the values, with a share of it free at both ends."""
        if log:
            values = [math.log10(value) for value in values if value > 0]
        low, high = min(values, default=0.0), max(values, default=1.0)
        low = 0.0 if zero else low
        free = margin * (_span(low, high) or abs(high) or 1.0)
        return cls(low if zero else low - free, high + free, log)

    def place(self, value: float) -> float:
        """0 to 1."""
        if self.log:
            value = math.log10(max(value, 1e-300))
        return min(1.0, max(0.0, (value - self.low) / ((self.high - self.low) or 1.0)))

    def ticks(self, at_most: int, *, percent: bool = False) -> tuple[Tick, ...]:
        """Round numbers on the axis, in percent of it."""
        powers = self._powers(at_most) if self.log else []
        ends = [10.0**end if self.log else end for end in (self.low, self.high)]
        values = powers or round_numbers(ends[0], ends[1], at_most)
        step = abs(values[1] - values[0]) if len(values) > 1 and not powers else None
        return tuple(
            Tick(round(100 * self.place(value), 2), number(value, step, percent=percent))
            for value in values
        )

    def _powers(self, at_most: int) -> list[float]:
        """1, 2 and 5 times powers of ten, else powers alone; none where fewer than two fit."""
        exponents = range(math.floor(self.low), math.ceil(self.high) + 1)
        found: list[float] = []
        for digits in ((1, 2, 5), (1, 3), (1,)):
            found = [
                digit * 10.0**exponent
                for exponent in exponents
                for digit in digits
                if self.low <= math.log10(digit * 10.0**exponent) <= self.high
            ]
            if len(found) <= at_most:
                break
        return found[:: max(1, -(-len(found) // at_most))] if len(found) > 1 else []


def round_numbers(low: float, high: float, at_most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from `low` to `high`.

    >>> round_numbers(0, 0.9, 5)
    [0.0, 0.2, 0.4, 0.6, 0.8]
    """
    span = _span(low, high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / at_most))
    while span / step > at_most:
        # 1 -> 2 -> 5 -> 10
        leading = round(step / 10.0 ** math.floor(math.log10(step) + 1e-9))
        step *= 2.5 if leading == 2 else 2
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{count * step:.12g}") for count in range(first, last + 1)]


def _span(low: float, high: float) -> float:
    """The length of a range; 0 where rounding alone tells its ends apart."""
    return high - low if high - low > 1e-9 * max(abs(low), abs(high)) else 0.0


def number(value: float, step: float | None = None, *, percent: bool = False) -> str:
    """A number beside an axis, as exact as the step between two of them asks.

    >>> number(0.5, 0.25), number(20000, 5000), number(2e-5, 1e-5), number(0.1, percent=True)
    ('0.50', '20,000', '2e-05', '10%')
    """
    if percent:
        return f"{100 * value:.3g}%"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e7):
        return f"{value:.3g}"
    if not step:
        return f"{value:,.6g}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step < 1 else 0
    if step < 1 and round(step * 10**decimals, 6) % 1:
        decimals += 1
    return f"{value:,.{decimals}f}"


def chart(
    title: str,
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    marks: Sequence[Mark] = (),
    log_x: bool = False,
    log_y: bool = False,
    zero: bool = False,
    percent: bool = False,
    wide: bool = True,
) -> Chart | None:
    """A chart of lines; None where they have no points."""
    shown = [line for line in lines if line.points]
    if not shown:
        return None
    across = Axis.around(
        [point[0] for line in shown for point in line.points]
        + [mark.x for mark in marks if not (log_x and mark.x <= 0)],
        log=log_x,
        zero=False,
        margin=0.0,
    )
    up = Axis.around(
        [point[1] for line in shown for point in line.points], log=log_y, zero=zero, margin=0.05
    )
    return Chart(
        title,
        x,
        y,
        f"{title}: {y} against {x}. " + "; ".join(_in_words(line) for line in shown),
        tuple(_path(line, across, up) for line in shown),
        _apart(across),
        up.ticks(6, percent=percent),
        tuple(_in_rows([Mark(m.name, 100 * across.place(m.x), m.drawn) for m in marks])),
        wide,
    )


def _apart(across: Axis) -> tuple[Tick, ...]:
    """Ticks of the horizontal axis, fewer where their numbers are long."""
    ticks = across.ticks(6)
    long = max((len(tick.text) for tick in ticks), default=0) > 4
    return across.ticks(4) if long else ticks


def _path(line: Line, across: Axis, up: Axis) -> Path:
    places = [(1000 * across.place(x), 1000 * (1 - up.place(y))) for x, y in thinned(line.points)]
    if line.area:
        places = [(places[0][0], 1000), *places, (places[-1][0], 1000)]
    if line.scatter:
        dots = "".join(f"M{left:.1f} {top:.1f}h0" for left, top in places)
        return Path(line.name, line.colour, "", dashed=False, area=False, dots=dots)
    path = "M" + "L".join(f"{left:.1f} {top:.1f}" for left, top in places)
    few = [] if line.area or line.dashed or len(places) > MOST_DOTS else places
    dots = "".join(f"M{left:.1f} {top:.1f}h0" for left, top in few)
    return Path(line.name, line.colour, path, line.dashed, line.area, dots)


def _in_words(line: Line) -> str:
    (first, begins), (last, ends) = line.points[0], line.points[-1]
    if line.area:
        top = max(line.points, key=lambda point: point[1])
        return f"{line.name or 'highest'} at {number(top[0])}, between {number(first)} and " + (
            number(last)
        )
    name = f"{line.name} " if line.name else ""
    if line.scatter:
        ends_of = f"from ({first:.4g}, {begins:.4g}) to ({last:.4g}, {ends:.4g})"
        return f"{name}{len(line.points)} points {ends_of}"
    if len(line.points) == 1:
        return f"{name}{begins:.4g} at {number(first)}"
    return f"{name}from {begins:.4g} at {number(first)} to {ends:.4g} at {number(last)}"


def _in_rows(marks: Sequence[Mark]) -> list[Label]:
    """Names of marks from left to right, each in the lowest row in which it meets no other."""
    rows: list[list[tuple[float, float]]] = []
    placed = []
    for mark in sorted(marks, key=lambda mark: mark.x):
        width = 100 * LETTER_PX * (len(mark.name) + 1) / NARROW_PX
        left_of = mark.x + width > 100
        begin, end = (mark.x - width, mark.x) if left_of else (mark.x, mark.x + width)
        fits = (
            number
            for number, taken in enumerate(rows)
            if all(end <= first or begin >= last for first, last in taken)
        )
        row = next(fits, len(rows))
        rows += [[]] if row == len(rows) else []
        rows[row].append((begin, end))
        placed.append(Label(mark.name, round(mark.x, 2), row, left_of, mark.drawn))
    return placed


def thinned(points: Points) -> list[tuple[float, float]]:
    """Means of neighbouring points, so that a long run draws as fast as a short one."""
    width = -(-len(points) // MOST_POINTS)
    groups = [points[start : start + width] for start in range(0, len(points), width)]
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]


def steps(edges: Sequence[float], values: Sequence[float]) -> Points:
    """The outline of a histogram; `edges`: one more than the values."""
    return [
        point
        for (low, high), value in zip(itertools.pairwise(edges), values, strict=True)
        for point in ((low, value), (high, value))
    ]


def coloured(lines: Mapping[str, Points], *, dashed: bool = False) -> list[Line]:
    """Lines in the order of their names' colours."""
    return [
        Line(name, colour, points, dashed) for colour, (name, points) in enumerate(lines.items())
    ]
