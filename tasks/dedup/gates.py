"""Gates: limits of the recipe beyond which dedup stops and shows why, rather than losing a corpus
in silence.

marin's deduplication removed a median of 76 % of its sources through chains of weak matches before
anybody looked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from infra.stage import GateError
from tasks.dedup.batch import Places
from tasks.dedup.clusters import Clusters
from tasks.dedup.signed import Part, ids, read_rows
from tasks.dedup.stage import DedupParameters
from tasks.documents import edits
from tasks.documents.annotate import through_edits
from tasks.documents.records import PROMPT

_EXAMPLES = 3
_EXCERPT_CHARACTERS = 160


@dataclass(frozen=True)
class Found:
    """What an election found: `eligible`, `removed` and `repeated` (removed, and in an earlier
    crawl under the same id) count documents by source.
    """

    clusters: Clusters
    eligible: Mapping[str, int]
    removed: Mapping[str, int]
    repeated: Mapping[str, int]


def check_saturation(
    parts: tuple[Part, ...], texts: int, examples: Iterable[int], parameters: DedupParameters
) -> list[str]:
    """As `check_gates`, of the band key that most different texts share: `texts`; `examples` are
    numbers of some.

    Known before these texts are elected, which takes their square in time where they are nearly
    similar.
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
            "They were not compared: that takes long where they are nearly similar. Cut before "
            "what they share\n(quality rules, line_dedup), let fewer meet (more dedup.rows), raise "
            "that limit, or set\ndedup.accept: true to compare them.",
        )
    return exceeded


def check_gates(found: Found, parameters: DedupParameters) -> list[str]:
    """What of an election is beyond a limit, in words; raises `GateError` with examples unless
    `parameters.accept`.
    """
    gates, clusters = parameters.gates, found.clusters
    exceeded: list[str] = []
    shown: list[int] = []
    largest = int(clusters.sizes().max(initial=0))
    if gates.largest_cluster is not None and largest > gates.largest_cluster:
        exceeded.append(
            f"one document stands for {largest:,} documents, dedup.gates.largest_cluster is "
            f"{gates.largest_cluster:,}"
        )
        shown.append(0)
    for source, eligible in found.eligible.items():
        # Of all eligible ones: a crawl run again then has the rate it had at first, its own
        # duplicates' share.
        gone = found.removed[source] - found.repeated[source]
        if gates.removal_rate is not None and gone > gates.removal_rate * eligible:
            exceeded.append(
                f"{gone:,} of {eligible:,} eligible documents of source {source!r} would go "
                f"({gone / eligible:.1%}), dedup.gates.removal_rate is {gates.removal_rate:.1%}"
            )
            shown += _largest_of(clusters, source)
    if exceeded and not parameters.accept:
        raise _stopped(
            exceeded,
            [line for cluster in dict.fromkeys(shown) for line in _example(clusters, cluster)],
            "Then raise that limit, or set dedup.accept: true to keep this result. To read more "
            "first:\n  puna run RECIPE -s dedup.accept=true --until dedup; puna inspect --stage "
            "dedup",
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
    """The first clusters in which documents of a source go; looks at the largest thousand."""
    members = clusters.table(0, min(len(clusters), 1_000), most=100)["members"].to_pylist()
    inside = [
        number
        for number, row in enumerate(members)
        if any(member["source"] == source for member in row)
    ]
    return inside[:_EXAMPLES] or [0]


def _example(clusters: Clusters, cluster: int) -> list[str]:
    """A representative and its first and last member, with the beginnings of their texts."""
    head = clusters.heads[cluster]
    members = np.load(
        clusters.elected / str(clusters.batch[cluster]) / "members.npy", mmap_mode="r"
    )
    mine = members[int(head["start"]) : int(head["start"]) + int(head["size"])]
    ends = mine[[0, -1]] if len(mine) > 1 else mine
    numbers = (int(head["number"]), *ends["number"].tolist())
    fates = [
        "kept",
        *(f"goes, similarity {similarity:.2f}" for similarity in ends["similarity"].tolist()),
    ]
    excerpts = _excerpts(clusters.parts, numbers, fates)
    return [
        f"  cluster of {int(head['size']) + 1:,} documents",
        *(f"    {line}" for line in excerpts),
    ]


def _excerpts(
    parts: tuple[Part, ...], numbers: Iterable[int], fates: Iterable[str] | None = None
) -> list[str]:
    """Source, id, fate and the beginning of the text of each document."""
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


def _beginning(part: Part, row: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
    """The first words of a document's record as it was compared, on one line; half of it the text,
    after a prompt.
    """
    ((_, table),) = read_rows(part.documents, ["text", PROMPT], row)
    if part.edits is not None:
        ((_, beside),) = read_rows(part.edits, [edits.COLUMN], row)
        table = through_edits(table.append_column(edits.COLUMN, beside[edits.COLUMN]))[0]
    prompt, text = (
        " ".join(
            str(pc.utf8_slice_codeunits(table[name], 0, 2 * _EXCERPT_CHARACTERS)[0].as_py()).split()
        )
        for name in (PROMPT, "text")
    )
    if not prompt:
        return text[:_EXCERPT_CHARACTERS]
    return f"{prompt[: _EXCERPT_CHARACTERS // 2]} | {text[: _EXCERPT_CHARACTERS // 2]}"
