"""What readers yield for each record: a document before cleaning, or the reason for having none."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


class Unreadable(ValueError):
    """A page or record cannot be read. The message is the reason in the ledger."""


@dataclass(frozen=True, slots=True)
class RawDocument:
    """A document as read, before cleaning.

    `offset`, `inner`: place of its record, see `records.Record`. `payload_bytes`: size of the
    payload its text came from (for a page, the decoded HTML). `marks`: "truncated" if its page
    ended early, "trailing" if bytes after its page were ignored. `removed`: characters already
    removed from the text (NULs in a page's source).
    """

    offset: int
    inner: int
    text: str
    prompt: str = ""
    url: str = ""
    date: str = ""
    payload_bytes: int = 0
    marks: tuple[str, ...] = ()
    removed: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record without a document. `lost_bytes`: bytes that could not be read at all."""

    side: Literal["dropped", "failed"]
    reason: str
    payload_bytes: int = 0
    lost_bytes: int = 0


Wanted = Callable[[int, int], bool]
"""(offset, inner) of a record -> whether it is in the sample; called before any work on it."""

SAMPLED_OUT = Rejected("dropped", "sample")

_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)?)?")


def iso_date(value: str) -> str:
    """The value if it is an ISO 8601 date or time, else ""."""
    return value if _DATE.fullmatch(value) else ""
