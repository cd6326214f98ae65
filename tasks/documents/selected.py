"""The layout of select artifacts: folders, the text of a line, and which documents are held out.

A select artifact has a folder for each category, and two reserved ones. Imports nothing heavy.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

HELD_OUT_FOLDER = "heldout"
"""Text by category that no tokenizer, language model or bin ever reads."""

INDEX_FOLDER = "index"
"""Hashes of the survivors, for deduplication of later crawls."""

VECTORS_FOLDER = f"{INDEX_FOLDER}/vectors"
"""Vectors of the survivors, row-aligned with the index, where the recipe has a section semantic."""

RESERVED_FOLDERS = (HELD_OUT_FOLDER, INDEX_FOLDER)
"""Names that no category may have."""

HASH_BITS = 64


def training_text(row: Mapping[str, Any]) -> str:
    """The text of a line that select wrote, as training sees it: `source` and `target`, joined."""
    text: str = (row.get("source") or "") + row["target"]
    return text


def held_out_hash(id_: str) -> int:
    """A document's position in the order of holding out: a 64-bit hash of its id.

    The hash is personalised, so that no other use of the id correlates with it.
    """
    digest = hashlib.blake2b(
        id_.encode(), digest_size=HASH_BITS // 8, person=b"puna-heldout"
    ).digest()
    return int.from_bytes(digest, "big")


def held_out_limit(fraction: float) -> int:
    """Documents with a hash below this may be held out; select takes the smallest, to its limit."""
    return int(fraction * 2**HASH_BITS)
