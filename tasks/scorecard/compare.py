"""A crawl beside the last one, from manifests: funnel, overlap, languages, perplexity, cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from infra.ledger import Side
from infra.store import Artifact

Inputs = Mapping[str, Sequence[Artifact]]
"""Stage -> its artifacts."""

STEPS: tuple[tuple[str, str, Side], ...] = (
    ("records", "ingest", "read"),
    ("ingest", "ingest", "kept"),
    ("cut", "cut", "kept"),
    ("dedup", "dedup", "kept"),
)
"""Step -> stage and side of its ledger."""


def funnel(now: Inputs, last: Inputs) -> list[dict[str, Any]]:
    """By source, documents after each step, now and in the last crawl (None: the source was not
    there).
    """
    sources = dict.fromkeys(a.name for inputs in (now, last) for a in inputs.get("select", ()))
    return [
        {
            "source": source,
            "steps": [
                {
                    "step": step,
                    "now": _total(now, stage, side, source),
                    "last": _total(last, stage, side, source),
                }
                for step, stage, side in STEPS
            ],
        }
        for source in sources
    ]


def _total(inputs: Inputs, stage: str, side: Side, source: str) -> int | None:
    if source not in {artifact.name for artifact in inputs.get("select", ())}:
        return None
    ledgers = [a.ledger for a in inputs.get(stage, ()) if stage != "ingest" or a.name == source]
    return sum(ledger.documents(side, source=source) for ledger in ledgers) if ledgers else None


def overlap(now: Inputs) -> dict[str, Any]:
    """How much of this crawl earlier ones have: documents that went as copies of theirs, by run's
    artifact; `repeated`, those of them that came under the same id.
    """
    by_crawl: Counter[str] = Counter()
    eligible = repeated = 0
    for artifact in now.get("dedup", ()):
        eligible += artifact.statistics["eligible"]
        repeated += artifact.statistics["history"]["repeated"]
        if "clusters.parquet" not in artifact.files():
            continue
        file = pq.ParquetFile(artifact.path("clusters.parquet"))
        for batch in file.iter_batches(columns=["crawl", "size"]):
            for crawl, size in zip(
                batch["crawl"].to_pylist(), batch["size"].to_pylist(), strict=True
            ):
                if crawl:
                    by_crawl[crawl] += size - 1
    known = sum(by_crawl.values())
    return {
        "eligible": eligible,
        "known": known,
        "share": known / eligible if eligible else 0.0,
        "repeated": repeated,
        "by_crawl": dict(by_crawl.most_common()),
    }


def languages(now: Inputs, last: Inputs, again: Collection[str]) -> list[dict[str, Any]]:
    """Share of documents by language, now and in the last crawl, without sources that are read
    again; the largest shift first.
    """
    counts, before = (_by_language(inputs, again) for inputs in (now, last))
    rows = [
        {
            "language": language,
            "documents": counts[language],
            "share": counts[language] / max(counts.total(), 1),
            "last_share": before[language] / before.total() if before else None,
        }
        for language in counts | before
    ]
    return sorted(
        rows, key=lambda row: (-abs(row["share"] - (row["last_share"] or 0)), row["language"])
    )


def _by_language(inputs: Inputs, again: Collection[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for artifact in inputs.get("langid", ()):
        if artifact.name not in again:
            counts.update({r["language"]: r["documents"] for r in artifact.statistics["languages"]})
    return counts


def perplexity(now: Inputs, last: Inputs) -> list[dict[str, Any]]:
    """By language and model: the median, and the shares below the cut-offs, from histograms (bars
    of an eighth of a doubling). Scores of different models are not compared.
    """
    before = {(cut["language"], cut["unit"]): cut for cut in _cuts(last)}
    rows = []
    for cut in _cuts(now):
        old = before.get((cut["language"], cut["unit"]))
        rows.append(
            {
                "language": cut["language"],
                "head": cut["head"],
                "middle": cut["middle"],
                "now": _spread(cut, cut),
                "last": _spread(old, cut) if old is not None else None,
            }
        )
    return rows


def _cuts(inputs: Inputs) -> Iterator[Mapping[str, Any]]:
    for artifact in inputs.get("cut", ()):
        yield from artifact.statistics.get("cutoffs", ())


def _spread(cut: Mapping[str, Any], cutoffs: Mapping[str, Any]) -> dict[str, Any]:
    bars = cut["histogram"]
    return {
        "documents": cut["documents"],
        "median": quantile(bars, 0.5),
        "below_head": share_below(bars, cutoffs["head"]),
        "below_middle": share_below(bars, cutoffs["middle"]),
    }


_BAR = 2 ** (1 / 8)
"""Upper edge of a bar over its lower one, on average."""


def _edges(bars: Mapping[str, Sequence[float]]) -> list[float]:
    low = list(bars["low"])
    return [*low, low[-1] * _BAR] if low else []


def quantile(bars: Mapping[str, Sequence[float]], share: float) -> float | None:
    """The value below which that share of a histogram lies; within a bar, evenly by logarithm."""
    edges, counts = _edges(bars), list(bars["documents"])
    wanted, seen = share * sum(counts), 0.0
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        if count and seen + count >= wanted:
            return float(low * (high / low) ** ((wanted - seen) / count))
        seen += count
    return None


def share_below(bars: Mapping[str, Sequence[float]], value: float) -> float:
    """The share of a histogram below a value; within a bar, evenly by logarithm."""
    edges, counts = _edges(bars), list(bars["documents"])
    below = 0.0
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        if high <= value:
            below += count
        elif low < value:
            below += count * math.log(value / low) / math.log(high / low)
    return below / max(sum(counts), 1)


def cost(now: Inputs, last: Inputs) -> dict[str, Any]:
    """What this run built, not what it took from the last one: seconds by stage, bytes, tokens
    trained on.
    """
    known = {artifact.identity for artifacts in last.values() for artifact in artifacts}
    seconds: dict[str, float] = {}
    size = tokens = 0
    for stage, artifacts in now.items():
        for artifact in artifacts:
            if artifact.identity in known:
                continue
            seconds[stage] = round(seconds.get(stage, 0.0) + artifact.manifest.seconds, 3)
            size += sum(output.bytes for output in artifact.manifest.outputs)
            tokens += artifact.statistics.get("tokens", 0) if stage == "training" else 0
    return {"seconds": seconds, "bytes": size, "trained_tokens": tokens}
