"""Compute the hashes by which deduplication compares documents, in row-aligned columns.

    text_hash    binary(16)         `tasks.text.shingles.text_hash`; equal means "exact duplicate"
    signature    fixed_size_list<uint64>[bands * rows]
                                    MinHash; null where the text has no word
    shingle_set  list<uint32>       upper halves of the hashes of the whole text's shingles,
                                    distinct, ascending; empty where it has no word
    length       int64              UTF-8 bytes of the record, for `prefer` and the ledger

All are of the whole record. Where a document has a prompt:

    text_hash    hash of the text hashes of both halves, so that only equal pairs are equal
    shingle_set  of prompt and text, one after the other
    signature    of prompt and text, except that the first value of every band is of the text's
                 shingles alone: records that differ only in a short answer are similar by any count
                 of shingles, yet no copies, and so never share a band. Null where either half has
                 no word: then shingles cannot tell such records apart.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.context import Context
from infra.stage import Outcome
from tasks.documents.annotate import annotate, ledger_of
from tasks.documents.hashes import SHINGLE_SET, TEXT_HASH
from tasks.documents.records import PROMPT, has_prompt, record_bytes, record_hashes, records
from tasks.signatures.minhash import coefficients, minhash
from tasks.signatures.stage import SignaturesParameters
from tasks.text.shingles import Shingles, Utf8, shingle_utf8


def run(context: Context) -> Outcome:
    """Annotate the documents of one source."""
    results = annotate(context, functools.partial(sign, context.parameters))
    return Outcome(
        {"documents": sum(result["rows"] for result in results.values())}, ledger_of(results)
    )


def sign(parameters: SignaturesParameters, table: pa.Table) -> pa.Table:
    """The annotation columns for a table with the columns `text` and `prompt`."""
    size = parameters.bands * parameters.rows
    a, b = coefficients(size, parameters.seed)
    text_hashes: list[bytes] = []
    worded = [np.empty(0, dtype=np.bool_)]
    signatures = [np.empty((0, size), dtype=np.uint64)]
    sets = [np.empty(0, dtype=np.uint32)]
    set_sizes = [np.zeros(1, dtype=np.int64)]
    for texts in Utf8.of_column(records(table)).batches():
        batch = shingle_utf8(texts, parameters.shingle, parameters.text_cap)
        text_hashes += batch.text_hashes()
        worded.append(batch.capped > 0)
        signatures.append(minhash(batch.hashes, batch.offsets, a, b, batch.capped))
        values, offsets = batch.sets()
        sets.append(values)
        set_sizes.append(np.diff(offsets))
    set_offsets = np.cumsum(np.concatenate(set_sizes)).astype(np.int32)
    signed = Signed(text_hashes, np.concatenate(signatures), np.concatenate(worded))
    if (prompted := has_prompt(table)) is not None:
        sign_pairs(
            parameters, table.select(["text", PROMPT]), np.flatnonzero(prompted.to_numpy()), signed
        )
    values = pa.array(signed.signatures.reshape(-1))
    return pa.table(
        {
            "text_hash": pa.array(signed.text_hashes, TEXT_HASH),
            "signature": pa.FixedSizeListArray.from_arrays(
                values, size, mask=pa.array(~signed.worded)
            ),
            "shingle_set": pa.ListArray.from_arrays(
                pa.array(set_offsets), pa.array(np.concatenate(sets)), SHINGLE_SET
            ),
            "length": record_bytes(table),
        }
    )


class Signed(NamedTuple):
    """N documents: hashes, signatures of shape (N, bands * rows), and which rows have a word.

    Rows without a word have no signature.
    """

    text_hashes: list[bytes]
    signatures: npt.NDArray[np.uint64]
    worded: npt.NDArray[np.bool_]


def sign_pairs(
    parameters: SignaturesParameters, table: pa.Table, rows: npt.NDArray[np.int64], signed: Signed
) -> None:
    """Overwrite the hashes and signatures of `rows`, which have prompts.

    See the module's docstring for what they become.
    """
    # The hash functions of the first value of every band.
    a, b = (
        values[:: parameters.rows].copy()
        for values in coefficients(signed.signatures.shape[1], parameters.seed)
    )
    halves = table.take(pa.array(rows))
    hashes: dict[str, list[bytes]] = {PROMPT: [], "text": []}
    for half, half_hashes in hashes.items():
        start = 0
        for texts in Utf8.of_column(halves[half]).batches():
            batch: Shingles = shingle_utf8(texts, parameters.shingle, parameters.text_cap)
            half_hashes += batch.text_hashes()
            here = rows[start : start + len(texts)]
            start += len(texts)
            signed.worded[here] &= batch.capped > 0
            if half == "text":
                signed.signatures[here, :: parameters.rows] = minhash(
                    batch.hashes, batch.offsets, a, b, batch.capped
                )
    for row, joined in zip(rows.tolist(), record_hashes(*hashes.values()), strict=True):
        signed.text_hashes[row] = joined
