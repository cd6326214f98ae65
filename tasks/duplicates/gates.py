"""Gates: limits of the recipe beyond which an election stops and shows why.

Without them a corpus can be lost in silence: marin's deduplication removed a median of 76 % of its
sources through chains of weak matches before anybody looked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from infra.stage import GateError
from tasks.documents import edits
from tasks.documents.annotate import through_edits
from tasks.documents.records import PROMPT
from tasks.duplicates.clusters import Clusters
from tasks.duplicates.parts import SignedPart
from tasks.duplicates.preferences import Limits
from tasks.duplicates.results import Places
from tasks.duplicates.signed import ids, read_rows

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
    parts: tuple[SignedPart, ...],
    texts: int,
    examples: Iterable[int],
    limit: int | None,
    accept: bool,
) -> list[str]:
    """Like `check_gates`, for the gate `saturated_band`.

    `texts`: how many different texts share one band's key, at most; `examples`: numbers of some of
    these documents. This is known before they are elected, which takes quadratic time where they
    are nearly similar.
    """
    if limit is None or texts <= limit:
        return []
    exceeded = [
        f"{texts:,} different texts agree in one band, dedup.gates.saturated_band is {limit:,}"
    ]
    if not accept:
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


def check_gates(result: ElectionResult, gates: Limits, accept: bool, stage: str) -> list[str]:
    """Messages on every limit of `stage` that the election exceeds.

    Raises `GateError` with them and with examples, unless `accept`.
    """
    clusters = result.clusters
    exceeded: list[str] = []  # kept in the statistics too: do not reword
    shown: list[int] = []
    largest = int(clusters.sizes().max(initial=0))
    if gates.largest_cluster is not None and largest > gates.largest_cluster:
        exceeded.append(
            f"one document stands for {largest:,} documents, {stage}.gates.largest_cluster is "
            f"{gates.largest_cluster:,}"
        )
        shown.append(0)
    for source, eligible in result.eligible.items():
        # Documents that an earlier crawl has under the same id count as eligible, not as removed:
        # a crawl that is run again has the same rate as at first, the share of its own duplicates.
        removed = result.removed[source] - result.repeated[source]
        if gates.removal_rate is not None and removed > gates.removal_rate * eligible:
            limit = f"{stage}.gates.removal_rate is {gates.removal_rate:.1%}"
            exceeded.append(
                f"{removed:,} of {eligible:,} eligible documents of source {source!r} would go "
                f"({removed / eligible:.1%}), {limit}"
            )
            shown += _largest_of(clusters, source)
    if exceeded and not accept:
        raise _stopped(
            exceeded,
            [line for cluster in dict.fromkeys(shown) for line in _example(clusters, cluster)],
            f"If these are duplicates, raise that limit, or set {stage}.accept: true to keep this "
            "result. To see more first:\n"
            f"  puna run RECIPE -s {stage}.accept=true --until {stage}; "
            f"puna inspect --stage {stage}",
            stage,
        )
    return exceeded


def _stopped(
    exceeded: Iterable[str], examples: Iterable[str], advice: str, stage: str = "dedup"
) -> GateError:
    lines = [
        f"{stage} stopped at a gate:",
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
        part, row = _place(parts, places, number)
        name = ids(part, row)[0].decode()
        where = f"{part.crawl or part.source} {name}{f' ({fate})' if fate else ''}"
        lines.append(f"{where}: {_beginning(part, row)}")
    return lines


def excerpt_of(parts: tuple[SignedPart, ...], number: int) -> dict[str, str]:
    """A document's id, source and how its text begins."""
    part, row = _place(parts, Places.of(parts), number)
    source = part.crawl or part.source
    return {"id": ids(part, row)[0].decode(), "source": source, "text": _beginning(part, row)}


def _place(
    parts: tuple[SignedPart, ...], places: Places, number: int
) -> tuple[SignedPart, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    part = parts[int(places.part_of(np.array([number]))[0])]
    return part, np.array([number - part.start])


def _beginning(part: SignedPart, row: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
    """The beginning of a document's record as it was compared, on one line.

    Half of it is the prompt, where there is one. An earlier crawl's index holds no text.
    """
    if part.crawl:
        return "(text of an earlier crawl)"
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
