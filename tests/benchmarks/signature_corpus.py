"""Signatures without text: what deduplication reads, of as many documents as are asked for.

A text of 2.5 kB takes 2.4 kB of hashes, so ten million documents would be 25 GB of text and 24 GB
of signatures. Here the hashes are arithmetic progressions, which Parquet's delta encoding keeps in
a few bytes a row, while the arrays that dedup decodes, sorts, copies and merges have their full
size: 112 values of 64 bits (14 bands of 8) and 380 shingles of 32 bits a document.

One document in six is a planted copy, with as many words replaced as in `dedup_corpus`; a
replaced word changes five shingles. Whether a pair agrees in a band is drawn with its probability,
its similarity to the power of 8. All else never meets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from infra.context import Context
from infra.ledger import Ledger
from infra.stage import JSON, Outcome, Parameters, Stage
from infra.store import Shard
from tasks.cut.stage import STAGE as CUT
from tasks.ingest.stage import STAGE as INGEST
from tasks.signatures.stage import STAGE as SIGNATURES
from tests.benchmarks.dedup_corpus import BLOCK, EDITS, PLANTED

BANDS, ROWS, SHINGLES, WORD_SHINGLES = 14, 8, 380, 5
VALUES = BANDS * ROWS
STRIDE = 420
"""Between the first shingles of two documents, so that only copies share any; 2**32 hold them."""

MOST = 2**32 // STRIDE
PART_DOCUMENTS = 50_000
GROUP_DOCUMENTS = 1_000
TEXT_BYTES = 2_500


class CorpusParameters(Parameters):
    """How many documents."""

    documents: int


def copies(first: int, rows: int) -> npt.NDArray[np.int64]:
    """For documents from `first` the words that differ from the one before; -1 for no copy.

    In every block of `BLOCK` documents, 2 i + 1 is a copy of 2 i for the first `PLANTED` i.
    """
    inside = np.arange(first, first + rows) % BLOCK
    pair = inside // 2
    planted = (inside % 2 == 1) & (pair < PLANTED)
    return np.where(planted, np.array(EDITS)[pair % len(EDITS)], -1)


def similarity(edits: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Jaccard similarity of a copy with so many words replaced."""
    changed = WORD_SHINGLES * edits
    return (SHINGLES - changed) / (SHINGLES + changed)


@dataclass(frozen=True)
class Hashes:
    """Of n documents: text hashes (n, 2), signatures (n, VALUES), shingle sets (n, SHINGLES)."""

    texts: npt.NDArray[np.uint64]
    signatures: npt.NDArray[np.uint64]
    sets: npt.NDArray[np.uint32]


def hashes(first: int, edits: npt.NDArray[np.int64]) -> Hashes:
    """Of the documents numbered from `first` (even), of which `edits` says which are copies."""
    numbers = first + np.arange(len(edits))
    like = numbers - (edits >= 0)  # the document that a copy is of
    shift = np.where(edits > 0, WORD_SHINGLES * edits, 0)
    begin = like * STRIDE + shift
    sets = (begin[:, None] + np.arange(SHINGLES)).astype(np.uint32)
    sets.sort(axis=1)  # the last document may wrap around
    rng = np.random.default_rng((17, first))
    agree = rng.random((len(edits), BANDS)) < similarity(np.maximum(edits, 0))[:, None] ** ROWS
    of = np.where(agree & (edits >= 0)[:, None], like[:, None], numbers[:, None])
    starts = of.astype(np.uint64)[:, :, None] * np.uint64(VALUES)
    place = np.arange(VALUES, dtype=np.uint64).reshape(1, BANDS, ROWS)
    text = np.where(edits == 0, like, numbers).astype(np.uint64)
    mixed = text * np.uint64(0x9E3779B97F4A7C15)  # as hashes are: spread over all partitions
    return Hashes(
        np.stack([mixed, text], axis=1), (starts + place).reshape(len(edits), VALUES), sets
    )


@dataclass(frozen=True)
class Part:
    """Documents `first` to `first + rows` of the corpus."""

    name: str
    first: int
    rows: int


def parts(documents: int) -> dict[str, Part]:
    """The files of an artifact, by their keys."""
    if documents > MOST:
        raise ValueError(f"{documents:,} documents, but hashes are distinct for {MOST:,} only")
    found = {}
    for number, first in enumerate(range(0, documents, PART_DOCUMENTS)):
        name = f"part-{number:05d}"
        found[name] = Part(f"{name}.parquet", first, min(PART_DOCUMENTS, documents - first))
    return found


def _written(part: Part, shard: Shard, folder: str, make: Any) -> None:
    """A file of row groups of `GROUP_DOCUMENTS`, of tables that `make(first, rows)` gives."""
    with shard.create(f"{folder}{part.name}") as path:
        writer = None
        for start in range(0, part.rows, GROUP_DOCUMENTS):
            table = make(part.first + start, min(GROUP_DOCUMENTS, part.rows - start))
            writer = writer or _writer(path, table.schema)
            writer.write_table(table)
        assert writer is not None
        writer.close()


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    delta = {
        "signature.list.element": "DELTA_BINARY_PACKED",
        "shingle_set.list.element": "DELTA_BINARY_PACKED",
    }
    known = {k: v for k, v in delta.items() if k.partition(".")[0] in schema.names}
    return pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=False, column_encoding=known or None
    )


def _ids(first: int, rows: int) -> pa.Array:
    return pa.array([f"{number:032x}" for number in range(first, first + rows)])


def documents_part(part: Part, shard: Shard) -> dict[str, JSON]:
    """What dedup reads of the documents: ids."""
    _written(part, shard, "", lambda first, rows: pa.table({"id": _ids(first, rows)}))
    return {}


def signatures_part(part: Part, shard: Shard) -> dict[str, JSON]:
    """Signatures as the stage writes them, but for their encoding."""

    def make(first: int, rows: int) -> pa.Table:
        found = hashes(first, copies(first, rows))
        offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * SHINGLES)
        return pa.table(
            {
                "text_hash": pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(16), rows, [None, pa.py_buffer(found.texts.tobytes())]
                ),
                "signature": pa.FixedSizeListArray.from_arrays(
                    pa.array(found.signatures.reshape(-1)), VALUES
                ),
                "shingle_set": pa.ListArray.from_arrays(offsets, pa.array(found.sets.reshape(-1))),
                "length": pa.array(np.full(rows, TEXT_BYTES, np.int64)),
            }
        )

    _written(part, shard, "", make)
    return {}


def cut_part(part: Part, shard: Shard) -> dict[str, JSON]:
    """Everything is eligible, in English."""

    def make(first: int, rows: int) -> pa.Table:
        return pa.table(
            {"reason": pa.nulls(rows, pa.string()), "language": pa.array(["en"] * rows)}
        )

    _written(part, shard, "web/", make)
    return {}


def _run(function: Any, context: Context) -> Outcome:
    documents = context.parameters.documents
    context.map(function, parts(documents))
    ledger = Ledger()
    amounts = {"documents": documents, "bytes": documents * TEXT_BYTES}
    ledger.add("web", "en", "read", **amounts)
    ledger.add("web", "en", "kept", **amounts)
    return Outcome({"documents": documents}, ledger.to_json())


def run_documents(context: Context) -> Outcome:
    """Ids."""
    return _run(documents_part, context)


def run_signatures(context: Context) -> Outcome:
    """Hashes."""
    return _run(signatures_part, context)


def run_cut(context: Context) -> Outcome:
    """Fates."""
    return _run(cut_part, context)


def stages() -> tuple[Stage, Stage, Stage]:
    """Stand-ins for ingest, signatures and cut, by their names and versions."""
    here = "tests.benchmarks.signature_corpus"
    return (
        Stage(INGEST.name, INGEST.version, CorpusParameters, f"{here}:run_documents", "ids"),
        Stage(
            SIGNATURES.name,
            SIGNATURES.version,
            SigningParameters,
            f"{here}:run_signatures",
            "hashes",
        ),
        Stage(CUT.name, CUT.version, CorpusParameters, f"{here}:run_cut", "fates"),
    )


class SigningParameters(CorpusParameters):
    """What dedup compares with its own parameters."""

    shingle: int = 5
    bands: int = BANDS
    rows: int = ROWS
    seed: int = 1
    text_cap: int = 500_000
