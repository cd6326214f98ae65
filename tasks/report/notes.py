"""Notes shown at the end of a run: sources left empty, languages that never occurred, and what
ingest, training and evaluation noted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.ledger import Ledger
from infra.store import Artifact

Inputs = Mapping[str, Sequence[Artifact]]
"""Stage name -> its artifacts."""

STAGES = ("ingest", "cut", "dedup")
"""Stages that drop documents, in order."""

REASONS_SHOWN = 3

ADVICE = (
    ("ingest.json", "are its files JSONL, as {source}.ingest.format says?"),
    ("ingest.field", "name the fields that hold its text in {source}.ingest.fields"),
    ("ingest.sample", "raise {source}.ingest.sample"),
    ("ingest.too_short", "lower {source}.ingest.min_characters"),
    ("ingest.text_too_large", "raise {source}.ingest.max_text_bytes"),
    ("ingest.page_too_large", "raise {source}.ingest.max_page_bytes"),
    ("ingest", "look at its files, and at {source}.ingest.format"),
    ("cut.langid", "widen {source}.langid.keep; its languages: {languages}"),
    ("cut.quality", "widen {source}.quality.keep"),
    ("cut.perplexity", "widen {source}.perplexity.keep"),
    ("cut.decontaminate", "look at decontaminate.action and at what {source} is made of"),
    ("cut.line_dedup", "raise {source}.line_dedup.minimum_copies"),
    (
        "cut.category",
        "give its languages a category in {source}.category; its languages: {languages}",
    ),
    (
        "dedup",
        "all of it stands in other sources or earlier crawls; take it out, or set dedup.prefer",
    ),
)
"""Prefix of `stage.reason` -> what to try; the first prefix that matches counts."""


def notes_of(inputs: Inputs) -> list[str]:
    """All notes on a run. `inputs`: stage name -> its artifacts."""
    return [
        *emptied(inputs),
        *ingest_notes(inputs.get("ingest", ())),
        *strange_languages(inputs),
        *training_notes(inputs.get("training", ())),
        *evaluation_notes(inputs.get("evaluation", ())),
    ]


def ingest_notes(sources: Iterable[Artifact]) -> list[str]:
    """Notes from ingest: fields that no record has, records without text."""
    notes = []
    for artifact in sources:
        notes += [
            f"source {artifact.name}: {note}" for note in artifact.statistics.get("notes", ())
        ]
    return notes


def training_notes(phases: Iterable[Artifact]) -> list[str]:
    """Warnings from finished training phases: a loss worse than guessing, skipped steps."""
    return [
        f"warning: training/{phase.name}: {note}"
        for phase in phases
        for note in phase.statistics.get("notes", ())
    ]


def evaluation_notes(evaluations: Iterable[Artifact]) -> list[str]:
    """Notes from evaluations, each sentence once, preceded by the models that it is about."""
    models: dict[str, list[str]] = {}
    for artifact in evaluations:
        for note in artifact.statistics.get("notes", ()):
            models.setdefault(note, []).append(artifact.name)
    return [f"{', '.join(names)}: {note}" for note, names in models.items()]


def strange_languages(inputs: Inputs) -> list[str]:
    """Notes on languages in langid.keep that no document has.

    Only for a user's own model file: for packaged models, planning already checks the labels.
    """
    notes = []
    keeps: dict[str, Any] = {}
    for cut in inputs.get("cut", ()):
        keeps |= cut.manifest.parameters["sources"]
    for artifact in inputs.get("langid", ()):
        model = artifact.manifest.parameters["model"]
        keep = keeps.get(artifact.name, {}).get("langid") or {}
        counts = {row["language"]: row["documents"] for row in artifact.statistics["languages"]}
        absent = [language for language in keep.get("languages") or () if language not in counts]
        if Path(model).is_absolute() and absent and counts:
            notes.append(
                f"source {artifact.name}: no document is in {', '.join(absent)}, which langid.keep "
                f"names; does {Path(model).name} call it so? It answered {_counts(Counter(counts))}"
            )
    return notes


def emptied(inputs: Inputs) -> list[str]:
    """One sentence for each source of which some stage kept no document."""
    sources = [artifact.name for artifact in inputs.get("ingest", ())]
    sentences = (_emptied(source, inputs) for source in sources)
    return [sentence for sentence in sentences if sentence]


def _emptied(source: str, inputs: Inputs) -> str:
    for stage in STAGES:
        ledger = Ledger.merged(artifact.ledger for artifact in inputs.get(stage, ()))
        read = ledger.documents("read", source=source)
        if read and not ledger.documents("kept", source=source):
            return _sentence(source, stage, read, ledger)
        if stage == "ingest" and not read:
            return (
                f"source {source}: ingest found no record in its files; look at them, and at "
                f"sources.{source}.ingest"
            )
    return ""


def _sentence(source: str, stage: str, read: int, ledger: Ledger) -> str:
    reasons, languages = Counter[str](), Counter[str]()
    for entry in ledger.entries("read", source=source):
        languages[entry.language] += entry.documents
    for entry in ledger.lost(source):
        reasons[entry.reason] += entry.documents
    most = reasons.most_common(1)[0][0]
    advice = next(advice for begin, advice in ADVICE if f"{stage}.{most}".startswith(begin))
    what = "records" if stage == "ingest" else "documents"
    tried = advice.format(source=f"sources.{source}", languages=_counts(languages))
    return (
        f"source {source}: {stage} kept none of its {read:,} {what} ({_counts(reasons)}); {tried}"
    )


def _counts(counts: Counter[str]) -> str:
    shown = [f"{name} {count:,}" for name, count in counts.most_common(REASONS_SHOWN)]
    rest = len(counts) - len(shown)
    return ", ".join([*shown, f"{rest} more"] if rest else shown)
