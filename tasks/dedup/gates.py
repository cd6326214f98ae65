"""Gates: limits of the recipe beyond which dedup stops and shows why.

Without them a corpus can be lost in silence: marin's deduplication removed a median of 76 % of its
sources through chains of weak matches before anybody looked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from infra.stage import GateError
from tasks.dedup.batch import Places
from tasks.dedup.clusters import Clusters
from tasks.dedup.parts import SignedPart
from tasks.dedup.signed import ids, read_rows
from tasks.dedup.stage import DedupParameters
from tasks.documents import edits
from tasks.documents.annotate import through_edits
from tasks.documents.records import PROMPT

_EXAMPLES = 3
_EXCERPT_CHARACTERS = 160


@dataclass(frozen=True)
class ElectionResult:
    """The clusters of an election, and documents by source.

    `repeated` of the `removed` ones are in an earlier crawl under the same id.
    """

    clusters: Clusters
    eligible: Mapping[str, int]
    removed: Mapping[str, int]
    repeated: Mapping[str, int]


def check_saturation(
    parts: tuple[SignedPart, ...], texts: int, examples: Iterable[int], parameters: DedupParameters
) -> list[str]:
    """Like `check_gates`, for the gate `saturated_band`.

    `texts`: how many different texts share one band's key, at most; `examples`: numbers of some of
    these documents. This is known before they are elected, which takes quadratic time where they
    are nearly similar.
    """
    limit = parameters.gates.saturated_band
    if limit is None or texts <= limit:
        return []
    exceeded = [
        f"{texts:,} different texts agree in one band, dedup.gates.saturated_band is {limit:,}"
    ]
    if not parameters.accept:
        shown = [
            f"  of {texts:,} texts that agree in one band",
            *(f"    {line}" for line in _excerpts(parts, examples)),
        ]
        raise _stopped(
            exceeded,
            shown,
            "They were not compared: that takes long where they are nearly similar. Remove what "
            "they share before\n(quality rules, line_dedup), let fewer meet (raise dedup.rows), "
            "raise that limit, or set\ndedup.accept: true to compare them.",
        )
    return exceeded


def check_gates(result: ElectionResult, parameters: DedupParameters) -> list[str]:
    """Messages on every limit that the election exceeds.

    Raises `GateError` with them and with examples, unless `parameters.accept`.
    """
    gates, clusters = parameters.gates, result.clusters
    exceeded: list[str] = []  # kept in the statistics too: do not reword
    shown: list[int] = []
    largest = int(clusters.sizes().max(initial=0))
    if gates.largest_cluster is not None and largest > gates.largest_cluster:
        exceeded.append(
            f"one document stands for {largest:,} documents, dedup.gates.largest_cluster is "
            f"{gates.largest_cluster:,}"
        )
        shown.append(0)
    for source, eligible in result.eligible.items():
        # Documents that an earlier crawl has under the same id count as eligible, not as removed:
        # a crawl that is run again has the same rate as at first, the share of its own duplicates.
        removed = result.removed[source] - result.repeated[source]
        if gates.removal_rate is not None and removed > gates.removal_rate * eligible:
            exceeded.append(
                f"{removed:,} of {eligible:,} eligible documents of source {source!r} would go "
                f"({removed / eligible:.1%}), dedup.gates.removal_rate is {gates.removal_rate:.1%}"
            )
            shown += _largest_of(clusters, source)
    if exceeded and not parameters.accept:
        raise _stopped(
            exceeded,
            [line for cluster in dict.fromkeys(shown) for line in _example(clusters, cluster)],
            "If these are duplicates, raise that limit, or set dedup.accept: true to keep this "
            "result. To see more first:\n"
            "  puna run RECIPE -s dedup.accept=true --until dedup; puna inspect --stage dedup",
        )
    return exceeded


def _stopped(exceeded: Iterable[str], examples: Iterable[str], advice: str) -> GateError:
    lines = [
        "dedup stopped at a gate:",
        *(f"  {line}" for line in exceeded),
        "for example:",
        *examples,
        advice,
    ]
    return GateError("\n".join(lines))


def _largest_of(clusters: Clusters, source: str) -> list[int]:
    """Up to three clusters in which documents of a source are removed, the largest first.

    Only the thousand largest are searched, and a hundred members of each; the largest of all where
    none is found.
    """
    members = clusters.table(0, min(len(clusters), 1_000), most=100)["members"].to_pylist()
    inside = [
        number
        for number, row in enumerate(members)
        if any(member["source"] == source for member in row)
    ]
    return inside[:_EXAMPLES] or [0]


def _example(clusters: Clusters, cluster: int) -> list[str]:
    """Lines on a cluster: its representative, first and last member, and how their texts begin."""
    head = clusters.heads[cluster]
    members = clusters.members(int(clusters.batch[cluster]))
    mine = members[int(head["start"]) : int(head["start"]) + int(head["size"])]
    ends = mine[[0, -1]] if len(mine) > 1 else mine
    numbers = (int(head["number"]), *ends["number"].tolist())
    fates = [
        "kept",
        *(f"removed, similarity {similarity:.2f}" for similarity in ends["similarity"].tolist()),
    ]
    excerpts = _excerpts(clusters.parts, numbers, fates)
    return [
        f"  cluster of {int(head['size']) + 1:,} documents",
        *(f"    {line}" for line in excerpts),
    ]


def _excerpts(
    parts: tuple[SignedPart, ...], numbers: Iterable[int], fates: Iterable[str] | None = None
) -> list[str]:
    """A line for each document: source, id, fate and the beginning of its text."""
    listed = list(numbers)
    places = Places.of(parts)
    lines = []
    for number, fate in zip(listed, fates or [""] * len(listed), strict=True):
        part = parts[int(places.part_of(np.array([number]))[0])]
        row = np.array([number - part.start])
        name = ids(part, row)[0].decode()
        where = f"{part.crawl or part.source} {name}{f' ({fate})' if fate else ''}"
        lines.append(
            f"{where}: {_beginning(part, row) if not part.crawl else '(text of an earlier crawl)'}"
        )
    return lines


def _beginning(part: SignedPart, row: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
    """The beginning of a document's record as it was compared, on one line.

    Half of it is the prompt, where there is one.
    """
    ((_, table),) = read_rows(part.documents, ["text", PROMPT], row)
    if part.edits is not None:
        ((_, edit_table),) = read_rows(part.edits, [edits.COLUMN], row)
        table = through_edits(table.append_column(edits.COLUMN, edit_table[edits.COLUMN]))[0]
    prompt, text = (
        " ".join(
            str(pc.utf8_slice_codeunits(table[name], 0, 2 * _EXCERPT_CHARACTERS)[0].as_py()).split()
        )
        for name in (PROMPT, "text")
    )
    if not prompt:
        return text[:_EXCERPT_CHARACTERS]
    return f"{prompt[: _EXCERPT_CHARACTERS // 2]} | {text[: _EXCERPT_CHARACTERS // 2]}"
