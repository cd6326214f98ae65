"""What a record states about its document: licence, title, author, date, language, crawl, category.

Only what the record says; nothing is inferred from the text.
"""

from __future__ import annotations

from typing import NamedTuple

from tasks.ingest.clean import clean

MAX_CHARACTERS = 1_000
"""Longer values are shortened, and their documents counted."""


class Stated(NamedTuple):
    """The last columns of `tasks.documents.schema.DOCUMENTS`, in order; None where unstated.

    `published` is an ISO 8601 date or time, `declared_language` whatever the record has (a BCP 47
    tag on pages), `dump` the id of the crawl that its page is of, `category` the value of the field
    that the recipe's category names.
    """

    license: str | None = None
    title: str | None = None
    author: str | None = None
    published: str | None = None
    declared_language: str | None = None
    dump: str | None = None
    category: str | None = None


NOTHING_STATED = Stated()


def cleaned_stated(stated: Stated) -> tuple[Stated, bool]:
    """(values on one line each, without control characters, blank ones as None; whether one was
    shortened to `MAX_CHARACTERS`).
    """
    if stated is NOTHING_STATED:
        return stated, False
    values = [" ".join(clean(value or "").split()) for value in stated]
    shortened = any(len(value) > MAX_CHARACTERS for value in values)
    return Stated(*(value[:MAX_CHARACTERS].rstrip() or None for value in values)), shortened
