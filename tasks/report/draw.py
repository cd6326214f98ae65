"""Draws blocks as one HTML file without scripts, fonts or anything else from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from tasks.report import lineage
from tasks.report.blocks import Section

if TYPE_CHECKING:
    from tasks.report.head import Headline

COLOURS = 6
"""Of the style sheet's pictures."""


@dataclass(frozen=True)
class Top:
    """The top of a page; see `tasks.report.head`."""

    title: str
    told: tuple[str, ...]
    """Paragraphs."""
    made: str
    warnings: tuple[str, ...] = ()
    headlines: tuple[Headline, ...] = ()
    not_shown: int = 0
    """Changes that have no place at the top."""
    models: tuple[str, str] = ("", "")
    """Whose scores the headlines compare."""
    sections: tuple[Section, ...] = ()


def draw(top: Top, sections: Sequence[Section]) -> str:
    """The whole page; equal blocks give equal bytes."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["value"] = _value
    environment.filters["anchor"] = _anchor
    environment.filters["breakable"] = _breakable
    page = environment.get_template("page.html")
    drawn = page.render(top=top, sections=sections, colours=COLOURS, box=lineage)
    return drawn.lstrip()


def _value(value: Any) -> str:
    """A plain cell's text."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _breakable(text: str) -> Markup:
    """A text that may be broken after the signs which join the words of a name."""
    return Markup("<wbr>").join(escape(word) for word in re.split(r"(?<=[._/@-])(?=[^\W\d])", text))


def _anchor(title: str) -> str:
    """The id of a section."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
