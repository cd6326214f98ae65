"""Whether the first records of JSONL files parse, and have the fields that a recipe names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from infra.stage import Fault
from tasks.ingest.fields import FieldReader, FieldTally, names_in, notes_on, text_fields
from tasks.ingest.lines import lines
from tasks.ingest.raw_documents import Rejected, Unreadable
from tasks.ingest.stage import JsonlFields

ENOUGH_RECORDS = 100
"""Where as many records have no text, no later one is expected to."""

_NAMED = "ingest.fields."
_NAMES_SHOWN = 20
_LINE_SHOWN = 80


def first_records(
    files: Sequence[Path], fields: JsonlFields | None, max_bytes: int, *, name: str = ""
) -> Iterator[Fault]:
    """What is wrong with the first records of a source: certain where none has text; else a first
    record that does not parse, and named fields that none has.

    `name`: what a single file is the beginning of, whose last line may be cut.
    """
    tally, names = FieldTally(), dict[str, None]()
    reader, broken = FieldReader(fields, tally), ""
    for number, file in enumerate(files):
        for record in _records(file, max_bytes):
            if isinstance(record, str):
                if not number and not tally.records:
                    broken = broken or f"the first record of {name or file} {record}"
                continue
            reader.read(record)
            names |= dict.fromkeys(names_in(record))
            if tally.records == ENOUGH_RECORDS:
                break
        if tally.records == ENOUGH_RECORDS:
            break
    if broken and (tally.records or not name):
        yield Fault("paths", broken, certain=False)
    if not tally.records:
        return
    there = f"they have {_listed(list(names))}"
    if tally.textless == tally.records:
        wanted = " or ".join(map(repr, text_fields(fields)))
        yield Fault(
            "paths" if fields is None else "fields",
            f"{name or files[0]}: of the first {tally.records:,} records none has text in "
            f"{wanted}; {there}. Name the field that holds the text in fields.text",
        )
        return
    for note in notes_on(fields, tally):
        if note.startswith(_NAMED):
            yield Fault("fields", f"{note.removeprefix(_NAMED)} looked at; {there}", certain=False)


def _records(file: Path, max_bytes: int) -> Iterator[dict[str, Any] | str]:
    """Each line's object, or what is wrong with the line."""
    try:
        for line in lines(file, max_bytes):
            if isinstance(line, Rejected):
                yield f"cannot be read ({line.reason})"
                continue
            text = line.data.removeprefix(b"\xef\xbb\xbf").strip()
            if not text:
                continue
            try:
                record = json.loads(text)
            except (ValueError, RecursionError) as error:
                yield f"is not JSON ({error}): {_shown(text)}"
                continue
            yield record if isinstance(record, dict) else f"is no JSON object: {_shown(text)}"
    except Unreadable as error:
        yield f"cannot be read ({error})"


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "replace")
    return repr(text if len(text) <= _LINE_SHOWN else f"{text[:_LINE_SHOWN]}...")


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN] + [f"{more} more"] * (more > 0)) or "no field"
