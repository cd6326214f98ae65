"""Notes shown at the end of a run.

They are about sources of which no document is left, languages that never occur, and what ingest,
training and evaluation noted.
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

STAGES = ("ingest", "cut", "dedup", "semantic")
"""Stages that drop documents, in order."""

REASONS_SHOWN = 3

ADVICE = (
    ("ingest.json", "are its files JSONL, as {source}.ingest.format says?"),
    ("ingest.field", "name the fields that hold its text in {source}.ingest.fields"),
    ("ingest.sample", "raise {source}.ingest.sample"),
    ("ingest.too_short", "lower {source}.ingest.min_characters"),
    ("ingest.text_too_large", "raise {source}.ingest.max_text_bytes"),
    ("ingest.page_too_large", "raise {source}.ingest.max_page_bytes"),
    ("ingest", "check its files and {source}.ingest.format"),
    ("cut.block", "check the lists of block and {source}.block"),
    ("cut.langid", "widen {source}.langid.keep; its languages: {languages}"),
    ("cut.quality", "widen {source}.quality.keep"),
    ("cut.perplexity", "widen {source}.perplexity.keep"),
    ("cut.classifier", "widen {source}.classifiers, or say unscored: keep there"),
    ("cut.decontaminate", "check decontaminate.action and the contents of {source}"),
    ("cut.line_dedup", "raise {source}.line_dedup.minimum_copies"),
    (
        "cut.category.missing",
        "name another field in {source}.category, or a category as its `rest`",
    ),
    ("cut.category.unstated", "name the field's values in {source}.category.of, or `rest`"),
    (
        "cut.category",
        "give its languages a category in {source}.category; its languages: {languages}",
    ),
    ("semantic", "raise the cosine in semantic.keep"),
    (
        "dedup",
        "all of it is in other sources or earlier crawls; remove the source, or set dedup.prefer",
    ),
)
"""Prefix of `stage.reason` -> what to try; the first prefix that matches applies."""


def notes_of(inputs: Inputs) -> list[str]:
    """All notes on a run. `inputs`: stage name -> its artifacts."""
    return [
        *emptied_sources(inputs),
        *ingest_notes(inputs.get("ingest", ())),
        *cut_notes(inputs.get("cut", ())),
        *missing_languages(inputs),
        *learned_notes(inputs),
        *left_out_notes(inputs.get("mixture", ())),
        *training_notes(inputs.get("training", ())),
        *evaluation_notes(inputs.get("evaluation", ())),
        *(f"warning: {note}. Write action: document, or passage" for note in leak_notes(inputs)),
    ]


def leak_notes(inputs: Inputs) -> list[str]:
    """A sentence for each benchmark that a phase was asked, items of which were found in documents
    that stayed in the training data.
    """
    trained = {phase.name for phase in inputs.get("training", ())}
    asked: dict[str, list[str]] = {}
    for evaluation in inputs.get("evaluation", ()):
        parameters = evaluation.manifest.parameters
        if evaluation.name in trained:
            for task in set(parameters["benchmarks"]) - set(parameters["decontaminated"]):
                asked.setdefault(task, []).append(evaluation.name)
    return [
        f"{row['items_hit']:,} of the {row['items']:,} items of {row['benchmark']} were "
        f"found in {row['documents']:,} documents, which decontaminate.action: report leaves in "
        f"the training data: scores of "
        f"{', '.join(asked[row['benchmark']])} there may tell what was "
        "memorised"
        for row in contaminated(inputs)
        if row["items_hit"] and row["benchmark"] in asked
    ]


def contaminated(inputs: Inputs) -> list[dict[str, Any]]:
    """Per benchmark: its items, how many were found in the data, and in how many documents.

    Items found are the largest number over the sources, documents their sum.
    """
    totals: dict[str, Counter[str]] = {}
    for artifact in inputs.get("decontaminate", ()):
        for name, hits in artifact.statistics["benchmarks"].items():
            counts = totals.setdefault(name, Counter())
            counts["documents"] += hits["documents_hit"]
            counts["items_hit"] = max(counts["items_hit"], hits["items_hit"])
            counts["items"], counts["unmatchable"] = hits["items"], hits["items_unmatchable"]
    return [{"benchmark": name, **counts} for name, counts in totals.items()]


def ingest_notes(sources: Iterable[Artifact]) -> list[str]:
    """Notes from ingest, such as fields that no record has, or records without text."""
    notes = []
    for artifact in sources:
        notes += [
            f"source {artifact.name}: {note}" for note in artifact.statistics.get("notes", ())
        ]
    return notes


def cut_notes(cuts: Iterable[Artifact]) -> list[str]:
    """Notes from cut on block lists, such as one that blocks nothing."""
    return [note for artifact in cuts for note in artifact.statistics.get("notes", ())]


def learned_notes(inputs: Inputs) -> list[str]:
    """Notes on classifiers and on documents without a score."""
    return [
        f"{stage}/{artifact.name}: {note}"
        for stage in ("classifier", "scores")
        for artifact in inputs.get(stage, ())
        for note in artifact.statistics.get("notes", ())
    ]


def left_out_notes(searches: Iterable[Artifact]) -> list[str]:
    """A note for each proxy that a search for a mixture left out."""
    return [
        f"warning: mixture/{search.name}: {note}"
        for search in searches
        for note in search.statistics.get("notes", ())
        if "left out" in note
    ]


def training_notes(phases: Iterable[Artifact]) -> list[str]:
    """Warnings from finished training phases, such as a loss worse than guessing."""
    return [
        f"warning: training/{phase.name}: {note}"
        for phase in phases
        for note in phase.statistics.get("notes", ())
    ]


def evaluation_notes(evaluations: Iterable[Artifact]) -> list[str]:
    """Notes from evaluations, each once, preceded by the models that it is about."""
    models: dict[str, list[str]] = {}
    for artifact in evaluations:
        for note in artifact.statistics.get("notes", ()):
            models.setdefault(note, []).append(artifact.name)
    return [f"{', '.join(names)}: {note}" for note, names in models.items()]


def missing_languages(inputs: Inputs) -> list[str]:
    """Notes on languages in langid.keep that no document has.

    Only for a user's own model file: planning checks the labels of packaged models.
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
                f"names; is that a label of {Path(model).name}? It predicted "
                f"{_counts(Counter(counts))}"
            )
    return notes


def emptied_sources(inputs: Inputs) -> list[str]:
    """A note on each source of which some stage kept no document."""
    sources = [artifact.name for artifact in inputs.get("ingest", ())]
    notes = (_emptied_by(source, inputs) for source in sources)
    return [note for note in notes if note]


def _emptied_by(source: str, inputs: Inputs) -> str:
    """Which stage kept nothing of a source, and why; "" if documents are left."""
    for stage in STAGES:
        ledger = Ledger.merged(artifact.ledger for artifact in inputs.get(stage, ()))
        read = ledger.documents("read", source=source)
        if read and not ledger.documents("kept", source=source):
            return _note(source, stage, read, ledger)
        if stage == "ingest" and not read:
            return (
                f"source {source}: ingest found no record in its files; check them and "
                f"sources.{source}.ingest"
            )
    return ""


def _note(source: str, stage: str, read: int, ledger: Ledger) -> str:
    reasons, languages = Counter[str](), Counter[str]()
    for entry in ledger.entries("read", source=source):
        languages[entry.language] += entry.documents
    for entry in ledger.lost(source):
        reasons[entry.reason] += entry.documents
    most = reasons.most_common(1)[0][0]
    advice = next(advice for begin, advice in ADVICE if f"{stage}.{most}".startswith(begin))
    unit = "records" if stage == "ingest" else "documents"
    action = advice.format(source=f"sources.{source}", languages=_counts(languages))
    return (
        f"source {source}: {stage} kept none of its {read:,} {unit} ({_counts(reasons)}); {action}"
    )


def _counts(counts: Counter[str]) -> str:
    shown = [f"{name} {count:,}" for name, count in counts.most_common(REASONS_SHOWN)]
    rest = len(counts) - len(shown)
    return ", ".join([*shown, f"{rest} more"] if rest else shown)
