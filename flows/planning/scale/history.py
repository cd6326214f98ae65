"""Unit costs by what the same stages took before in this store, where that was much."""

from __future__ import annotations

from flows.planning.estimates import earlier
from flows.planning.plan import Plan
from flows.planning.scale.costs import Costs, UnitCost
from flows.planning.scale.works import DATA_STAGES
from infra.store import Artifact, Store
from tasks.cut.stage import STAGE as CUT
from tasks.dedup.stage import STAGE as DEDUP
from tasks.ingest.stage import STAGE as INGEST
from tasks.select.stage import STAGE as SELECT

LEAST_DOCUMENTS, LEAST_SECONDS = 10_000, 5.0
"""Below either, starting and loading are most of the time, and a prediction would multiply them."""

LEAST_KEPT = 1_000
"""Documents of which a share kept is believed."""


def measured(plan: Plan, store: Store, costs: Costs) -> dict[str, UnitCost]:
    """Node id -> unit costs by the store's largest artifact of that stage, where one is large
    enough. Memory, scratch and what one process does stay as shipped: manifests do not tell them.
    """
    found = {}
    for id, step in plan.steps.items():
        stage = step.node.stage.name
        if stage not in DATA_STAGES:
            continue
        made = [a for a in earlier(step, plan.recipe, store) if a.manifest.data["ledger"]]
        if step.artifact is not None:
            made.append(step.artifact)
        large = [a for a in made if _documents(a) >= LEAST_DOCUMENTS]
        large = [a for a in large if a.manifest.seconds >= LEAST_SECONDS]
        if not large:
            continue
        like = max(large, key=lambda a: (_documents(a), a.version))
        base = costs.stage(stage, _kind(step.node.parameters)) or UnitCost()
        found[id] = unit_cost(like, base)
    return found


def unit_cost(artifact: Artifact, base: UnitCost) -> UnitCost:
    """What one document cost in an artifact: its seconds times the workers that shared them."""
    manifest = artifact.manifest
    documents, text = _documents(artifact), manifest.ledger.bytes("read")
    seconds = manifest.seconds * manifest.workers
    written = sum(output.bytes for output in manifest.outputs)
    by_document = artifact.stage in (INGEST.name, CUT.name, DEDUP.name) or not text
    handed_on = manifest.ledger.documents("kept")
    written_of = handed_on if artifact.stage in (INGEST.name, SELECT.name) else documents
    return base.model_copy(
        update={
            "document_us": seconds / documents * 1e6 if by_document else 0.0,
            "mb_ms": 0.0 if by_document else seconds / text * 1e9,
            "document_bytes": written / max(written_of, 1),
            "text_share": 0.0,
            "kept": manifest.ledger.documents("kept") / documents,
            "fixed_s": 0.0,
            "measured_at": float(documents),
            "origin": f"this store: {artifact.identity}, {documents:,} documents in "
            f"{manifest.seconds:,.0f} s with {manifest.workers} workers",
        }
    )


def shares(plan: Plan, store: Store) -> dict[tuple[str, str], tuple[float, str]]:
    """(stage, source) -> (share that the latest cut or dedup of this store kept, its identity)."""
    found = {}
    for step in plan.steps.values():
        if step.node.stage.name not in (CUT.name, DEDUP.name):
            continue
        made = [*([step.artifact] if step.artifact else ()), *earlier(step, plan.recipe, store)]
        for artifact in made[:1]:
            ledger = artifact.manifest.ledger
            for source in ledger.sources():
                read = ledger.documents("read", source=source)
                if read >= LEAST_KEPT:
                    kept = ledger.documents("kept", source=source) / read
                    found[step.node.stage.name, source] = (kept, artifact.identity)
    return found


def _documents(artifact: Artifact) -> int:
    return artifact.manifest.ledger.documents("read") if artifact.manifest.data["ledger"] else 0


def _kind(parameters: object) -> str:
    format = getattr(parameters, "format", "")
    return str(getattr(parameters, "kind", "")) if format == "commoncrawl" else str(format)
