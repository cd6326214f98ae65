"""Read the pairs that `keep` refuses, elect, check the gates, write fates and clusters.

One process holds the refused pairs (20 bytes each) and the documents in them (200 bytes each).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.context import Context
from infra.ledger import Ledger
from infra.stage import JSON, Outcome, StageError
from infra.store import Artifact, Shard
from infra.store.exchange import Exchange
from tasks.documents.keep import ScoreKeep
from tasks.duplicates.clusters import Clusters, write_clusters
from tasks.duplicates.fates import FateWork, write_fates
from tasks.duplicates.gates import ElectionResult, check_gates, excerpt_of
from tasks.duplicates.parts import SignedPart, find_parts
from tasks.duplicates.results import Elected, Places, in_order, write_result
from tasks.duplicates.signed import ID_BYTES, eligible_rows, ids, preferences
from tasks.semantic.elect import elect
from tasks.semantic.stage import SemanticParameters

EXAMPLES = 6
"""Pairs that the report shows on each side of the limit."""

_NEAREST = [("similarity", "descending"), ("first", "ascending"), ("second", "ascending")]


@dataclass(frozen=True)
class Near:
    """m pairs by number, and their cosines."""

    first: npt.NDArray[np.uint32]
    second: npt.NDArray[np.uint32]
    cosine: npt.NDArray[np.float32]


def run(context: Context) -> Outcome:
    """Elect; `GateError` where a limit of the recipe is exceeded and not accepted."""
    parameters: SemanticParameters = context.parameters
    parts = find_parts(context.inputs, parameters.prefer, parameters.crawls)
    neighbours = context.input("neighbours")
    _require_same_numbers(neighbours, parts)
    refused, kept = read_pairs(neighbours, parameters.keep)
    elected = context.exchange.child("elected")
    work = functools.partial(_elect, parts, parameters, refused, elected.child("0"))
    counts = context.map(work, {"elect": None}, here=True)["elect"]
    clusters = Clusters.of(elected, 1, parts)
    sources = sorted({part.source for part in parts if not part.crawl})
    new = [part for part in parts if not part.crawl]
    eligible = {
        source: sum(len(eligible_rows(part)) for part in new if part.source == source)
        for source in sources
    }
    removed, repeated = (
        dict(zip(sources, counts[name], strict=True)) for name in ("removed", "repeated")
    )
    result = ElectionResult(clusters, eligible, removed, repeated)
    exceeded = check_gates(result, parameters.gates, parameters.accept, "semantic")
    ledger = _write(context, parts, clusters, elected)
    return Outcome(
        {
            "eligible": ledger.documents("read"),
            "kept": ledger.documents("kept"),
            "near": ledger.documents("dropped", "semantic.near"),
            "removal_rate": {
                source: ledger.documents("dropped", source=source)
                / max(ledger.documents("read", source=source), 1)
                for source in sources
            },
            "history": {
                "documents": sum(part.rows for part in parts if part.crawl),
                "repeated": sum(repeated.values()),
            },
            "clusters": len(clusters),
            "largest_cluster": clusters.largest(),
            "cluster_sizes": clusters.histogram(),
            "pairs": {"refused": len(refused.first), "found": neighbours.statistics["pairs"]},
            "saturated": neighbours.statistics["saturated"],
            "without_vector": neighbours.statistics["without_vector"],
            "limit": parameters.keep.limit,
            "examples": {
                "removed": _examples(parts, _removed(clusters)),
                "kept": _examples(parts, kept),
            },
            "gates_exceeded": exceeded,
        },
        ledger.to_json(),
    )


def _require_same_numbers(neighbours: Artifact, parts: Sequence[SignedPart]) -> None:
    """Pairs name documents by number, so both stages must have read the same parts."""
    mine = [[part.crawl, part.source, part.name, part.rows] for part in parts]
    if neighbours.statistics["parts"] != mine:
        raise StageError(
            f"{neighbours.identity} was made of other documents than those given; build it again: "
            "--force neighbours"
        )


def read_pairs(neighbours: Artifact, keep: ScoreKeep) -> tuple[Near, Near]:
    """(the pairs that `keep` refuses, of the others the nearest: `EXAMPLES` to show)."""
    limit = float(np.float32(keep.limit))  # as the cosines are stored
    beyond = pc.greater_equal if keep.comparison == "<" else pc.greater
    refused: list[pa.Table] = []
    nearest = None
    for name in neighbours.files("pairs/"):
        reader = pq.ParquetFile(neighbours.path(name))
        for group in range(reader.num_row_groups):
            table = reader.read_row_group(group)
            mask = beyond(table["similarity"], limit)
            refused.append(table.filter(mask))
            rest = table.filter(pc.invert(mask))
            if len(rest):
                nearest = pa.concat_tables([rest, *([nearest] if nearest else [])])
                nearest = nearest.take(pc.sort_indices(nearest, _NEAREST)).slice(0, EXAMPLES)
    return _near(refused), _near([nearest] if nearest else [])


def _near(tables: Sequence[pa.Table]) -> Near:
    if not tables:
        return Near(np.empty(0, np.uint32), np.empty(0, np.uint32), np.empty(0, np.float32))
    table = pa.concat_tables(tables)
    return Near(*(table[name].to_numpy() for name in ("first", "second", "similarity")))


def _elect(
    parts: tuple[SignedPart, ...],
    parameters: SemanticParameters,
    near: Near,
    folder: Exchange,
    _: None,
    shard: Shard,
) -> dict[str, JSON]:
    """Elect, and write the result; returns its counts."""
    places = Places.of(parts)
    first_new = sum(part.rows for part in parts if part.crawl)
    records = _records(parts, places, np.unique([near.first, near.second]), len(parameters.prefer))
    order = in_order(records, places.orders[places.part_of(records["number"])])
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    one, other = (
        rank[np.searchsorted(records["number"], numbers)] for numbers in (near.first, near.second)
    )
    records = records[order]
    settled = np.ascontiguousarray(records["number"] < first_new)
    representative, similarity = elect(one, other, near.cosine, settled)
    elected = Elected(records, representative, similarity, np.zeros(len(records), np.bool_))
    return write_result(folder, elected, places, first_new)


def _records(
    parts: Sequence[SignedPart], places: Places, numbers: npt.NDArray[Any], prefer: int
) -> npt.NDArray[Any]:
    """What documents are ordered by, ascending by number."""
    dtype = np.dtype([("number", "<u4"), ("id", f"S{ID_BYTES}"), ("prefer", "<f8", (prefer,))])
    records = np.zeros(len(numbers), dtype)
    records["number"] = numbers
    part_of = places.part_of(numbers)
    for part in parts:
        mine = part_of == part.number
        if mine.any():
            rows = numbers[mine].astype(np.int64) - part.start
            records["id"][mine] = ids(part, rows)
            records["prefer"][mine] = preferences(part, rows)
    return records


def _write(
    context: Context, parts: Sequence[SignedPart], clusters: Clusters, elected: Exchange
) -> Ledger:
    results: Mapping[str, Mapping[str, JSON]] = context.map(
        write_fates,
        {
            f"{part.source}.{Path(part.name).stem}": FateWork(part, elected, 1, "semantic")
            for part in parts
            if not part.crawl
        },
    )
    context.map(functools.partial(write_clusters, clusters), {"clusters": None}, here=True)
    return Ledger.merged(result["ledger"] for result in results.values())


def _removed(clusters: Clusters) -> Near:
    """Some removed documents with those that represent them, from the least similar to the most."""
    if not len(clusters):
        return _near([])
    members = clusters.members(0)
    heads = np.sort(clusters.heads, order="start")
    head = np.repeat(heads["number"], heads["size"])
    order = np.lexsort((members["number"], members["similarity"]))
    chosen = order[np.unique(np.linspace(0, len(order) - 1, EXAMPLES).astype(np.int64))]
    return Near(head[chosen], members["number"][chosen], members["similarity"][chosen])


def _examples(parts: tuple[SignedPart, ...], pairs: Near) -> list[dict[str, JSON]]:
    return [
        {
            "similarity": round(float(cosine), 4),
            "texts": [excerpt_of(parts, int(number)) for number in (first, second)],
        }
        for first, second, cosine in zip(pairs.first, pairs.second, pairs.cosine, strict=True)
    ]
