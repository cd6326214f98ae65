"""Selected documents from ranges of lines of JSONL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from infra.remote.held import place_of
from infra.stage import StageError


class Lines(NamedTuple):
    """The lines of a file that start at bytes [begin, end), and the source they come from."""

    path: Path
    begin: int
    end: int
    source: str


class SelectedDocument(NamedTuple):
    """One selected document; its line starts at byte `at` of the file at `place`, which is the same
    on every machine.
    """

    id: str
    prompt: str
    text: str
    language: str
    source: str
    place: str
    at: int
    repeats: int = 1
    """How often it is in the bins."""


def read(lines: Lines) -> Iterator[SelectedDocument]:
    """The documents of the lines that start at bytes [begin, end).

    Raises:
        StageError: a line is not a document; it names the byte.
    """
    place = place_of(lines.path)
    with lines.path.open("rb") as stream:
        at = 0
        if lines.begin:
            stream.seek(lines.begin - 1)
            # the rest of a line that belongs to the range before
            at = lines.begin - 1 + len(stream.readline())
        while at < lines.end:
            line = stream.readline()
            try:
                yield _document(line, lines.source, place, at)
            except (ValueError, KeyError, TypeError) as error:
                raise StageError(
                    f"{lines.path}, byte {at}: not a line that select writes ({error}); rerun "
                    "select"
                ) from error
            at += len(line)


def _document(line: bytes, source: str, place: str, at: int) -> SelectedDocument:
    row = orjson.loads(line)
    name, prompt, text = row["id"], row.get("source", ""), row["target"]
    if not (isinstance(name, str) and isinstance(prompt, str) and isinstance(text, str)):
        raise TypeError("id, source and target are to be text")
    repeats = row.get("repeats", 1)
    if type(repeats) is not int or repeats < 1:
        raise TypeError(f"repeats is {repeats!r}, and is to be a number from 1 on")
    language = row.get("language") or ""
    return SelectedDocument(name, prompt, text, language, source, place, at, repeats)
