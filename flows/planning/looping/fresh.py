"""Which files of a source no earlier run has read."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from flows.planning.looping.history import FileKey, key_of
from infra.stage import Pin

_LISTING = re.compile(r"(?:.*/)?crawl-data/[^/]+/[^/]+\.paths\.gz")
_CRAWL = re.compile(r"(?:crawl-data/|crawl=)([^/]+)/")
_CARD = "README.md"

Files = Mapping[str, tuple[Pin, ...]]
"""Parameter -> pinned files."""


def only_new(files: Files, read: Collection[FileKey]) -> dict[str, tuple[Pin, ...]]:
    """The files without those that were read. Listings of crawls and a data set's card, which say
    how to read the others, stay where these do.
    """
    new = {
        path: tuple(pin for pin in pins if not _describes(pin) and key_of(pin) not in read)
        for path, pins in files.items()
    }
    crawls = {_crawl(pin) for pins in new.values() for pin in pins}
    return {
        path: tuple(
            pin for pin in pins if pin in new[path] or (_describes(pin) and _crawl(pin) in crawls)
        )
        for path, pins in files.items()
    }


def count(files: Files) -> int:
    """Files with documents, or with places of documents."""
    return sum(not _describes(pin) for pins in files.values() for pin in pins)


def _describes(pin: Pin) -> bool:
    return pin.name == _CARD or _LISTING.fullmatch(pin.name) is not None


def _crawl(pin: Pin) -> str:
    """The crawl that a listing, an archive or a part of an index is of; "" for other files."""
    match = _CRAWL.search(pin.name)
    return match[1] if match else ""
