"""Compute signatures: columns text_hash, signature, shingles, length beside every document.

text_hash  fixed binary(16)                  tasks.text.shingles.text_hash; equal means "exact duplicate"
signature  fixed_size_list<uint64>[bands * rows]   null where the text has no word
shingles   int32   shingles under the cap, repeats counted
length     int64   UTF-8 bytes of the text, for `prefer` and the ledger
"""

from __future__ import annotations

import functools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.context import Context
from infra.stage import Outcome
from tasks.documents.annotate import annotate, ledger_of
from tasks.signatures.minhash import coefficients, minhash
from tasks.signatures.stage import SignaturesParameters
from tasks.text.shingles import TEXT_HASH_BYTES, batches, shingle


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
    for part in batches(texts):
        batch = shingle(texts[part], parameters.shingle, parameters.text_cap)
        text_hashes += batch.text_hashes(texts[part])
        counts.append(np.diff(batch.offsets))
        signatures.append(minhash(batch.hashes, batch.offsets, a, b))
    shingles = np.concatenate(counts)
    values = pa.array(np.concatenate(signatures).reshape(-1))
    return pa.table(
        {
            "text_hash": pa.array(text_hashes, pa.binary(TEXT_HASH_BYTES)),
            "signature": pa.FixedSizeListArray.from_arrays(values, size, mask=pa.array(shingles == 0)),
            "shingles": pa.array(shingles, pa.int32()),
            "length": pc.binary_length(table["text"]).cast(pa.int64()),
        }
    )
