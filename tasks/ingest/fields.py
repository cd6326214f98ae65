"""Takes a document's text, prompt, URL and date from a JSON object, and counts the fields seen."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tasks.ingest.stage import JsonlFields

COLOSSAL = JsonlFields(text=("target",), prompt="source")
PLAIN = JsonlFields(text=("text",))
_NAMES_SHOWN = 12
_NAMES_HELD = 200
"""Names of fields a tally remembers; records of machines may have a field for every key there is.
"""


def value_at(row: Any, name: str) -> Any:
    """The value of a field, or None. A key equal to the whole name is preferred to a dotted path.

    In a list, a number selects an element; any other name is looked up in all elements, and the
    result is the list of values.
    """
    if isinstance(row, dict):
        if name in row:
            return row[name]
        for dot in _dots(name):
            if (
                name[:dot] in row
                and (value := value_at(row[name[:dot]], name[dot + 1 :])) is not None
            ):
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
    return (
        "\n\n".join(part for part in parts if part)
        if all(part is not None for part in parts)
        else None
    )


def first_of(value: Any) -> str | None:
    """A string, or the first one of a list; None for anything else."""
    if isinstance(value, list):
        return next((element for element in value if isinstance(element, str)), None)
    return value if isinstance(value, str) else None


@dataclass
class FieldTally:
    """In how many records each field was, and what records without text had instead."""

    records: int = 0
    found: Counter[str] = field(default_factory=Counter)
    """Field -> records in which it held what is wanted of it."""
    others: Counter[str] = field(default_factory=Counter)
    """Field -> records in which it was of another type."""
    textless: int = 0
    there: Counter[str] = field(default_factory=Counter)
    """Name -> records without text that have it; of objects within them the names after a dot."""

    def count_textless(self, row: Mapping[str, Any]) -> None:
        """Take in what a record has that has no text."""
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
        counts = {
            name: dict(sorted(getattr(self, name).items())) for name in ("found", "others", "there")
        }
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


class FieldValues(NamedTuple):
    """What a record gave."""

    text: str
    prompt: str
    url: str
    date: str


class _WrongType(enum.Enum):
    """What stands for a value of a type that is of no use."""

    TYPE = enum.auto()


class FieldReader:
    """Documents' parts out of records, as `fields` says; the tally is told what was there."""

    def __init__(self, fields: JsonlFields | None, tally: FieldTally) -> None:
        self._fields, self._tally = fields, tally

    def read(self, row: dict[str, Any]) -> FieldValues | None:
        """None where a record has no text, or a text or prompt that is neither a string nor a list
        of strings.
        """
        fields = self._fields or (PLAIN if "text" in row else COLOSSAL)
        self._tally.records += 1
        texts = [
            text for name in fields.text if (text := self._get(row, name, text_of)) is not None
        ]
        prompt = self._get(row, fields.prompt, text_of) if fields.prompt else None
        url, date = self._get(row, fields.url, first_of), self._get(row, fields.date, first_of)
        parts = [text for text in texts if not isinstance(text, _WrongType)]
        if not parts or len(parts) < len(texts):
            self._tally.count_textless(row)
            return None
        if isinstance(prompt, _WrongType):
            return None
        text = parts[0] if len(parts) == 1 else "\n\n".join(part for part in parts if part)
        return FieldValues(text, prompt or "", _or_empty(url), _or_empty(date))

    def _get(
        self, row: dict[str, Any], name: str, read: Callable[[Any], str | None]
    ) -> str | _WrongType | None:
        """What `read` makes of a field; None where there is none."""
        value = row.get(name)
        if value is None and "." in name:
            value = value_at(row, name)
        if value is None:
            self._tally.others[name] += name in row  # null
            return None
        found = value if isinstance(value, str) else read(value)
        if found is None:
            self._tally.others[name] += 1
            return _WrongType.TYPE
        self._tally.found[name] += 1
        return found


def _or_empty(value: str | _WrongType | None) -> str:
    return value if isinstance(value, str) else ""


def missing_text(source: str, fields: JsonlFields | None, tally: FieldTally) -> str | None:
    """Why a source has no text at all, and what to do; None where a record has."""
    wanted = fields.text if fields else ("text", "target")
    if not tally.records or tally.textless < tally.records:
        return None
    named = " or ".join(map(repr, wanted))
    what = f"no record of source {source} has text in {named}"
    what += _others(wanted, tally)
    there = f"its {tally.records:,} records have {tally.names_there()}"
    return (
        f"{what}; {there}. Name the field that holds the text in "
        f"sources.{source}.ingest.fields.text"
    )


def _others(wanted: tuple[str, ...], tally: FieldTally) -> str:
    """How many records have something else than text in the wanted fields, in brackets."""
    others = sum(tally.others[name] for name in wanted)
    if not others:
        return ""
    return f" ({others:,} have something there that is neither a string nor a list of strings)"


def notes_on(fields: JsonlFields | None, tally: FieldTally) -> list[str]:
    """One sentence for each field that was named and that no record has, and one on records without
    text.
    """
    notes = []
    for parameter, name in fields.named() if fields and tally.records else ():
        if tally.found[name]:
            continue
        held = (
            f"holds no text in any of {tally.others[name]:,} records that have it"
            if tally.others[name]
            else ""
        )
        notes.append(
            f"ingest.fields.{parameter}: {name!r} "
            f"{held or f'is in none of {tally.records:,} records'}"
        )
    if tally.textless:
        wanted = fields.text if fields else ("text", "target")
        named = " or ".join(map(repr, wanted)) + _others(wanted, tally)
        notes.append(
            f"{tally.textless:,} of {tally.records:,} records have no text in {named}; they have "
            f"{tally.names_there()}"
        )
    return notes
