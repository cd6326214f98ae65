"""A few of the records that gave no document, per reason: for reading, not for counting.

They are written to `records/rejected.json` of the artifact, which no version or digest depends on.
Chosen by a hash of their place, so that a larger input or another engine gives the same ones.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from typing import Any

from tasks.ingest.raw_documents import SAMPLED_OUT, Rejected

FILE = "rejected.json"
"""Name of the file among an artifact's records."""

PER_PART = 5
"""Records held per reason and part."""

PER_SOURCE = 20
"""Records held per reason and source."""

HEAD_BYTES = 600
"""Bytes of a record, or of its text, that are shown."""


class RejectedSample:
    """Holds the records with the smallest hashes, per reason."""

    def __init__(self) -> None:
        self._held: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}

    def add(self, record: Rejected, file: str) -> None:
        """Hold a record if it is among those chosen so far. Records out of the sample are no
        examples of anything.
        """
        if record is SAMPLED_OUT:
            return
        offset, inner = record.place or (-1, 0)
        name = f"{file}\0{offset}\0{inner}\0{record.reason}"
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        order = int.from_bytes(digest, "big")
        held = self._held.setdefault(record.reason, [])
        if len(held) < PER_PART or order < -held[0][0]:
            entry = (-order, len(held), _entry(record, file, order))
            (heapq.heappush if len(held) < PER_PART else heapq.heapreplace)(held, entry)

    def to_json(self) -> list[dict[str, Any]]:
        """What is held, by reason and hash."""
        return [
            entry
            for reason in sorted(self._held)
            for *_, entry in sorted(self._held[reason], key=lambda item: -item[0])
        ]


def _entry(record: Rejected, file: str, order: int) -> dict[str, Any]:
    offset, inner = record.place or (None, None)
    return {
        "side": record.side,
        "reason": record.reason,
        "file": file,
        "offset": offset,
        "inner": inner,
        "url": record.url,
        "head": record.head[:HEAD_BYTES].decode(errors="replace"),
        "order": order,
    }


def merged(parts: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The sample of a source from those of its parts."""
    by_reason: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        for entry in part:
            by_reason.setdefault(entry["reason"], []).append(entry)
    return [
        entry
        for reason in sorted(by_reason)
        for entry in sorted(by_reason[reason], key=lambda entry: entry["order"])[:PER_SOURCE]
    ]
