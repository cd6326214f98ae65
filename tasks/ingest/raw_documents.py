"""What readers yield for each record: a document before cleaning, or the reason for having none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Protocol

from tasks.ingest.stated import NOTHING_STATED, Stated


class Unreadable(ValueError):
    """A page or record cannot be read. The message is the reason in the ledger."""


@dataclass(frozen=True, slots=True)
class RawDocument:
    """A document as read, before cleaning.

    `offset`, `inner`: place of its record, see `records.Record`. `payload_bytes`: size of the
    payload its text came from (for a page, the decoded HTML). `marks`: "truncated" if its page
    ended early, "trailing" if bytes after its page were ignored. `removed`: characters already
    removed from the text (NULs in a page's source). `key`: what its id is made of beside its
    place; b"" for the sha256 of the file. `stated`: what the record says about it. `page_language`:
    what an HTML page declares, "" for none; None for records that are no HTML page.
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
    key: bytes = b""
    stated: Stated = NOTHING_STATED
    page_language: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record without a document.

    `lost_bytes`: bytes that could not be read at all. For reading (`rejected`): `place`, its
    (offset, inner) where known, and `head`, the beginning of the record or of its text.
    `page_language`: as in `RawDocument`.
    """

    side: Literal["dropped", "failed"]
    reason: str
    payload_bytes: int = 0
    lost_bytes: int = 0
    place: tuple[int, int] | None = None
    url: str = ""
    head: bytes = b""
    page_language: str | None = None


class Wanted(Protocol):
    """Whether a record is in the sample; called before any work on it."""

    def __call__(self, offset: int, inner: int, key: bytes = b"") -> bool:
        """`offset`, `inner`, `key`: as in `RawDocument`."""
        ...


SAMPLED_OUT = Rejected("dropped", "sample")

GONE = "gone"
"""The reason of files that are listed but not there, and of each record that would be in them."""

INDEX = "index"
"""The reason of records that are not where the index says."""

_DATE = re.compile(
    r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)?)?", re.ASCII
)


def iso_date(value: str) -> str:
    """The value if it is an ISO 8601 date or time, else ""."""
    return value if _DATE.fullmatch(value) else ""
