"""The record of a document: its prompt (Colossal's `source`) and its text (`target`) together.

An answer says little without its question: of a thousand questions answered "yes" or "no" none is a
copy of another, and no language can be identified from "yes". So every stage that judges a document
reads its record, which is the text alone where there is no prompt. Only edits apply to the text
alone (`tasks.documents.edits`). docs/recipes.md has a table of who reads what.

There are two ways to join the halves, for two uses:

    records        for reading: prompt, line feed (or blank), text. Different pairs may read alike.
    record_hashes  for identity: equal only if both halves are, wherever the border between them is.

A prompt of only white space counts as none. Tables have the columns `text` and `prompt`; a table
without the latter has no prompts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

PROMPT = "prompt"
SEPARATOR = "\n"
_HASH_USE = b"puna-record"


def record(prompt: str, text: str) -> str:
    """One document's record for reading: the text itself if there is no prompt."""
    return f"{prompt}{SEPARATOR}{text}" if prompt.strip() else text


def has_prompt(table: pa.Table) -> pa.ChunkedArray | None:
    """Which of N documents have a prompt; None if none has."""
    if PROMPT not in table.column_names:
        return None
    prompted = pc.fill_null(
        pc.greater(pc.binary_length(pc.utf8_trim_whitespace(table[PROMPT])), 0), False
    )
    return prompted if pc.any(prompted).as_py() else None


def records(table: pa.Table, separator: str = SEPARATOR) -> pa.ChunkedArray:
    """The records of N documents for reading; column `text` itself if none has a prompt."""
    prompted = has_prompt(table)
    if prompted is None:
        return table["text"]
    joined = pc.binary_join_element_wise(pc.fill_null(table[PROMPT], ""), table["text"], separator)
    return pc.if_else(prompted, joined, table["text"])


def record_bytes(table: pa.Table) -> pa.ChunkedArray:
    """UTF-8 bytes of N records, without a separator: what ledgers and statistics count."""
    sizes = pc.binary_length(table["text"]).cast(pa.int64())
    if PROMPT not in table.column_names:
        return sizes
    return pc.add(sizes, pc.fill_null(pc.binary_length(table[PROMPT]), 0))


def record_hashes(prompts: Iterable[bytes], texts: Iterable[bytes]) -> list[bytes]:
    """One hash for each pair of a prompt's and a text's hash, as long as the text's hash.

    The hashes that are hashed have a fixed length, so ("ab", "c") and ("a", "bc") differ. The hash
    is personalised, so a text has the hash of a pair only by a collision.
    """
    return [
        hashlib.blake2b(prompt + text, digest_size=len(text), person=_HASH_USE).digest()
        for prompt, text in zip(prompts, texts, strict=True)
    ]
