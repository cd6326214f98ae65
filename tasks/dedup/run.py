"""Deduplicate all sources: read the index, elect, check the gates, write what became of every row.

data/<source>/part-*.parquet  row-aligned with the documents: duplicate_of (id of the document that stays; null where
                              kept or not eligible), similarity (Jaccard to it), kind ("exact", "near" or null)
data/clusters.parquet         one row a cluster of two and more, see tasks.dedup.clusters.SCHEMA
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from infra.context import Context
from infra.stage import JSON, Outcome, StageError
from infra.store import Shard
from tasks.dedup.clusters import Clusters
from tasks.dedup.elect import Election, elect
from tasks.dedup.gates import check_gates
from tasks.dedup.index import Index, find_parts, load_sets, read_index
from tasks.dedup.stage import DedupParameters
from tasks.documents.ledger import Ledger
from tasks.documents.schema import COMPRESSION

SCHEMA = pa.schema([("duplicate_of", pa.string()), ("similarity", pa.float32()), ("kind", pa.string())])
CLUSTERS = "clusters.parquet"


def run(context: Context) -> Outcome:
    """Deduplicate; `GateError` where a limit of the recipe is exceeded and not accepted."""
    parameters: DedupParameters = context.parameters
    _check_signatures(context)
    index = read_index(find_parts(context.inputs), parameters)
    spill = context.scratch() / "shingles.u64"
    election = elect(
        index.text_hash,
        index.keys,
        index.shingled,
        parameters.verify,
        lambda ranks: load_sets(index, ranks, parameters.shingle, spill),
    )
    clusters = Clusters.of(index, election)
    exceeded = check_gates(clusters, election, parameters)
    write = functools.partial(_write_part, index, election, clusters)
    items = {f"{part.source}.{Path(part.name).stem}": number for number, part in enumerate(index.parts)}
    context.map(write, items, here=True)
    context.map(functools.partial(_write_clusters, clusters), {"clusters": None}, here=True)
    ledger = _ledger(index, election, clusters)
    return Outcome(_statistics(index, election, clusters, ledger) | {"gates_exceeded": exceeded}, ledger.to_json())


def _check_signatures(context: Context) -> None:
    """All signatures must come from one set of parameters, and from those that dedup was given."""
    seen: dict[str, Any] = {}
    for artifact in context.inputs["signatures"]:
        found = artifact.manifest["parameters"]
        for name in ("shingle", "bands", "rows", "seed", "text_cap"):
            wanted = seen.setdefault(name, getattr(context.parameters, name, found[name]))
            if found[name] != wanted:
                raise StageError(
                    f"{artifact.identity} was made with {name} = {found[name]}, dedup needs {wanted}: rebuild the "
                    "signatures of all sources from the recipe's section dedup"
                )


def _write_part(index: Index, election: Election, clusters: Clusters, number: int, shard: Shard) -> dict[str, JSON]:
    part = index.parts[number]
    mine = np.flatnonzero(index.part == number)
    removed = mine[election.representative[mine] != mine]
    duplicate_of = np.full(part.rows, None, dtype=object)
    kind = np.full(part.rows, None, dtype=object)
    similarity = np.zeros(part.rows, dtype=np.float32)
    rows = index.row[removed]
    duplicate_of[rows] = np.char.decode(index.id[election.representative[removed]], "ascii")
    kind[rows] = np.where(clusters.exact[removed], "exact", "near")
    similarity[rows] = election.similarity[removed]
    kept = np.ones(part.rows, dtype=np.bool_)
    kept[rows] = False
    table = pa.table(
        {"duplicate_of": duplicate_of, "similarity": pa.array(similarity, mask=kept), "kind": kind}, schema=SCHEMA
    )
    with shard.create(f"{part.source}/{part.name}") as path:
        pq.write_table(table, path, compression=COMPRESSION)
    return {"rows": part.rows, "removed": len(removed)}


def _write_clusters(clusters: Clusters, _: None, shard: Shard) -> dict[str, JSON]:
    with shard.create(CLUSTERS) as path:
        pq.write_table(clusters.table(), path, compression=COMPRESSION)
    return {"rows": len(clusters)}


def _ledger(index: Index, election: Election, clusters: Clusters) -> Ledger:
    """Eligible documents by source, language and fate."""
    fates = ("kept", "exact", "near")
    removed = election.representative != np.arange(len(index))
    fate = np.where(removed, np.where(clusters.exact, 1, 2), 0)
    shape = (len(index.sources), max(len(index.languages), 1), len(fates))
    cell: npt.NDArray[np.int64] = np.ravel_multi_index((index.source_of(), index.language, fate), shape)
    size = int(np.prod(shape))
    documents = np.bincount(cell, minlength=size).reshape(shape)
    sizes = np.bincount(cell, weights=index.length, minlength=size).reshape(shape)  # exact below 2**53 bytes
    ledger = Ledger()
    for s, source in enumerate(index.sources):
        for t, language in enumerate(index.languages):
            count, size = int(documents[s, t].sum()), int(sizes[s, t].sum())
            if not count:
                continue
            ledger.add(source, language, "read", documents=count, bytes=size)
            for f, name in enumerate(fates):
                count, size = int(documents[s, t, f]), int(sizes[s, t, f])
                if name == "kept":
                    ledger.add(source, language, "kept", documents=count, bytes=size)
                elif count:
                    ledger.add(source, language, "dropped", f"dedup.{name}", documents=count, bytes=size)
    return ledger


def _statistics(index: Index, election: Election, clusters: Clusters, ledger: Ledger) -> dict[str, JSON]:
    return {
        "eligible": len(index),
        "kept": ledger.documents("kept"),
        "exact": ledger.documents("dropped", "dedup.exact"),
        "near": ledger.documents("dropped", "dedup.near"),
        "removal_rate": {
            source: ledger.documents("dropped", source=source) / max(ledger.documents("read", source=source), 1)
            for source in index.sources
        },
        "clusters": len(clusters),
        "largest_cluster": clusters.row(0) if len(clusters) else None,
        "cluster_sizes": clusters.histogram(),
        "candidate_documents": election.candidates,
        "pairs_compared": election.compared,
        "pairs_verified": election.verified,
        "largest_bucket": election.largest_bucket,
    }
