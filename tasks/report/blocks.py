"""What a page is made of: sections of blocks, drawn by `page.html`. No markup here.

A cell of a table is None (drawn as a dash), an int (with thousands separated), a text, or a `Cell`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.report.chart import Chart
from tasks.report.lineage import Drawing

Tone = Literal["", "soft", "up", "down"]
"""How a text is coloured: `up` for better, `down` for worse or a warning."""


@dataclass(frozen=True)
class Cell:
    """A cell with more than a text: a second line, a bar, pieces of a text."""

    text: str
    small: str = ""
    tone: Tone = ""
    """Of `small`."""
    text_tone: Tone = ""
    bar: float | None = None
    """Length from 0 to 1."""
    colour: int = 0
    pieces: tuple[tuple[str, bool, str], ...] = ()
    """Instead of `text`: text, whether it stands out, and a small note."""
    code: bool = False


Value = Cell | str | int | None


@dataclass(frozen=True)
class Column:
    """`numeric` columns are aligned to the right and never broken."""

    title: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """The first column names the row. On a phone every row becomes a card, unless `compact`."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    compact: bool = False
    kind: str = "table"

    def digits(self, column: int) -> int:
        """Characters of the longest text beside a bar, so that all bars of a column are equal."""
        cells = (row[column] for row in self.rows)
        return max((len(cell.text) for cell in cells if isinstance(cell, Cell)), default=0)


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Value]],
    *,
    compact: bool = False,
) -> Table:
    """A table; titles that begin with `#` are of numeric columns. A column of which no row has
    anything is left out.
    """
    there = [
        place == 0 or not rows or any(row[place] not in (None, "") for row in rows)
        for place in range(len(columns))
    ]
    heads = [Column(title.removeprefix("#"), title.startswith("#")) for title in columns]
    return Table(
        caption,
        tuple(itertools.compress(heads, there)),
        tuple(tuple(itertools.compress(row, there)) for row in rows),
        compact,
    )


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    tone: Tone = "soft"
    kind: str = "text"


@dataclass(frozen=True)
class Code:
    """Lines to copy."""

    text: str
    label: str
    kind: str = "code"


@dataclass(frozen=True)
class Figure:
    """A chart below its title."""

    chart: Chart
    kind: str = "figure"


@dataclass(frozen=True)
class Picture:
    """A drawing that is moved inside its frame where it is wider than the page."""

    drawing: Drawing
    kind: str = "picture"


@dataclass(frozen=True)
class Heading:
    """The title of a part of a section."""

    text: str
    kind: str = "heading"


@dataclass(frozen=True)
class Fold:
    """Blocks that are opened on demand."""

    summary: str
    blocks: tuple[Block, ...]
    kind: str = "fold"


@dataclass(frozen=True)
class Side:
    """Columns of blocks, beside each other where there is room."""

    columns: tuple[tuple[Block, ...], ...]
    kind: str = "side"


Block = Table | Text | Code | Figure | Picture | Heading | Fold | Side


@dataclass(frozen=True)
class Section:
    """A titled part of the page."""

    title: str
    blocks: tuple[Block, ...]


def section(title: str, *blocks: Block | None) -> Section | None:
    """A section of the blocks that are there; None without any but texts."""
    found = tuple(block for block in blocks if block is not None)
    return Section(title, found) if found else None
