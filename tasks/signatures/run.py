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
from tasks.text.shingles import batches, shingle


def run(context: Context) -> Outcome:
    """Annotate the documents of one source."""
    results = annotate(context, functools.partial(sign, context.parameters))
    return Outcome({"documents": sum(result["rows"] for result in results.values())}, ledger_of(results))


def sign(parameters: SignaturesParameters, table: pa.Table) -> pa.Table:
    """The annotation columns for a table with column `text`."""
    size = parameters.bands * parameters.rows
    a, b = coefficients(size, parameters.seed)
    texts: list[str] = table["text"].to_pylist()
    text_hashes: list[bytes] = []
    counts = [np.empty(0, dtype=np.int64)]
    signatures = [np.empty((0, size), dtype=np.uint64)]
    sets = [pa.array([], SHINGLE_SET)]
    for part in batches(texts):
        batch = shingle(texts[part], parameters.shingle, parameters.text_cap)
        text_hashes += batch.text_hashes(texts[part])
        counts.append(batch.capped)
        signatures.append(minhash(batch.hashes, batch.offsets, a, b, batch.capped))
        sets.append(
            pa.array([np.unique((one >> np.uint64(32)).astype(np.uint32)) for one in batch.sets()], SHINGLE_SET)
        )
    values = pa.array(np.concatenate(signatures).reshape(-1))
    return pa.table(
        {
            "text_hash": pa.array(text_hashes, TEXT_HASH),
            "signature": pa.FixedSizeListArray.from_arrays(values, size, mask=pa.array(np.concatenate(counts) == 0)),
            "shingle_set": pa.chunked_array(sets, SHINGLE_SET),
            "length": pc.binary_length(table["text"]).cast(pa.int64()),
        }
    )
