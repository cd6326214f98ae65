"""The contents of a publisher's row, and what parsers of all formats share."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Blank:
    """A sentence with a blank: its beginnings, one for each word that may fill it, and its rest.

    `answer` indexes `beginnings`; None if the publisher withholds it.
    """

    beginnings: tuple[str, ...]
    rest: str
    answer: int | None


@dataclass(frozen=True)
class ParsedRow:
    """The contents of a row. `answer` indexes `choices`; `problem`: why it cannot be asked.

    `accepted`: right answers as texts, to compare a generated one with; `worked`: the answer as a
    worked example shows it, if not the first of these. `blank`: a sentence with a blank to fill.
    """

    question: str
    choices: tuple[str, ...] = ()
    answer: int | None = None
    id: str = ""
    group: str = ""
    also_right: tuple[int, ...] = ()
    accepted: tuple[str, ...] = ()
    worked: str = ""
    blank: Blank | None = None
    problem: str = ""


def text(value: Any) -> str:
    """A field as text; "" for null."""
    return "" if value is None else str(value)


def answered(
    question: str,
    choices: Sequence[str],
    key: Any,
    labels: Sequence[str],
    id: str = "",
    group: str = "",
) -> ParsedRow:
    """A question whose answer is named by `key`, one of `labels`, the names of its choices.

    Without a key, which some publishers withhold, the item has no answer. A key that names no
    choice is its `problem`.
    """
    choices, key = tuple(choices), text(key).strip()
    if not key:
        return ParsedRow(question, choices, id=id, group=group)
    if key not in labels[: len(choices)]:
        return ParsedRow(
            question, choices, problem="the answer names none of its choices", id=id, group=group
        )
    return ParsedRow(question, choices, list(labels).index(key), id=id, group=group)


def indexed(
    question: str, choices: Sequence[str], answer: Any, id: str = "", group: str = ""
) -> ParsedRow:
    """A question whose answer is an index from 0; -1, null or "" if the publisher withholds it."""
    withheld = answer is None or str(answer).strip() in ("", "-1")
    number = None if withheld else str(int(answer))
    return answered(question, choices, number, [str(i) for i in range(len(choices))], id, group)


def letter(value: Any) -> int:
    letter = unicodedata.normalize("NFKC", str(value)).strip().upper()  # also full-width ones
    if len(letter) != 1 or letter not in LETTERS:
        raise ValueError(f"answer {value!r} is not a letter from A to Z")
    return LETTERS.index(letter)


def texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"choices must be a list of strings, found {str(values)[:80]!r}")
    return tuple(values)
