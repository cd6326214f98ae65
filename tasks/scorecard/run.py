"""Runs stage scorecard; see `tasks.scorecard.stage`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.context import Context
from infra.stage import Outcome
from infra.store import Artifact, Shard
from tasks.scorecard import compare, domains
from tasks.scorecard.scores import BASE, Change, changes, unmatched
from tasks.scorecard.stage import ScorecardParameters

SCORECARD = "scorecard.json"


def run(context: Context) -> Outcome:
    """Compare this run with the promoted one; statistics `refused`: why it may not be promoted."""
    parameters: ScorecardParameters = context.parameters
    now, last = by_stage(context.many("run")), by_stage(context.many("promoted"))
    table = _domains(context, now)
    models = evaluations(now)
    scores = changes(*models, parameters) if models else []
    alone = unmatched(*models) if models else {}
    numbers = {
        "first": not last,
        "funnel": compare.funnel(now, last),
        "overlap": compare.overlap(now),
        "domains": domains.compared(table, _last_domains(last)),
        "languages": compare.languages(now, last, parameters.again),
        "perplexity": compare.perplexity(now, last),
        "scores": [change.to_json() for change in scores],
        "unmatched": alone,
        "refused": [change.reason() for change in scores if change.refused] if last else [],
    }
    context.map(_write, {"scorecard": Written(numbers, table)}, here=True)
    return Outcome(
        {
            "headline": _headline(numbers),
            "refused": numbers["refused"],
            "cost": compare.cost(now, last),
            "notes": _notes(scores, alone) if last else [],
        }
    )


def by_stage(artifacts: Sequence[Artifact]) -> dict[str, list[Artifact]]:
    """Stage -> its artifacts, in the plan's order."""
    found: dict[str, list[Artifact]] = {}
    for artifact in artifacts:
        found.setdefault(artifact.stage, []).append(artifact)
    return found


def evaluations(now: compare.Inputs) -> tuple[Artifact, Artifact] | None:
    """Those of the model that the run began with, and of its last phase; None where one of the two
    is not evaluated.
    """
    found = {artifact.name: artifact for artifact in now.get("evaluation", ())}
    phases = [artifact.name for artifact in now.get("training", ())]
    made = found.get(phases[-1]) if phases else None
    return None if made is None or BASE not in found else (found[BASE], made)


def _notes(scores: Sequence[Change], alone: Mapping[str, Sequence[str]]) -> list[str]:
    """What the scores do not say."""
    notes = [] if scores else ["no score was compared, so nothing is refused"]
    for side, model in (("promoted", "promoted model"), ("now", "last phase")):
        if rows := alone.get(side):
            notes.append(
                f"not compared, as only the {model} has them: {', '.join(rows)}; see the notes of "
                "the evaluations"
            )
    return notes


def _domains(context: Context, now: compare.Inputs) -> pa.Table:
    """Domains of the documents that this crawl's own sources leave."""
    again = context.parameters.again
    chosen = {artifact.name for artifact in now.get("select", ())}
    cut, dedup = (next(iter(now.get(stage, ())), None) for stage in ("cut", "dedup"))
    work = {
        key: part
        for documents in now.get("ingest", ())
        if documents.name in chosen and documents.name not in again
        for key, part in domains.selected_parts(documents, cut, dedup).items()
    }
    results = context.map(domains.count_part, work)
    return domains.merged([context.attempt.data.local(r["file"]) for r in results.values()])


def _last_domains(last: compare.Inputs) -> pa.Table | None:
    for artifact in last.get("scorecard", ()):
        return pq.read_table(artifact.path(domains.FILE))
    return None


@dataclass(frozen=True)
class Written:
    """What the stage's last shard writes."""

    numbers: dict[str, Any]
    domains: pa.Table


def _write(work: Written, shard: Shard) -> dict[str, Any]:
    with shard.create(SCORECARD) as path:
        path.write_text(json.dumps(work.numbers, ensure_ascii=False, indent=1), encoding="utf-8")
    with shard.create(domains.FILE) as path:
        pq.write_table(work.domains, path)
    return {}


def _headline(numbers: dict[str, Any]) -> str:
    if numbers["first"]:
        return "the first run of the loop: nothing to compare with"
    fell = len(numbers["refused"])
    overlap = numbers["overlap"]["share"]
    verdict = f"{fell or 'no'} score{'s' if fell > 1 else ''} fell too far"
    return f"{verdict}; {overlap:.1%} of the documents were known"
