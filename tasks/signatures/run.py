"""Compute what deduplication compares documents by, in columns beside every document.

text_hash    binary(16)                             tasks.text.shingles.text_hash; equal means "exact duplicate"
signature    fixed_size_list<uint64>[bands * rows]  MinHash; null where the text has no word
shingle_set  list<uint32>                           upper halves of the hashes of the whole text's shingles, distinct,
                                                    ascending; empty where it has no word
length       int64                                  UTF-8 bytes of the text, for `prefer` and the ledger
"""

from __future__ import annotations

import functools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.context import Context
from infra.stage import Outcome
from tasks.documents.annotate import annotate, ledger_of
from tasks.documents.hashes import SHINGLE_SET, TEXT_HASH
from tasks.signatures.minhash import coefficients, minhash
from tasks.signatures.stage import SignaturesParameters
from tasks.text.shingles import Utf8, shingle_utf8


def run(context: Context) -> Outcome:
    """Annotate the documents of one source."""
    results = annotate(context, functools.partial(sign, context.parameters))
    return Outcome({"documents": sum(result["rows"] for result in results.values())}, ledger_of(results))


def sign(parameters: SignaturesParameters, table: pa.Table) -> pa.Table:
    """The annotation columns for a table with column `text`."""
    size = parameters.bands * parameters.rows
    a, b = coefficients(size, parameters.seed)
    text_hashes: list[bytes] = []
    counts = [np.empty(0, dtype=np.int64)]
    signatures = [np.empty((0, size), dtype=np.uint64)]
    sets = [np.empty(0, dtype=np.uint32)]
    set_sizes = [np.zeros(1, dtype=np.int64)]
    for texts in Utf8.of_column(table["text"]).batches():
        batch = shingle_utf8(texts, parameters.shingle, parameters.text_cap)
        text_hashes += batch.text_hashes()
        counts.append(batch.capped)
        signatures.append(minhash(batch.hashes, batch.offsets, a, b, batch.capped))
        values, offsets = batch.sets()
        sets.append(values)
        set_sizes.append(np.diff(offsets))
    set_offsets = np.cumsum(np.concatenate(set_sizes)).astype(np.int32)
    values = pa.array(np.concatenate(signatures).reshape(-1))
    return pa.table(
        {
            "text_hash": pa.array(text_hashes, TEXT_HASH),
            "signature": pa.FixedSizeListArray.from_arrays(values, size, mask=pa.array(np.concatenate(counts) == 0)),
            "shingle_set": pa.ListArray.from_arrays(pa.array(set_offsets), pa.array(np.concatenate(sets)), SHINGLE_SET),
            "length": pc.binary_length(table["text"]).cast(pa.int64()),
        }
    )
