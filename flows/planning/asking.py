"""What the rubrics of a plan will take to ask: requests, tokens, money, time."""

from __future__ import annotations

from collections.abc import Iterator

from flows.planning.estimates import earlier
from flows.planning.plan import Plan, Step
from infra.quantities import duration
from infra.store import Artifact, Store
from tasks.ingest.stage import STAGE as INGEST
from tasks.labels.cost import Cost, SourceSize, cost_of
from tasks.labels.stage import STAGE as LABELS
from tasks.labels.stage import LabelsParameters


def costs(plan: Plan, store: Store) -> dict[str, Cost]:
    """Node id -> what asking it will take, of the rubrics that must run or wait for something."""
    found = {}
    for id, step in plan.steps.items():
        parameters = step.node.parameters
        if step.state not in ("run", "unresolved") or not isinstance(parameters, LabelsParameters):
            continue
        sources = [_size(plan, source) for source in step.node.inputs.get("documents", ())]
        found[id] = cost_of(parameters, sources, _rate(step, plan, store))
    return found


def in_lines(found: dict[str, Cost]) -> Iterator[str]:
    """The costs in words."""
    for id, cost in found.items():
        money = "" if cost.dollars is None else f", at most ${cost.dollars:,.2f}"
        time = "" if cost.seconds is None else f", {duration(cost.seconds)}"
        most = "" if cost.documents_known else "at most "
        yield (
            f"{id} asks {most}{cost.requests:,} requests: ≈ {cost.input_tokens:,} tokens in, at "
            f"most {cost.output_tokens:,} out{money}{time}; answers that the store has cost nothing"
        )


def _size(plan: Plan, source: object) -> SourceSize:
    """Documents of a source and their mean bytes, where it has been read."""
    step = plan.steps.get(str(source))
    if step is None or step.artifact is None or step.node.stage.name != INGEST.name:
        return SourceSize()
    ledger = step.artifact.ledger
    documents = ledger.documents("kept")
    return SourceSize(documents, ledger.bytes("kept") / documents if documents else 0.0)


def _rate(step: Step, plan: Plan, store: Store) -> float | None:
    """Answers a second of an earlier artifact of the same model."""
    for artifact in earlier(step, plan.recipe, store):
        if _same_model(step, artifact):
            rate = artifact.statistics.get("answers_per_s")
            if rate:
                return float(rate)
    return None


def _same_model(step: Step, artifact: Artifact) -> bool:
    parameters = step.node.parameters
    if not isinstance(parameters, LabelsParameters) or artifact.stage != LABELS.name:
        return False
    given = artifact.manifest.parameters
    here = parameters.endpoint.model if parameters.endpoint else parameters.model
    there = (given.get("endpoint") or {}).get("model") or given.get("model")
    return here == there
