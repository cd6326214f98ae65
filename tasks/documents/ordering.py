"""Random orders of documents that depend on their ids alone, not on files, shards or sources."""

from __future__ import annotations

import hashlib

_BITS = 64


def position(id_: str, use: bytes) -> int:
    """A document's place in the random order that `use` (16 bytes at most) names: in [0, 2**64)."""
    digest = hashlib.blake2b(id_.encode(), digest_size=_BITS // 8, person=use).digest()
    return int.from_bytes(digest, "big")


def drawn(id_: str, use: bytes, fraction: float) -> bool:
    """Whether a document is in a random sample of this share of all documents."""
    return position(id_, use) < int(fraction * (1 << _BITS))
