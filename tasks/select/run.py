"""Runs stage select: choose what to hold out over all parts, then write every part."""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.context import Context
from infra.stage import Outcome, StageError
from tasks.documents.annotate import ledger_of
from tasks.documents.selected import HELD_OUT_FOLDER
from tasks.documents.vectors import MADE_WITH, made_with
from tasks.select.index import index_statistics
from tasks.select.stage import HeldOut, SelectParameters
from tasks.select.write import SelectWork, find_held_out, write_lines, write_survivors

EDITED_BY = ("line_dedup", "decontaminate", "pii")
"""Roles whose edits apply to the written text, in this order."""


def run(context: Context) -> Outcome:
    """See `tasks.select.stage`."""
    parameters: SelectParameters = context.parameters
    work = _work(context, parameters.heldout)
    cutoffs: dict[str, int] = {}
    if parameters.heldout is not None:
        hashes = context.map(find_held_out, {f"find.{key}": item for key, item in work.items()})
        cutoffs = held_out_cutoffs(hashes, parameters.heldout.max_documents)
    final = {
        f"write.{key}": dataclasses.replace(item, cutoffs=cutoffs) for key, item in work.items()
    }
    results = context.map(write_lines, final)
    statistics: dict[str, Any] = {"categories": _categories(results)}
    statistics["deduplicated"] = context.optional("dedup") is not None
    if parameters.index and context.optional("signatures"):
        written = context.map(write_survivors, {f"index.{key}": item for key, item in work.items()})
        statistics["index"] = index_statistics(written.values(), context.input("signatures"))
        if (embeddings := context.optional("embeddings")) is not None:
            statistics["index"][MADE_WITH] = made_with(embeddings)
    return Outcome(statistics, ledger_of(results))


def _work(context: Context, heldout: HeldOut | None) -> dict[str, SelectWork]:
    documents, cut = context.input("documents"), context.input("cut")
    source = documents.name
    dedup = context.optional("dedup")
    semantic = context.optional("semantic")
    signatures, embeddings = context.optional("signatures"), context.optional("embeddings")
    if heldout is not None and dedup is None:
        raise StageError(
            f"source {source!r}: text is to be held out, but without dedup near duplicates of it "
            "would be trained on; add a section dedup to the recipe, or set select.heldout to null"
        )
    edited_by = [edits for role in EDITED_BY if (edits := context.optional(role))]
    return {
        Path(name).stem: SelectWork(
            source,
            name,
            documents.path(name),
            cut.path(f"{source}/{name}"),
            tuple(
                (elected.stage, elected.path(f"{source}/{name}"))
                for elected in (dedup, semantic)
                if elected is not None
            ),
            heldout,
            edits=tuple(artifact.path(name) for artifact in edited_by),
            signatures=signatures.path(name) if signatures is not None else None,
            vectors=embeddings.path(name) if embeddings is not None else None,
        )
        for name in documents.files("part-")
    }


def held_out_cutoffs(
    found: Mapping[str, Mapping[str, list[int]]], max_documents: int
) -> dict[str, int]:
    """Category -> the largest hash held out, from the candidates of every part."""
    candidates: dict[str, list[int]] = {}
    for part in found.values():
        for category, hashes in part.items():
            candidates.setdefault(category, []).extend(hashes)
    return {
        category: heapq.nsmallest(max_documents, candidates[category])[-1]
        for category in sorted(candidates)
    }


def _categories(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, dict[str, int]]]:
    """Category -> {"training", "held_out"} -> {"documents", "bytes", "characters", "copies"}.

    Bytes (UTF-8) and characters are those of prompts and texts, each counted once; copies are how
    often training reads its documents in an epoch.
    """
    total: dict[str, Counter[str]] = {}
    for result in results.values():
        for folder, counts in result["folders"].items():
            total.setdefault(folder, Counter()).update(counts)
    prefix = f"{HELD_OUT_FOLDER}/"
    units = ("documents", "bytes", "characters", "copies")
    empty: Counter[str] = Counter()
    return {
        category: {
            side: {unit: total.get(folder, empty)[unit] for unit in units}
            for side, folder in (("training", category), ("held_out", f"{prefix}{category}"))
        }
        for category in sorted({folder.removeprefix(prefix) for folder in total})
    }
