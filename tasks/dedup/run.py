"""Deduplicate all sources: group by band keys, elect in batches, check the gates, write what became
of every row.

data/<source>/part-*.parquet  row-aligned with the documents: duplicate_of (id of the document that
stays, perhaps of an
                              earlier crawl; null where kept or not eligible), similarity (Jaccard
                              to it), kind ("exact", "near" or null)
data/clusters.parquet         one row a cluster of two and more, see tasks.dedup.clusters.SCHEMA

Steps exchange files in scratch, whose layout depends on the inputs and on the memory a worker may
take, never on what comes out; see docs/dedup.md.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from infra.context import Context
from infra.ledger import Ledger
from infra.stage import JSON, Outcome, StageError
from infra.store import Shard
from tasks.dedup import components
from tasks.dedup.batch import BatchWork, Places, bytes_per_document, elect_batch
from tasks.dedup.candidates import DealWork, GatherWork, deal_groups, gather
from tasks.dedup.clusters import BYTES_PER_CLUSTER, Clusters
from tasks.dedup.clusters import SCHEMA as CLUSTERS_SCHEMA
from tasks.dedup.fates import FateWork, write_fates
from tasks.dedup.gates import Found, check_gates, check_saturation
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
)  # fmt: skip
from tasks.dedup.segments import segments
from tasks.dedup.signed import BLOCK_ROWS, Part, Signing, find_parts
from tasks.dedup.stage import DedupParameters
from tasks.documents.schema import COMPRESSION, ROW_GROUP_DOCUMENTS

CLUSTERS = "clusters.parquet"
_PARTITION_RECORDS = 1 << 20
_MOST_PARTITIONS = 1 << 14
_PART_ROW_BYTES = 200
"""Memory of one row of a part while its ids are read and its fates are written."""

_SMALLEST_BATCH, _WANTED_BATCHES = 1 << 14, 16


@dataclass(frozen=True)
class Plan:
    """How the work is cut: `partitions` of the keys, and up to `batch` documents to elect at once.

    `folder` in scratch and `key` before the keys of maps name the layout, so that a rerun with
    another one starts anew.
    """

    parts: tuple[Part, ...]
    folder: Path
    documents: int
    first_new: int
    partitions: int
    worker_bytes: int
    block_rows: int

    @property
    def key(self) -> str:
        """Begins the key of every map."""
        return self.folder.name

    @classmethod
    def of(
        cls, parts: tuple[Part, ...], parameters: DedupParameters, workers: int, scratch: Path
    ) -> Plan:
        """`StageError` where `dedup.memory` is too small for the documents and workers."""
        documents = sum(part.rows for part in parts)
        records = documents * (parameters.bands + 1)
        worker_bytes = parameters.memory // workers
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
        folder = scratch / f"{partitions}-{worker_bytes}"
        first_new = sum(part.rows for part in parts if part.crawl)
        block_rows = min(max(worker_bytes // row, ROW_GROUP_DOCUMENTS), BLOCK_ROWS)
        return cls(parts, folder, documents, first_new, partitions, worker_bytes, block_rows)


def refuse_memory(needed: int, parameters: DedupParameters, what: str) -> None:
    """`StageError` where `dedup.memory` is less than `needed`."""
    if needed > parameters.memory:
        raise StageError(
            f"dedup.memory is {parameters.memory / 1e6:,.0f} MB, {what} need {needed / 1e6:,.0f} "
            f"MB: set dedup.memory: {-(-needed // 10**6)}M or more"
        )


def run(context: Context) -> Outcome:
    """Deduplicate; `GateError` where a limit of the recipe is exceeded and not accepted."""
    parameters: DedupParameters = context.parameters
    parts = find_parts(context.inputs, parameters)
    plan = Plan.of(parts, parameters, context.engine.workers, context.scratch())
    eligible, groups = _group(context, plan)
    batches = _deal(context, plan)
    elected = _elect(context, plan, batches)
    texts, examples = max(
        ((int(result["texts"]), result["examples"]) for result in elected),
        key=lambda one: one[0],
        default=(0, []),
    )
    exceeded = check_saturation(parts, texts, examples, parameters)
    clusters = Clusters.of(plan.folder / "elected", len(batches), parts)
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
    exceeded += check_gates(Found(clusters, eligible_of, removed, repeated), parameters)
    ledger = _write(context, plan, clusters, len(batches))
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
        "history": {"documents": plan.first_new, "repeated": sum(repeated.values())},
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


def _group(context: Context, plan: Plan) -> tuple[list[int], dict[str, int]]:
    """Find the groups of documents that share a key; returns the eligible documents of every part,
    and counts.
    """
    parameters: DedupParameters = context.parameters
    keys, groups = plan.folder / "keys", plan.folder / "groups"
    signing = Signing(parameters.bands, parameters.rows)
    keyed = context.map(
        write_keys,
        {
            f"{plan.key}.keys.{part.number}": KeyWork(
                part, signing, keys, plan.partitions, plan.block_rows
            )
            for part in plan.parts
        },
    )
    found = context.map(
        find_groups,
        {
            f"{plan.key}.groups.{number}": GroupWork(
                keys, groups, len(plan.parts), number, plan.first_new, plan.worker_bytes
            )
            for number in range(plan.partitions)
        },
    )
    shutil.rmtree(keys, ignore_errors=True)
    counts = {
        name: sum(int(result[name]) for result in found.values())
        for name in ("groups", "memberships")
    }
    return [int(result["documents"]) for result in keyed.values()], counts


def _deal(context: Context, plan: Plan) -> npt.NDArray[np.int64]:
    """Deal documents that share groups into batches, with their shingle sets; returns the batches'
    documents.
    """
    parameters: DedupParameters = context.parameters
    groups, file = plan.folder / "groups", plan.folder / "batches.npy"
    component = components.join(plan.documents, _groups(groups, plan.partitions))
    meeting = int((component != np.arange(len(component), dtype=np.uint32)).sum())
    fitting = plan.worker_bytes // bytes_per_document(parameters.bands, len(parameters.prefer))
    batches = components.deal(
        component, max(1, min(max(_SMALLEST_BATCH, meeting // _WANTED_BATCHES), fitting))
    )
    del component
    plan.folder.mkdir(parents=True, exist_ok=True)
    np.save(file, batches.of)
    count = len(batches.sizes)
    context.map(
        gather,
        {
            f"{plan.key}.candidates.{part.number}": GatherWork(
                part, plan.folder / "candidates", file, count
            )
            for part in plan.parts
        },
    )
    context.map(
        deal_groups,
        {
            f"{plan.key}.dealt.{number}": DealWork(
                number, groups, plan.folder / "dealt", file, count
            )
            for number in range(plan.partitions)
        },
    )
    return batches.sizes


def _groups(
    folder: Path, partitions: int
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.uint32]]]:
    for partition in range(partitions):
        for bucket in (TEXTS, BANDS):
            for records, members in segments(folder / str(partition), bucket, GROUP_RECORD):
                yield records["size"], members


def _elect(context: Context, plan: Plan, sizes: npt.NDArray[np.int64]) -> list[dict[str, JSON]]:
    """Elect all batches; one whose documents take more memory than a worker's share is elected
    here, alone.
    """
    parameters: DedupParameters = context.parameters
    each = bytes_per_document(parameters.bands, len(parameters.prefer))
    largest = int(sizes.max(initial=0))
    refuse_memory(
        largest * each, parameters, f"{largest:,} documents that are joined by shared bands"
    )
    places = Places.of(plan.parts)

    def work(batch: int, alone: bool) -> BatchWork:
        memory = parameters.memory if alone else plan.worker_bytes
        return BatchWork(
            batch, plan.folder / "candidates", plan.folder / "dealt", plan.folder / "elected", plan.partitions, places,
            plan.first_new, len(parameters.prefer), parameters.verify, memory - int(sizes[batch]) * each, alone,
            None if parameters.accept else parameters.gates.saturated_band,
        )  # fmt: skip

    shared = np.flatnonzero(sizes * each <= plan.worker_bytes).tolist()
    results = context.map(
        elect_batch, {f"{plan.key}.elected.{batch}": work(batch, False) for batch in shared}
    )
    found = {
        batch: result
        for batch, result in zip(shared, results.values(), strict=True)
        if not result.get("postponed")
    }
    left = [batch for batch in range(len(sizes)) if batch not in found]
    alone = {f"{plan.key}.alone.{batch}": work(batch, True) for batch in left}
    found |= dict(zip(left, context.map(elect_batch, alone, here=True).values(), strict=True))
    return [found[batch] for batch in range(len(sizes))]


def _sum(elected: list[dict[str, JSON]], name: str, width: int) -> list[int]:
    total = np.zeros(width, np.int64)
    for result in elected:
        total += np.array(result[name], np.int64)
    return [int(value) for value in total]


def _write(context: Context, plan: Plan, clusters: Clusters, batches: int) -> Ledger:
    parameters: DedupParameters = context.parameters
    refuse_memory(BYTES_PER_CLUSTER * len(clusters), parameters, f"{len(clusters):,} clusters")
    results: Mapping[str, Mapping[str, JSON]] = context.map(
        write_fates,
        {
            f"{part.source}.{Path(part.name).stem}": FateWork(
                part, plan.folder / "elected", batches
            )
            for part in plan.parts
            if not part.crawl
        },
    )
    context.map(functools.partial(_write_clusters, clusters), {"clusters": None}, here=True)
    return Ledger.merged(result["ledger"] for result in results.values())


def _write_clusters(clusters: Clusters, _: None, shard: Shard) -> dict[str, JSON]:
    with (
        shard.create(CLUSTERS) as path,
        pq.ParquetWriter(path, CLUSTERS_SCHEMA, compression=COMPRESSION) as writer,
    ):
        for table in clusters.tables():
            writer.write_table(table)
    return {"rows": len(clusters)}
