"""Gates: limits of the recipe beyond which dedup stops and shows why, rather than losing a corpus in silence.

marin's deduplication removed a median of 76 % of its sources through chains of weak matches before anybody looked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from infra.stage import GateError
from tasks.dedup.batch import Places
from tasks.dedup.clusters import Clusters
from tasks.dedup.signed import Part, ids, read_rows
from tasks.dedup.stage import DedupParameters

_EXAMPLES = 3
_EXCERPT_CHARACTERS = 160


@dataclass(frozen=True)
class Found:
    """What the gates look at. `eligible`, `removed` and `repeated` (removed, and in an earlier crawl under the same id)
    count documents by source; `texts` different ones share one band's key, `examples` are numbers of some.
    """

    clusters: Clusters
    eligible: Mapping[str, int]
    removed: Mapping[str, int]
    repeated: Mapping[str, int]
    texts: int
    examples: tuple[int, ...]


def check_gates(found: Found, parameters: DedupParameters) -> list[str]:
    """What is beyond a limit, in words; raises `GateError` with examples unless `parameters.accept`."""
    gates, clusters = parameters.gates, found.clusters
    exceeded: list[str] = []
    shown: list[int] = []
    examples: list[str] = []
    largest = int(clusters.sizes().max(initial=0))
    if gates.largest_cluster is not None and largest > gates.largest_cluster:
        exceeded.append(
            f"one document stands for {largest:,} documents, dedup.gates.largest_cluster is {gates.largest_cluster:,}"
        )
        shown.append(0)
    for source, eligible in found.eligible.items():
        # Of all eligible ones: a crawl run again then has the rate it had at first, its own duplicates' share.
        gone = found.removed[source] - found.repeated[source]
        if gates.removal_rate is not None and gone > gates.removal_rate * eligible:
            exceeded.append(
                f"{gone:,} of {eligible:,} eligible documents of source {source!r} would go ({gone / eligible:.1%}), "
                f"dedup.gates.removal_rate is {gates.removal_rate:.1%}"
            )
            shown += _largest_of(clusters, source)
    if gates.saturated_band is not None and found.texts > gates.saturated_band:
        exceeded.append(
            f"{found.texts:,} different texts agree in one band, dedup.gates.saturated_band is "
            f"{gates.saturated_band:,}; they are compared one by one only where more than a template agrees, but look "
            "whether that text should be cut before (quality rules, line_dedup)"
        )
        examples.append(f"  of {found.texts:,} texts that agree in one band")
        examples += [f"    {line}" for line in _excerpts(clusters.parts, found.examples)]
    if exceeded and not parameters.accept:
        examples[:0] = [line for cluster in dict.fromkeys(shown) for line in _example(clusters, cluster)]
        raise GateError(
            "dedup stopped at a gate:\n"
            + "\n".join(f"  {line}" for line in exceeded)
            + "\nfor example:\n"
            + "\n".join(examples)
            + "\nThen raise that limit, or set dedup.accept: true to keep this result. To read more first:\n"
            "  puna run RECIPE -s dedup.accept=true --until dedup; puna inspect --stage dedup"
        )
    return exceeded


def _largest_of(clusters: Clusters, source: str) -> list[int]:
    """The first clusters in which documents of a source go; looks at the largest thousand."""
    members = clusters.table(0, min(len(clusters), 1_000), most=100)["members"].to_pylist()
    inside = [number for number, row in enumerate(members) if any(member["source"] == source for member in row)]
    return inside[:_EXAMPLES] or [0]


def _example(clusters: Clusters, cluster: int) -> list[str]:
    """A representative and its first and last member, with the beginnings of their texts."""
    head = clusters.heads[cluster]
    members = np.load(clusters.elected / str(clusters.batch[cluster]) / "members.npy", mmap_mode="r")
    mine = members[int(head["start"]) : int(head["start"]) + int(head["size"])]
    ends = mine[[0, -1]] if len(mine) > 1 else mine
    numbers = (int(head["number"]), *ends["number"].tolist())
    fates = ["kept", *(f"goes, similarity {similarity:.2f}" for similarity in ends["similarity"].tolist())]
    excerpts = _excerpts(clusters.parts, numbers, fates)
    return [f"  cluster of {int(head['size']) + 1:,} documents", *(f"    {line}" for line in excerpts)]


def _excerpts(parts: tuple[Part, ...], numbers: Iterable[int], fates: Iterable[str] | None = None) -> list[str]:
    """Source, id, fate and the beginning of the text of each document."""
    listed = list(numbers)
    places = Places.of(parts)
    lines = []
    for number, fate in zip(listed, fates or [""] * len(listed), strict=True):
        part = parts[int(places.part_of(np.array([number]))[0])]
        row = np.array([number - part.start])
        name = ids(part, row)[0].decode()
        where = f"{part.crawl or part.source} {name}{f' ({fate})' if fate else ''}"
        lines.append(f"{where}: {_beginning(part.documents, row) if not part.crawl else '(text of an earlier crawl)'}")
    return lines


def _beginning(documents: Path, row: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
    """The first words of a document's text, on one line."""
    ((_, table),) = read_rows(documents, ["text"], row)
    text = str(pc.utf8_slice_codeunits(table["text"], 0, 2 * _EXCERPT_CHARACTERS)[0].as_py())
    return " ".join(text.split())[:_EXCERPT_CHARACTERS]
