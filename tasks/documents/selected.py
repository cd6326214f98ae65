"""What select and those who read beside it agree on: its folders, its text, and the order of
holding out. Light.

A select artifact has a folder for each category, and two of its own.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

HELD_OUT_FOLDER = "heldout"
"""Text by category that no tokenizer, language model or bin reads."""

INDEX_FOLDER = "index"
"""What deduplication of later crawls reads."""

RESERVED_FOLDERS = (HELD_OUT_FOLDER, INDEX_FOLDER)
"""No category may be called so."""

HASH_BITS = 64


def training_text(row: Mapping[str, Any]) -> str:
    """The text of a line that select wrote, as training meets it: `source`, then `target`, with
    nothing between.
    """
    text: str = (row.get("source") or "") + row["target"]
    return text


def held_out_hash(id_: str) -> int:
    """Where a document stands in the order of holding out: 64 bits of its id, for this use
    alone.
    """
    digest = hashlib.blake2b(
        id_.encode(), digest_size=HASH_BITS // 8, person=b"puna-heldout"
    ).digest()
    return int.from_bytes(digest, "big")


def held_out_limit(fraction: float) -> int:
    """Hashes below this may be held out; of them, select takes the smallest up to its limit of
    documents.
    """
    return int(fraction * 2**HASH_BITS)
