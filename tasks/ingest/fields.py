"""A document's text, prompt, address and date out of a JSON object, and a tally of which fields there were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.ingest.stage import JsonlFields

COLOSSAL = JsonlFields(text=("target",), prompt="source")
PLAIN = JsonlFields(text=("text",))
_NAMES_SHOWN = 12
_NAMES_HELD = 200
"""Names of fields a tally remembers; records of machines may have a field for every key there is."""


def value_at(row: Any, name: str) -> Any:
    """The value of a field, None where there is none. A key that is the whole name comes before a path through dots.

    On the way a number picks an element of a list; any other name is looked for in all its elements, and the value
    is the list of what was found.
    """
    if isinstance(row, dict):
        if name in row:
            return row[name]
        for dot in _dots(name):
            if name[:dot] in row and (value := value_at(row[name[:dot]], name[dot + 1 :])) is not None:
                return value
        return None
    if isinstance(row, list):
        head, _, rest = name.partition(".")
        if head.isascii() and head.isdigit():
            element = row[int(head)] if len(head) < 9 and int(head) < len(row) else None
            return value_at(element, rest) if rest else element
        return [value for element in row if (value := value_at(element, name)) is not None] or None
    return None


def _dots(name: str) -> Iterator[int]:
    """Places of dots, the last one first."""
    dot = len(name)
    while (dot := name.rfind(".", 0, dot)) > 0:
        yield dot


def text_of(value: Any) -> str | None:
    """A string, or a list of them (in lists) joined by blank lines; None for anything else."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    parts = [text_of(element) for element in value if element is not None]
    return "\n\n".join(part for part in parts if part) if all(part is not None for part in parts) else None


def first_of(value: Any) -> str:
    """A string, or the first one of a list; "" for anything else."""
    if isinstance(value, list):
        return next((element for element in value if isinstance(element, str)), "")
    return value if isinstance(value, str) else ""


@dataclass
class Tally:
    """In how many records each field was, and what records without text had instead."""

    records: int = 0
    found: Counter[str] = field(default_factory=Counter)
    """Field -> records in which it held what is wanted of it."""
    others: Counter[str] = field(default_factory=Counter)
    """Field -> records in which it was of another type."""
    textless: int = 0
    there: Counter[str] = field(default_factory=Counter)
    """Name -> records without text that have it; of objects within them the names after a dot."""

    def count(self, row: Mapping[str, Any], names: Mapping[str, bool], has_text: bool) -> None:
        """Take one record in. `names`: field -> whether it held what is wanted; absent fields are left out."""
        self.records += 1
        for name, is_usable in names.items():
            (self.found if is_usable else self.others)[name] += 1
        if not has_text:
            self.textless += 1
            for name in _names(row):
                if name in self.there or len(self.there) < _NAMES_HELD:
                    self.there[name] += 1

    def merge(self, other: Mapping[str, Any]) -> None:
        """Add another one's `to_json`."""
        self.records += other["records"]
        self.textless += other["textless"]
        for own, more in ((self.found, "found"), (self.others, "others"), (self.there, "there")):
            own.update(other[more])

    def to_json(self) -> dict[str, Any]:
        """What `merge` takes."""
        counts = {name: dict(sorted(getattr(self, name).items())) for name in ("found", "others", "there")}
        return {"records": self.records, "textless": self.textless, **counts}

    def names_there(self) -> str:
        """The most frequent names, in words."""
        names = sorted(self.there, key=lambda name: (-self.there[name], name))
        rest = len(names) - _NAMES_SHOWN
        return ", ".join(names[:_NAMES_SHOWN] + [f"{rest} more"] * (rest > 0)) or "no field"


def _names(row: Mapping[str, Any]) -> Iterator[str]:
    for name, value in row.items():
        if isinstance(value, dict) and value:
            yield from (f"{name}.{inner}" for inner in value)
        else:
            yield name


@dataclass(frozen=True, slots=True)
class Taken:
    """What a record gave."""

    text: str
    prompt: str
    url: str
    date: str


def take(row: dict[str, Any], fields: JsonlFields | None, tally: Tally) -> Taken | None:
    """A document's parts, or None where a record has no text or a text or prompt of another type."""
    if fields is None:
        fields = PLAIN if "text" in row else COLOSSAL
    values = {name: value for name in fields.names() if (value := value_at(row, name)) is not None}
    given = [text_of(values[name]) for name in fields.text if name in values]
    prompt = text_of(values.get(fields.prompt, ""))
    url, date = first_of(values.get(fields.url)), first_of(values.get(fields.date))
    usable = {name: text_of(value) is not None for name, value in values.items()}
    usable |= {name: bool(first) for name, first in ((fields.url, url), (fields.date, date)) if name in values}
    texts = [text for text in given if text is not None]
    has_text = bool(texts) and len(texts) == len(given)
    tally.count(row, usable, has_text)
    if not has_text or prompt is None:
        return None
    return Taken("\n\n".join(text for text in texts if text), prompt, url, date)


def missing_text(source: str, fields: JsonlFields | None, tally: Tally) -> str | None:
    """Why a source has no text at all, and what to do; None where a record has."""
    wanted = fields.text if fields else ("text", "target")
    if not tally.records or tally.textless < tally.records:
        return None
    named = " or ".join(map(repr, wanted))
    what = f"no record of source {source} has text in {named}"
    if others := sum(tally.others[name] for name in wanted):
        what += f" ({others:,} have something there that is neither a string nor a list of strings)"
    there = f"its {tally.records:,} records have {tally.names_there()}"
    return f"{what}; {there}. Name the field that holds the text in sources.{source}.ingest.fields.text"


def notes_on(fields: JsonlFields | None, tally: Tally) -> list[str]:
    """One sentence for each field that was named and that no record has, and one on records without text."""
    notes = []
    for parameter, name in fields.named() if fields and tally.records else ():
        if tally.found[name]:
            continue
        held = f"holds no text in any of {tally.others[name]:,} records that have it" if tally.others[name] else ""
        notes.append(f"ingest.fields.{parameter}: {name!r} {held or f'is in none of {tally.records:,} records'}")
    if tally.textless:
        named = " or ".join(map(repr, fields.text if fields else ("text", "target")))
        notes.append(
            f"{tally.textless:,} of {tally.records:,} records have no text in {named}; they have {tally.names_there()}"
        )
    return notes
