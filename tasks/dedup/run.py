"""Deduplicate all sources: group by band keys, elect in batches, check the gates, write fates.

Written, in data/:

    <source>/part-*.parquet  row-aligned with the documents:
                             duplicate_of  id of the kept document, perhaps of an earlier crawl;
                                           null where the row is kept or not eligible
                             similarity    Jaccard similarity to it
                             kind          "exact", "near" or null
    clusters.parquet         one row per cluster, see tasks.duplicates.clusters.SCHEMA

Steps exchange files (`infra.store.exchange`). Their layout depends on the inputs and on the memory
of a worker; the output does not depend on it. See docs/dedup.md.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.context import Context
from infra.ledger import Ledger
from infra.stage import JSON, Outcome, StageError
from infra.store.exchange import Exchange
from tasks.dedup import components
from tasks.dedup.batch import BatchWork, bytes_per_document, elect_batch
from tasks.dedup.candidates import BATCHES, DealWork, GatherWork, deal_groups, gather
from tasks.dedup.keys import (
    BANDS,
    GROUP_RECORD,
    GROUPING_BYTES,
    KEY_RECORD,
    TEXTS,
    GroupWork,
    KeyWork,
    find_groups,
    write_keys,
)
from tasks.dedup.stage import DedupParameters
from tasks.documents.schema import ROW_GROUP_DOCUMENTS
from tasks.documents.segments import bucket_of, segments
from tasks.duplicates.agreement import signing_of
from tasks.duplicates.clusters import BYTES_PER_CLUSTER, Clusters, write_clusters
from tasks.duplicates.fates import FateWork, write_fates
from tasks.duplicates.gates import ElectionResult, check_gates, check_saturation
from tasks.duplicates.parts import SignedPart, find_parts
from tasks.duplicates.results import Places
from tasks.duplicates.signed import BLOCK_ROWS, SignatureShape

_PARTITION_RECORDS = 1 << 20
_MOST_PARTITIONS = 1 << 14
_PART_ROW_BYTES = 200
"""Memory of one row of a part while its ids are read and its fates are written."""

_SMALLEST_BATCH, _WANTED_BATCHES = 1 << 14, 16


@dataclass(frozen=True)
class Layout:
    """How the work is divided: partitions of keys, and memory (bytes) of each worker.

    Documents numbered below `first_new` are of earlier crawls. `files` (what steps exchange) and
    `key`, the prefix of the keys of maps, name the layout, so that a rerun with another one starts
    afresh.
    """

    parts: tuple[SignedPart, ...]
    files: Exchange
    documents: int
    first_new: int
    partitions: int
    worker_bytes: int
    block_rows: int

    @property
    def key(self) -> str:
        """Prefix of the key of every map."""
        return self.files.name

    @classmethod
    def of(
        cls,
        parts: tuple[SignedPart, ...],
        parameters: DedupParameters,
        workers: int,
        exchange: Exchange,
    ) -> Layout:
        """`StageError` where `dedup.memory` is too small for the documents and workers."""
        documents = sum(part.rows for part in parts)
        records = documents * (parameters.bands + 1)
        worker_bytes = parameters.memory // workers
        # Twice the bytes: a worker's share must hold two average partitions, as sizes differ.
        partitions = 1
        fitting = min(worker_bytes // (2 * GROUPING_BYTES), _PARTITION_RECORDS)
        while partitions * fitting < records and partitions < _MOST_PARTITIONS:
            partitions *= 2
        row = parameters.bands * (2 * KEY_RECORD.itemsize + 3 * 8 * parameters.rows) + 100
        needed = max(
            components.BYTES_PER_DOCUMENT * documents,
            workers * row * min(ROW_GROUP_DOCUMENTS, documents),
            workers * _PART_ROW_BYTES * max((part.rows for part in parts), default=0),
            workers * 2 * GROUPING_BYTES * records // _MOST_PARTITIONS,
        )
        refuse_memory(needed, parameters, f"{documents:,} documents and {workers} workers")
        files = exchange.child(f"{partitions}-{worker_bytes}")
        first_new = sum(part.rows for part in parts if part.crawl)
        block_rows = min(max(worker_bytes // row, ROW_GROUP_DOCUMENTS), BLOCK_ROWS)
        return cls(parts, files, documents, first_new, partitions, worker_bytes, block_rows)


def refuse_memory(needed: int, parameters: DedupParameters, what: str) -> None:
    """`StageError` where `dedup.memory` is less than `needed`."""
    if needed > parameters.memory:
        raise StageError(
            f"dedup.memory is {parameters.memory / 1e6:,.0f} MB, but {what} need "
            f"{needed / 1e6:,.0f} MB: set dedup.memory to {-(-needed // 10**6)}M or more"
        )


def run(context: Context) -> Outcome:
    """Deduplicate; `GateError` where a limit of the recipe is exceeded and not accepted."""
    parameters: DedupParameters = context.parameters
    parts = find_parts(context.inputs, parameters.prefer, parameters.crawls, signing_of(parameters))
    layout = Layout.of(parts, parameters, context.engine.workers, context.exchange)
    eligible, groups = _group(context, layout)
    batches = _deal(context, layout)
    elected = _elect(context, layout, batches)
    texts, examples = max(
        ((int(result["texts"]), result["examples"]) for result in elected),
        key=lambda saturation: saturation[0],
        default=(0, []),
    )
    gates, accept = parameters.gates, parameters.accept
    exceeded = check_saturation(parts, texts, examples, gates.saturated_band, accept)
    clusters = Clusters.of(layout.files.child("elected"), len(batches), parts)
    sources = sorted({part.source for part in parts if not part.crawl})
    eligible_of = {
        source: sum(
            eligible[part.number] for part in parts if part.source == source and not part.crawl
        )
        for source in sources
    }
    removed, repeated = (
        dict(zip(sources, _sum(elected, name, len(sources)), strict=True))
        for name in ("removed", "repeated")
    )
    result = ElectionResult(clusters, eligible_of, removed, repeated)
    exceeded += check_gates(result, gates, accept, "dedup")
    ledger = _write(context, layout, clusters, len(batches))
    statistics = {
        "eligible": ledger.documents("read"),
        "kept": ledger.documents("kept"),
        "exact": ledger.documents("dropped", "dedup.exact"),
        "near": ledger.documents("dropped", "dedup.near"),
        "removal_rate": {
            source: ledger.documents("dropped", source=source)
            / max(ledger.documents("read", source=source), 1)
            for source in sources
        },
        "history": {"documents": layout.first_new, "repeated": sum(repeated.values())},
        "clusters": len(clusters),
        "largest_cluster": clusters.largest(),
        "cluster_sizes": clusters.histogram(),
        "candidate_documents": sum(int(result["candidates"]) for result in elected),
        "pairs_compared": sum(int(result["compared"]) for result in elected),
        "pairs_verified": sum(int(result["verified"]) for result in elected),
        "saturated_band": texts,
        "gates_exceeded": exceeded,
    }
    return Outcome(statistics | groups, ledger.to_json())


def _group(context: Context, layout: Layout) -> tuple[list[int], dict[str, int]]:
    """Find the groups of documents that share a key.

    Returns the number of eligible documents of every part, and the counts of groups.
    """
    parameters: DedupParameters = context.parameters
    keys, groups = layout.files.child("keys"), layout.files.child("groups")
    signing = SignatureShape(parameters.bands, parameters.rows)
    keyed = context.map(
        write_keys,
        {
            f"{layout.key}.keys.{part.number}": KeyWork(
                part, signing, keys, layout.partitions, layout.block_rows
            )
            for part in layout.parts
        },
    )
    grouped = context.map(
        find_groups,
        {
            f"{layout.key}.groups.{number}": GroupWork(
                keys, groups, len(layout.parts), number, layout.first_new, layout.worker_bytes
            )
            for number in range(layout.partitions)
        },
    )
    keys.remove()
    counts = {
        name: sum(int(result[name]) for result in grouped.values())
        for name in ("groups", "memberships")
    }
    return [int(result["documents"]) for result in keyed.values()], counts


def _deal(context: Context, layout: Layout) -> npt.NDArray[np.int64]:
    """Deal documents that share groups into batches; returns the number of documents of each."""
    parameters: DedupParameters = context.parameters
    groups = layout.files.child("groups")
    component = components.join(layout.documents, _groups(groups, layout.partitions))
    meeting = int((component != np.arange(len(component), dtype=np.uint32)).sum())
    fitting = layout.worker_bytes // bytes_per_document(parameters.bands, len(parameters.prefer))
    batches = components.deal(
        component, max(1, min(max(_SMALLEST_BATCH, meeting // _WANTED_BATCHES), fitting))
    )
    del component
    with layout.files.create(BATCHES) as path:
        batches.of.tofile(path)
    count = len(batches.sizes)
    context.map(
        gather,
        {
            f"{layout.key}.candidates.{part.number}": GatherWork(
                part, layout.files.child("candidates"), layout.files, count
            )
            for part in layout.parts
        },
    )
    context.map(
        deal_groups,
        {
            f"{layout.key}.dealt.{number}": DealWork(
                number, groups, layout.files.child("dealt"), layout.files, count
            )
            for number in range(layout.partitions)
        },
    )
    return batches.sizes


def _groups(
    groups: Exchange, partitions: int
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.uint32]]]:
    for bucket in (TEXTS, BANDS):
        wanted = bucket_of(map(str, range(partitions)), bucket)
        for records, members in segments(groups, wanted, GROUP_RECORD):
            yield records["size"], members


def _elect(context: Context, layout: Layout, sizes: npt.NDArray[np.int64]) -> list[dict[str, JSON]]:
    """Elect all batches, in parallel where each fits a worker's share of the memory.

    The others (too many documents, or an index of hot groups that turned out too large) are elected
    in this process, one at a time, with all of the memory.
    """
    parameters: DedupParameters = context.parameters
    each = bytes_per_document(parameters.bands, len(parameters.prefer))
    largest = int(sizes.max(initial=0))
    refuse_memory(
        largest * each, parameters, f"{largest:,} documents in one component (shared bands)"
    )
    places = Places.of(layout.parts)

    def work(batch: int, alone: bool) -> BatchWork:
        memory = parameters.memory if alone else layout.worker_bytes
        return BatchWork(
            batch=batch,
            candidates=layout.files.child("candidates"),
            groups=layout.files.child("dealt"),
            elected=layout.files.child("elected"),
            partitions=layout.partitions,
            places=places,
            first_new=layout.first_new,
            prefer=len(parameters.prefer),
            verify=parameters.verify,
            memory=memory - int(sizes[batch]) * each,
            alone=alone,
            saturated=None if parameters.accept else parameters.gates.saturated_band,
        )

    shared = np.flatnonzero(sizes * each <= layout.worker_bytes).tolist()
    results = context.map(
        elect_batch, {f"{layout.key}.elected.{batch}": work(batch, False) for batch in shared}
    )
    elected = {
        batch: result
        for batch, result in zip(shared, results.values(), strict=True)
        if not result.get("postponed")
    }
    left = [batch for batch in range(len(sizes)) if batch not in elected]
    alone = {f"{layout.key}.alone.{batch}": work(batch, True) for batch in left}
    elected |= dict(zip(left, context.map(elect_batch, alone, here=True).values(), strict=True))
    return [elected[batch] for batch in range(len(sizes))]


def _sum(elected: list[dict[str, JSON]], name: str, width: int) -> list[int]:
    total = np.zeros(width, np.int64)
    for result in elected:
        total += np.array(result[name], np.int64)
    return [int(value) for value in total]


def _write(context: Context, layout: Layout, clusters: Clusters, batches: int) -> Ledger:
    parameters: DedupParameters = context.parameters
    refuse_memory(BYTES_PER_CLUSTER * len(clusters), parameters, f"{len(clusters):,} clusters")
    results: Mapping[str, Mapping[str, JSON]] = context.map(
        write_fates,
        {
            f"{part.source}.{Path(part.name).stem}": FateWork(
                part, layout.files.child("elected"), batches, "dedup"
            )
            for part in layout.parts
            if not part.crawl
        },
    )
    context.map(functools.partial(write_clusters, clusters), {"clusters": None}, here=True)
    return Ledger.merged(result["ledger"] for result in results.values())
