"""The numbers of the report, from manifests and two small data files; no drawing here."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from infra.ledger import Side
from infra.store import Artifact
from tasks.benchmarks.samples import read_items
from tasks.report.notes import (
    Inputs,
    contaminated,
    cut_notes,
    emptied_sources,
    evaluation_notes,
    ingest_notes,
    leak_notes,
    learned_notes,
    missing_languages,
    training_notes,
)
from tasks.report.quality import quality_numbers
from tasks.report.scores import chances, changes

CLUSTERS_SHOWN = 12
LINES_SHOWN = 8
TIMINGS = ("time",)
"""Statistics of a phase that no digest may depend on: the page shows them, from the manifests."""


def summary(inputs: Inputs) -> dict[str, Any]:
    """Everything the page shows, by section."""
    scores = {
        artifact.name: artifact.statistics.get("scores", {})
        for artifact in inputs.get("evaluation", ())
    }
    given = {artifact.name: read_items(artifact) for artifact in inputs.get("evaluation", ())}
    return {
        "funnel": funnel(inputs),
        "reasons": reasons(inputs),
        "languages": languages(inputs),
        "extraction": extraction(inputs),
        "cutoffs": [
            cut
            for artifact in inputs.get("cut", ())
            for cut in artifact.statistics.get("cutoffs", ())
        ],
        "not_deduplicated": not_deduplicated(inputs),
        "duplicates": next((artifact.statistics for artifact in inputs.get("dedup", ())), {}),
        "clusters": largest_clusters(inputs),
        "neighbours": next((one.statistics for one in inputs.get("neighbours", ())), {}),
        "semantic": next((one.statistics for one in inputs.get("semantic", ())), {}),
        "tokenizer": next((artifact.statistics for artifact in inputs.get("tokenizer", ())), {}),
        "tokenizer_report": tokenizer_report(inputs),
        "model": next((artifact.statistics for artifact in inputs.get("model", ())), {}),
        "bins": {artifact.name: artifact.statistics for artifact in inputs.get("binning", ())},
        "mixtures": {
            artifact.name: {
                **json.loads(artifact.path("fit.json").read_text(encoding="utf-8")),
                "proxy_seconds": artifact.statistics["proxy_seconds"],
            }
            for artifact in inputs.get("mixture", ())
        },
        "phases": {
            artifact.name: {k: v for k, v in artifact.statistics.items() if k not in TIMINGS}
            for artifact in inputs.get("training", ())
        },
        "scores": scores,
        "changes": changes(scores, given),
        "chance": chances(given),
        "not_decontaminated": not_decontaminated(inputs),
        "notes": evaluation_notes(inputs.get("evaluation", ())),
        "training_notes": training_notes(inputs.get("training", ())),
        "document_notes": [
            *emptied_sources(inputs),
            *ingest_notes(inputs.get("ingest", ())),
            *missing_languages(inputs),
            *cut_notes(inputs.get("cut", ())),
            *learned_notes(inputs),
        ],
        "leaks": leak_notes(inputs),
        "scorecard": _json_file(inputs.get("scorecard", ()), "scorecard.json"),
        "edits": edits(inputs),
        "repeated_lines": {
            artifact.name: artifact.statistics["most_repeated"][:LINES_SHOWN]
            for artifact in inputs.get("line_dedup", ())
        },
        "contaminated": contaminated(inputs),
        "quality": quality_numbers(inputs),
    }


def funnel(inputs: Inputs) -> list[dict[str, Any]]:
    """Per source, documents and bytes of text after each step that drops some.

    Bytes are None where they were not counted.
    """
    rows = []
    trained_on = {artifact.name for artifact in inputs.get("select", ())}
    for ingest in inputs.get("ingest", ()):
        source = ingest.name
        steps: list[tuple[str, int, int | None]] = [
            ("records", *_total(ingest, source, "read")),
            ("ingest", *_total(ingest, source, "kept")),
        ]
        if source in trained_on:
            for artifact in inputs.get("cut", ()):
                steps += _cut_steps(artifact, source)
            for artifact in inputs.get("dedup", ()):
                if source in _compared(artifact):
                    steps.append(("dedup", *_total(artifact, source, "kept")))
                else:
                    steps.append(("not deduplicated", *steps[-1][1:]))
            for artifact in inputs.get("semantic", ()):
                if source in _compared(artifact):
                    steps.append(("semantic", *_total(artifact, source, "kept")))
        rows.append(
            {
                "source": source,
                "steps": [
                    {"step": name, "documents": documents, "bytes": size}
                    for name, documents, size in steps
                ],
            }
        )
    return rows


def _compared(dedup: Artifact) -> set[str]:
    """The sources whose documents dedup compared."""
    return {given.name for given in dedup.manifest.inputs.get("documents", ())}


def not_deduplicated(inputs: Inputs) -> dict[str, int]:
    """Source with `dedup: false` -> its documents, which were compared with none; none where no
    documents are deduplicated.
    """
    compared = set[str]().union(*(_compared(artifact) for artifact in inputs.get("dedup", ())))
    return {
        artifact.name: artifact.ledger.documents("kept")
        for artifact in inputs.get("select", ())
        if compared and artifact.name not in compared
    }


def _cut_steps(cut: Artifact, source: str) -> list[tuple[str, int, int | None]]:
    """The annotators that cost the source documents, in the order in which cut asks them, then cut
    itself. Only cut knows the bytes.
    """
    kept = _total(cut, source, "kept")
    for row in cut.statistics.get("funnel", ()):
        if row["source"] == source:
            counts = [(name, count) for name, count in row.items() if name != "source"]
            lost = [
                (name, count, None)
                for (_, before), (name, count) in itertools.pairwise(counts)
                if count < before
            ]
            return [*lost[:-1], (lost[-1][0], *kept)] if lost else []
    return [("cut", *kept)]


def _total(artifact: Artifact, source: str, side: Side) -> tuple[int, int]:
    ledger = artifact.ledger
    return ledger.documents(side, source=source), ledger.bytes(side, source=source)


def reasons(inputs: Inputs) -> list[dict[str, Any]]:
    """Why documents were dropped or failed: stage, source, reason, count; most frequent first."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for stage in ("ingest", "cut", "dedup", "semantic"):
        for artifact in inputs.get(stage, ()):
            for entry in artifact.ledger.lost():
                counts[stage, entry.source, entry.reason] += entry.documents
    return [
        {"stage": stage, "source": source, "reason": reason, "documents": count}
        for (stage, source, reason), count in sorted(
            counts.items(), key=lambda item: (-item[1], item[0])
        )
    ]


def edits(inputs: Inputs) -> list[dict[str, Any]]:
    """Bytes removed from documents that were kept, by source and reason."""
    removed: Counter[tuple[str, str]] = Counter()
    for artifact in inputs.get("select", ()):
        for entry in artifact.ledger.entries("edited"):
            removed[entry.source, entry.reason] += entry.bytes
    return [
        {"source": source, "reason": reason, "bytes": size}
        for (source, reason), size in sorted(removed.items())
    ]


def languages(inputs: Inputs) -> list[dict[str, Any]]:
    """Documents by language over all sources, most frequent first."""
    counts: Counter[str] = Counter()
    for artifact in inputs.get("langid", ()):
        for row in artifact.statistics["languages"]:
            counts[row["language"]] += row["documents"]
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"language": language, "documents": count} for language, count in ordered]


def extraction(inputs: Inputs) -> list[dict[str, Any]]:
    """What extraction made of web pages, by the language that they declare; the most pages first.

    `lost`: share of the pages that gave no document. `yield`: bytes of text per byte of page.
    `detected`: documents that language ID finds to be of that language in the same sources, and
    `detected_bytes`, their text; None where it was not asked.
    """
    pages: dict[str, Counter[str]] = {}
    with_pages: set[str] = set()
    for artifact in inputs.get("ingest", ()):
        for row in artifact.statistics.get("page_languages", ()):
            with_pages.add(artifact.name)
            counts = pages.setdefault(row["language"], Counter())
            counts.update({name: row[name] for name in row if name != "language"})
    detected: dict[str, Counter[str]] = {}
    identified = [artifact for artifact in inputs.get("langid", ()) if artifact.name in with_pages]
    for artifact in identified:
        for entry in artifact.ledger.entries("kept"):
            counts = detected.setdefault(entry.language, Counter())
            counts.update(documents=entry.documents, bytes=entry.bytes)
    rows = []
    for language in sorted(pages | detected, key=lambda code: (-_pages(pages, code), code)):
        counts, found = pages.get(language, Counter()), detected.get(language, Counter())
        rows.append(
            {
                "language": language,
                "pages": counts["pages"],
                "documents": counts["documents"],
                "payload_bytes": counts["payload_bytes"],
                "text_bytes": counts["text_bytes"],
                "lost": 1 - counts["documents"] / counts["pages"] if counts["pages"] else None,
                "yield": counts["text_bytes"] / counts["payload_bytes"]
                if counts["payload_bytes"]
                else None,
                "detected": found["documents"] if identified else None,
                "detected_bytes": found["bytes"] if identified else None,
            }
        )
    return rows if pages else []


def _pages(pages: dict[str, Counter[str]], language: str) -> int:
    return pages[language]["pages"] if language in pages else 0


def not_decontaminated(inputs: Inputs) -> list[str]:
    """Evaluated benchmarks that the training data was not decontaminated against."""
    evaluated: set[str] = set()
    clean: set[str] = set()
    for artifact in inputs.get("evaluation", ()):
        parameters = artifact.manifest.parameters
        evaluated.update(parameters["benchmarks"])
        clean.update(parameters["decontaminated"])
    return sorted(evaluated - clean)


def tokenizer_report(inputs: Inputs) -> dict[str, Any]:
    """The tokenizer stage's `report.json` (curve, use of pieces, examples), or {}."""
    return _json_file(inputs.get("tokenizer", ()), "report.json")


def _json_file(artifacts: Sequence[Artifact], name: str) -> dict[str, Any]:
    """The JSON object in a data file of the first artifact that has it, or {}."""
    for artifact in artifacts:
        if name in artifact.files():
            found: dict[str, Any] = json.loads(artifact.path(name).read_text(encoding="utf-8"))
            return found
    return {}


def largest_clusters(inputs: Inputs) -> list[dict[str, Any]]:
    """The first CLUSTERS_SHOWN rows of `clusters.parquet`, which is sorted by falling size.

    `crawl`: the history artifact that the representative comes from, "" for one of this run.
    `sources`: listed members per source. `least`: their lowest similarity to the representative.
    """
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = []
    for artifact in inputs.get("dedup", ()):
        if "clusters.parquet" not in artifact.files():
            continue
        file = pq.ParquetFile(artifact.path("clusters.parquet"))
        first = next(file.iter_batches(batch_size=CLUSTERS_SHOWN), None)
        for row in first.to_pylist() if first is not None else ():
            members = row["members"]
            rows.append(
                {name: row[name] for name in ("representative", "source", "size", "exact", "near")}
                | {
                    "crawl": row.get("crawl") or "",
                    "sources": dict(Counter(member["source"] for member in members).most_common()),
                    "listed": len(members),
                    "least": min(
                        (round(member["similarity"], 4) for member in members), default=None
                    ),
                }
            )
    return sorted(rows, key=lambda row: (-row["size"], row["representative"]))[:CLUSTERS_SHOWN]
