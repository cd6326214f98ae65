"""The whole record of a document: its prompt (Colossal's `source`) and its text (`target`), as
stages read them.

Which answer a document holds says little without the question: of a thousand questions answered
"yes" or "no" none is a copy, and "yes" is no text to tell a language by. So every stage that judges
a document reads its record, and what has no prompt is read as ever. Only edits are of the text
alone (`tasks.documents.edits`). docs/recipes.md has a table of who reads what.

Two ways to put the halves together, for two uses:

    records          for reading: prompt, line feed (or blank), text. Different pairs may read the
    same. record_hashes    for identity: equal only where both halves are, wherever the border
    between them stands.

A prompt of white space is none. Tables have the columns `text` and `prompt`; one without the latter
has no prompts.
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
    """One document's record for reading; the text itself where there is no prompt."""
    return f"{prompt}{SEPARATOR}{text}" if prompt.strip() else text


def has_prompt(table: pa.Table) -> pa.ChunkedArray | None:
    """Which of N documents have a prompt, or None where none has."""
    if PROMPT not in table.column_names:
        return None
    found = pc.fill_null(
        pc.greater(pc.binary_length(pc.utf8_trim_whitespace(table[PROMPT])), 0), False
    )
    return found if pc.any(found).as_py() else None


def records(table: pa.Table, separator: str = SEPARATOR) -> pa.ChunkedArray:
    """The records of N documents for reading: column `text` as it is where no document has a
    prompt.
    """
    prompted = has_prompt(table)
    if prompted is None:
        return table["text"]
    joined = pc.binary_join_element_wise(pc.fill_null(table[PROMPT], ""), table["text"], separator)
    return pc.if_else(prompted, joined, table["text"])


def record_bytes(table: pa.Table) -> pa.ChunkedArray:
    """UTF-8 bytes of N records, prompt and text without anything between: what ledgers and
    statistics count.
    """
    sizes = pc.binary_length(table["text"]).cast(pa.int64())
    if PROMPT not in table.column_names:
        return sizes
    return pc.add(sizes, pc.fill_null(pc.binary_length(table[PROMPT]), 0))


def record_hashes(prompts: Iterable[bytes], texts: Iterable[bytes]) -> list[bytes]:
    """One hash for each pair of hashes of a prompt and a text, of as many bytes as the text's.

    Hashes of fixed length have one border, so that ("ab", "c") and ("a", "bc") differ; and no text
    has the hash of a pair by another way than a collision.
    """
    return [
        hashlib.blake2b(prompt + text, digest_size=len(text), person=_HASH_USE).digest()
        for prompt, text in zip(prompts, texts, strict=True)
    ]
