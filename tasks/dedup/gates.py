"""Gates: limits of the recipe beyond which dedup stops and shows why, rather than losing a corpus in silence.

marin's deduplication removed a median of 76 % of its sources through chains of weak matches before anybody looked.
"""

from __future__ import annotations

import numpy as np

from infra.stage import GateError
from tasks.dedup.clusters import Clusters
from tasks.dedup.elect import Election
from tasks.dedup.index import read_texts
from tasks.dedup.stage import DedupParameters

_EXAMPLES = 3
_EXCERPT_CHARACTERS = 160


def check_gates(clusters: Clusters, election: Election, parameters: DedupParameters) -> list[str]:
    """What is beyond a limit, in words; raises `GateError` with examples unless `parameters.accept`."""
    gates, index = parameters.gates, clusters.index
    exceeded: list[str] = []
    shown: list[int] = []
    largest = int(clusters.sizes().max(initial=0))
    if gates.largest_cluster is not None and largest > gates.largest_cluster:
        exceeded.append(
            f"one document stands for {largest:,} documents, dedup.gates.largest_cluster is {gates.largest_cluster:,}"
        )
        shown.append(0)
    removed = election.representative != np.arange(len(index))
    source_of = index.source_of()
    of_cluster = np.repeat(np.arange(len(clusters)), np.diff(clusters.starts))
    for number, source in enumerate(index.sources):
        inside = source_of == number
        read, gone = int(inside.sum()), int((inside & removed).sum())
        if gates.removal_rate is not None and gone > gates.removal_rate * read:
            exceeded.append(
                f"{gone:,} of {read:,} eligible documents of source {source!r} would go ({gone / read:.1%}), "
                f"dedup.gates.removal_rate is {gates.removal_rate:.1%}"
            )
            here = np.bincount(of_cluster[source_of[clusters.members] == number], minlength=len(clusters))
            shown += np.argsort(-here, kind="stable")[:_EXAMPLES].tolist()
    if exceeded and not parameters.accept:
        examples = [_example(clusters, cluster) for cluster in dict.fromkeys(shown)]
        raise GateError(
            "dedup stopped at a gate:\n"
            + "\n".join(f"  {line}" for line in exceeded)
            + "\nfor example:\n"
            + "\n".join(examples)
            + "\nLook at them; then raise that limit, or set dedup.accept: true in the recipe to keep this result."
        )
    return exceeded


def _example(clusters: Clusters, cluster: int) -> str:
    """A representative and its first and last member, with the beginnings of their texts."""
    members = clusters.members[clusters.starts[cluster] : clusters.starts[cluster + 1]]
    ranks = list(dict.fromkeys([int(clusters.representative[cluster]), int(members[0]), int(members[-1])]))
    texts: dict[int, str] = {}
    for found, read in read_texts(clusters.index, np.array(ranks, dtype=np.int64)):
        texts.update(zip(found.tolist(), read, strict=True))
    lines = [f"  cluster of {len(members) + 1:,} documents"]
    for rank in ranks:
        fate = "kept" if rank == ranks[0] else f"goes, similarity {clusters.similarity[rank]:.2f}"
        excerpt = " ".join(texts[rank][: 2 * _EXCERPT_CHARACTERS].split())[:_EXCERPT_CHARACTERS]
        lines.append(f"    {clusters.source(rank)} {clusters.id(rank)} ({fate}): {excerpt}")
    return "\n".join(lines)
