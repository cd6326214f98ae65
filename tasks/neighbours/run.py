"""Finds pairs of near documents: train centroids on a sample, deal documents, search the groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infra.context import Context
from infra.stage import JSON, Outcome, StageError
from infra.store import Artifact
from tasks.documents.selected import VECTORS_FOLDER
from tasks.documents.vectors import MADE_WITH, made_with, require_comparable
from tasks.duplicates.agreement import index_vectors
from tasks.duplicates.parts import SignedPart, find_parts
from tasks.neighbours.clusters import SAMPLE_PER_CLUSTER, count_for
from tasks.neighbours.stage import NeighboursParameters
from tasks.neighbours.work import (
    DealWork,
    PartVectors,
    SampleWork,
    SearchWork,
    TrainWork,
    count,
    deal,
    sample,
    search,
    train_clusters,
)

GROUP_DOCUMENTS = 8_192
"""Documents of a group of clusters, on average: what a kill repeats, and a worker holds (with as
many guests for each further probe).
"""


def run(context: Context) -> Outcome:
    """See `tasks.neighbours.stage`."""
    parameters: NeighboursParameters = context.parameters
    parts = find_parts(context.inputs)
    made = _comparable(context.many("embeddings"), context.many("history"))
    dimensions = int(made["dimensions"])
    given = [PartVectors(part, _vectors_of(part, context.inputs)) for part in parts]
    counted = context.map(count, {f"count.{one.part.number}": one for one in given})
    eligible, known = (
        sum(int(result[name]) for result in counted.values())
        for name in ("eligible", "with_vector")
    )
    first_new = sum(part.rows for part in parts if part.crawl)
    statistics: dict[str, JSON] = {
        "documents": eligible,
        "without_vector": eligible - known,
        "clusters": 0,
        "parts": [[part.crawl, part.source, part.name, part.rows] for part in parts],
        MADE_WITH: made,
    }
    if not known:
        return Outcome({**statistics, **_totals([])})
    files = context.exchange
    clusters = _train(context, given, known, count_for(known, parameters.clusters))
    groups = min(clusters, -(-known // GROUP_DOCUMENTS))
    probes = min(parameters.probes, clusters)
    dealt = context.map(
        deal,
        {f"deal.{one.part.number}": DealWork(one, files, probes, groups) for one in given},
    )
    searched = context.map(
        search,
        {
            f"search.{group}": SearchWork(
                group=group,
                files=files,
                parts=len(parts),
                groups=groups,
                clusters=clusters,
                dimensions=dimensions,
                probes=probes,
                floor=parameters.floor,
                most=parameters.neighbours,
                first_new=first_new,
            )
            for group in range(groups)
        },
    )
    sizes = np.zeros(clusters, np.int64)
    for result in dealt.values():
        sizes[np.array(result["clusters"], np.int64)] += np.array(result["documents"], np.int64)
    statistics |= {"clusters": clusters, "largest_cluster": int(sizes.max())}
    return Outcome({**statistics, **_totals(list(searched.values()))})


def _train(context: Context, given: Sequence[PartVectors], known: int, clusters: int) -> int:
    """Write the centroids; returns how many there are."""
    # One cluster needs no direction of its own: any vector will do.
    fraction = min(1.0, (SAMPLE_PER_CLUSTER if clusters > 1 else 16) * clusters / known)
    files = context.exchange

    def work(share: float) -> dict[str, SampleWork]:
        return {
            f"sample.{share}.{one.part.number}": SampleWork(
                one, share, files, f"sample/{share}/{one.part.number}.npz"
            )
            for one in given
        }

    drawn = work(fraction)
    if not any(int(result["documents"]) for result in context.map(sample, drawn).values()):
        drawn = work(1.0)  # by bad luck, of very few
        context.map(sample, drawn)
    trained = TrainWork(files, tuple(one.name for one in drawn.values()), clusters)
    return int(context.map(train_clusters, {"train": trained})["train"]["clusters"])


def _comparable(embeddings: Sequence[Artifact], history: Sequence[Artifact]) -> Mapping[str, Any]:
    """How all vectors were made; `StageError` where not all in the same way."""
    given = [(artifact.identity, made_with(artifact) or {}) for artifact in embeddings]
    given = [(label, how) for label, how in given if how.get("dimensions")] or given[:1]
    for artifact in history:
        given.append((f"the index of {artifact.identity}", index_vectors(artifact)))
    require_comparable(
        given,
        "give one model in the recipe's section embeddings, or run the recipe of that crawl again "
        "with this one",
    )
    return given[0][1]


def _vectors_of(part: SignedPart, inputs: Mapping[str, Sequence[Artifact]]) -> Path:
    if part.crawl:
        (artifact,) = (one for one in inputs["history"] if one.identity == part.crawl)
        return artifact.path(f"{VECTORS_FOLDER}/{part.name}")
    for artifact in inputs["embeddings"]:
        if artifact.name == part.source:
            return artifact.path(part.name)
    raise StageError(
        f"there are documents of {part.source!r} but no embeddings of it: neighbours needs both "
        "for every source"
    )


def _totals(searched: Sequence[Mapping[str, JSON]]) -> dict[str, JSON]:
    """Counts over all groups. `histogram`: pairs by hundredths of their cosine, from 0."""
    histogram = np.zeros(100, np.int64)
    for result in searched:
        histogram += np.array(result["histogram"], np.int64)
    return {
        **{
            name: sum(int(result[name]) for result in searched)
            for name in ("pairs", "compared", "saturated")
        },
        "histogram": histogram.tolist(),
    }
