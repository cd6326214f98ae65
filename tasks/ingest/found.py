"""What a reader yields for every record: a document, or why there is none."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


class Unreadable(ValueError):
    """A page or record that gives no document; the message is the ledger's reason."""


@dataclass(frozen=True, slots=True)
class Found:
    """A document. `payload_bytes` are the bytes its text was made from (for a page the decoded
    HTML).

    `marks` say what is amiss with it: "truncated" (its page ended early), "trailing" (bytes after
    its page were left out). `removed` are characters that its text has lost already (NULs in a
    page's source).
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
    """A record that gives no document. `lost_bytes`: bytes that could not be read at all."""

    side: Literal["dropped", "failed"]
    reason: str
    payload_bytes: int = 0
    lost_bytes: int = 0


Wanted = Callable[[int, int], bool]
"""Whether the record at (offset, inner) is in the sample; asked before any work is spent on it."""

SAMPLED_OUT = Rejected("dropped", "sample")

_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)?)?")


def iso_date(value: str) -> str:
    """The value where it is an ISO 8601 date or time, else ""."""
    return value if _DATE.fullmatch(value) else ""
