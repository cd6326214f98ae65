"""Reads a document's text, prompt, URL, date and other columns from a JSON object, and counts the
fields seen.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tasks.ingest.stage import JsonlFields
from tasks.ingest.stated import NOTHING_STATED, Stated

_PLAIN = JsonlFields(text=("text",))
_C4 = JsonlFields(text=("text",), date="timestamp")
_COLOSSAL = JsonlFields(text=("target",), prompt="source")
_TARGET = JsonlFields(text=("target",))
TEXT_FIELDS = ("text", "target")
"""Where text is found that no recipe names a field for."""

_NAMES_SHOWN = 12
_NAMES_HELD = 200
"""Most field names that a tally remembers; generated records may have a different set of keys each.
"""


def known_fields(names: Collection[str]) -> JsonlFields:
    """The fields of data sets that are known by the names of their columns.

    FineWeb, FineWeb-2: text, url, date, language, dump. C4: text, url, timestamp. SlimPajama,
    SkyPile: text. ColossalAI's layout: target, with source as the prompt.
    """
    if "text" not in names and "target" in names:
        return _COLOSSAL if "source" in names else _TARGET
    return _C4 if "timestamp" in names and "date" not in names else _PLAIN


def fields_of(stated: JsonlFields | None, names: Collection[str]) -> JsonlFields:
    """The fields that a recipe states; where it names none for the text, in those that are known by
    the names of the columns.
    """
    if stated is None:
        return known_fields(names)
    if stated.text:
        return stated
    own = {name: getattr(stated, name) for name in stated.model_fields_set}
    return known_fields(names).model_copy(update=own)


def text_fields(stated: JsonlFields | None) -> tuple[str, ...]:
    """Where a recipe's records have their text."""
    return stated.text if stated and stated.text else TEXT_FIELDS


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
    """Positions of dots, last one first."""
    dot = len(name)
    while (dot := name.rfind(".", 0, dot)) > 0:
        yield dot


def text_of(value: Any) -> str | None:
    """A string, or a (nested) list of strings joined by blank lines; None for anything else."""
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
    """A string, or the first string of a list; None for anything else."""
    if isinstance(value, list):
        return next((element for element in value if isinstance(element, str)), None)
    return value if isinstance(value, str) else None


def listed_of(value: Any) -> str | None:
    """A string, or a list of strings joined by commas; None for anything else."""
    if isinstance(value, list) and all(isinstance(element, str) for element in value):
        return ", ".join(value)
    return value if isinstance(value, str) else None


@dataclass
class FieldTally:
    """In how many records each field was usable, and which fields records without text had."""

    records: int = 0
    usable: Counter[str] = field(default_factory=Counter)
    """Field -> records in which it had a usable value."""
    unusable: Counter[str] = field(default_factory=Counter)
    """Field -> records in which it was null or of another type."""
    textless: int = 0
    textless_names: Counter[str] = field(default_factory=Counter)
    """Name -> records without text that have this field; see `names_in`."""

    def count_textless(self, row: Mapping[str, Any]) -> None:
        """Count a record without text, and its fields."""
        self.textless += 1
        names = self.textless_names
        for name in names_in(row):
            if name in names or len(names) < _NAMES_HELD:
                names[name] += 1

    def merge(self, other: Mapping[str, Any]) -> None:
        """Add the counts of another tally's `to_json`."""
        self.records += other["records"]
        self.textless += other["textless"]
        for key, counter in self._counters().items():
            counter.update(other[key])

    def to_json(self) -> dict[str, Any]:
        """All counts, for `merge`."""
        counts = {key: dict(sorted(counter.items())) for key, counter in self._counters().items()}
        return {"records": self.records, "textless": self.textless, **counts}

    def _counters(self) -> dict[str, Counter[str]]:
        return {"found": self.usable, "others": self.unusable, "there": self.textless_names}

    def most_frequent_names(self) -> str:
        """The most frequent names in records without text, as a phrase."""
        counts = self.textless_names
        names = sorted(counts, key=lambda name: (-counts[name], name))
        rest = len(names) - _NAMES_SHOWN
        return ", ".join(names[:_NAMES_SHOWN] + [f"{rest} more"] * (rest > 0)) or "no field"


def names_in(row: Mapping[str, Any]) -> Iterator[str]:
    """Names of a record's fields, those of nested objects and of lists of objects dotted."""
    for name, value in row.items():
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict) and inner:
            yield from (f"{name}.{below}" for below in names_in(inner))
        else:
            yield name


class FieldValues(NamedTuple):
    """The values read from a record; "" for missing ones other than `text`."""

    text: str
    prompt: str
    url: str
    date: str
    stated: Stated = NOTHING_STATED


class _Unusable(enum.Enum):
    """Stands for a value of the wrong type, where None stands for a missing one."""

    WRONG_TYPE = enum.auto()


class FieldReader:
    """Reads the values of records as `fields` says, and counts what it sees in `tally`."""

    def __init__(self, fields: JsonlFields | None, tally: FieldTally) -> None:
        self._stated_fields, self._tally = fields, tally
        self._merged: dict[int, JsonlFields] = {}

    def read(self, row: dict[str, Any]) -> FieldValues | None:
        """The values of one record; None if it has no text, or if a text or the prompt is neither a
        string nor a list of strings.
        """
        fields = self._fields_of(row)
        self._tally.records += 1
        texts = [
            text for name in fields.text if (text := self._get(row, name, text_of)) is not None
        ]
        prompt = self._get(row, fields.prompt, text_of) if fields.prompt else None
        url, date = self._get(row, fields.url, first_of), self._get(row, fields.date, first_of)
        parts = [text for text in texts if not isinstance(text, _Unusable)]
        if not parts or len(parts) < len(texts):
            self._tally.count_textless(row)
            return None
        if isinstance(prompt, _Unusable):
            return None
        text = parts[0] if len(parts) == 1 else "\n\n".join(part for part in parts if part)
        stated = self._stated(row, fields)
        return FieldValues(text, prompt or "", _or_empty(url), _or_empty(date), stated)

    def _fields_of(self, row: dict[str, Any]) -> JsonlFields:
        """`fields_of`, which records of a kind share."""
        stated = self._stated_fields
        if stated is None or stated.text:
            return stated or known_fields(row)
        known = known_fields(row)
        found = self._merged.get(id(known))
        if found is None:
            found = self._merged[id(known)] = fields_of(stated, row)
        return found

    def _stated(self, row: dict[str, Any], fields: JsonlFields) -> Stated:
        license = self._get(row, fields.license, listed_of)
        title = self._get(row, fields.title, first_of)
        author = self._get(row, fields.author, listed_of)
        language = self._get(row, fields.language, first_of)
        dump = self._get(row, fields.dump, first_of)
        category = self._get(row, fields.category, first_of) if fields.category else None
        if license is title is author is language is dump is category is None:
            return NOTHING_STATED
        return Stated(
            license=_or_empty(license),
            title=_or_empty(title),
            author=_or_empty(author),
            declared_language=_or_empty(language),
            dump=_or_empty(dump),
            category=_or_empty(category),
        )

    def _get(
        self, row: dict[str, Any], name: str, read: Callable[[Any], str | None]
    ) -> str | _Unusable | None:
        """The value of a field, passed through `read`; None if missing or null."""
        value = row.get(name)
        if value is None and "." in name:
            value = value_at(row, name)
        if value is None:
            self._tally.unusable[name] += name in row  # null
            return None
        text = value if isinstance(value, str) else read(value)
        if text is None:
            self._tally.unusable[name] += 1
            return _Unusable.WRONG_TYPE
        self._tally.usable[name] += 1
        return text


def _or_empty(value: str | _Unusable | None) -> str:
    return value if isinstance(value, str) else ""


def missing_text(source: str, fields: JsonlFields | None, tally: FieldTally) -> str | None:
    """The error for a source in which no record has text; None if one has."""
    wanted = text_fields(fields)
    if not tally.records or tally.textless < tally.records:
        return None
    named = " or ".join(map(repr, wanted))
    return (
        f"no record of source {source} has text in {named}{_unusable_note(wanted, tally)}; "
        f"its {tally.records:,} records have {tally.most_frequent_names()}. "
        f"Name the field that holds the text in sources.{source}.ingest.fields.text"
    )


def _unusable_note(wanted: tuple[str, ...], tally: FieldTally) -> str:
    """How many records have something other than text in the wanted fields, in parentheses."""
    unusable = sum(tally.unusable[name] for name in wanted)
    if not unusable:
        return ""
    return f" ({unusable:,} have null there, or what is neither a string nor a list of strings)"


def notes_on(fields: JsonlFields | None, tally: FieldTally) -> list[str]:
    """A sentence for each field that the recipe names and no record has, and one on records without
    text.
    """
    notes = []
    for parameter, name in fields.named() if fields and tally.records else ():
        if tally.usable[name]:
            continue
        problem = (
            f"holds no text in any of {tally.unusable[name]:,} records that have it"
            if tally.unusable[name]
            else f"is in none of {tally.records:,} records"
        )
        notes.append(f"ingest.fields.{parameter}: {name!r} {problem}")
    if tally.textless:
        wanted = text_fields(fields)
        named = " or ".join(map(repr, wanted)) + _unusable_note(wanted, tally)
        notes.append(
            f"{tally.textless:,} of {tally.records:,} records have no text in {named}; they have "
            f"{tally.most_frequent_names()}"
        )
    return notes
