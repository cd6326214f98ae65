"""What stages that must run will take, judged by what the same stages took before in this store.

An earlier artifact of a stage states its seconds, documents and bytes, and what it was made from
how many bytes it read; a new one is expected to take as much per byte. Of several earlier ones that
of the closest size speaks. A stage that the store has not seen has no estimate, nor has one that
reads what has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flows.planning.plan import Plan, Step
from infra.stage import Pin
from infra.store import Artifact, Damaged, Store
from infra.store.manifest import Manifest
from tasks.select.stage import STAGE as SELECT
from tasks.training.phases.facts import PhaseFacts
from tasks.training.stage import STAGE as TRAINING

MOST_READ = 8
"""Earlier artifacts of a stage that are looked at."""


@dataclass(frozen=True)
class Estimate:
    """What a step will take; `documents` it keeps (None for stages without a ledger); `like` is the
    artifact that it is judged by.
    """

    seconds: float
    bytes: int
    documents: int | None
    like: str

    def to_json(self) -> dict[str, Any]:
        """As `puna plan --json` shows it."""
        return asdict(self)


def estimates(plan: Plan, store: Store, phases: Sequence[PhaseFacts] = ()) -> dict[str, Estimate]:
    """Estimates by node id, of the steps that must run and have a history."""
    tokens = {phase.name: phase.tokens for phase in phases}
    found: dict[str, Estimate] = {}
    for id, step in plan.steps.items():
        if step.state != "run":
            continue
        reads = _reads(step, plan, found)
        if reads is None:
            continue
        judged = [
            (abs(math.log(max(reads, 1) / max(read, 1))), read, artifact)
            for artifact in earlier(step, plan.recipe, store)
            if _reads_alike(step, artifact.manifest)
            and (read := _read_by(artifact.manifest, store)) is not None
        ]
        if judged:
            _, read, like = min(judged, key=lambda entry: (entry[0], entry[2].version))
            found[id] = _scaled(step, like, max(reads, 1) / max(read, 1), tokens)
    return found


def in_words(found: Mapping[str, Estimate], plan: Plan) -> list[str]:
    """A line on all steps together; none without estimates."""
    from flows.planning.reading import in_bytes
    from infra.quantities import duration

    if not found:
        return []
    selected = [
        made.documents or 0
        for id, made in found.items()
        if plan.steps[id].node.stage.name == SELECT.name
    ]
    parts = [
        *([f"{sum(selected):,} documents selected"] if selected else ()),
        f"{in_bytes(sum(made.bytes for made in found.values()))} of disk",
        f"{duration(sum(made.seconds for made in found.values()))} of work",
    ]
    unknown = len(plan.to_run()) - len(found)
    rest = f"; {unknown} of {len(plan.to_run())} stages have none" if unknown else ""
    return [f"by this store's history: ≈ {', '.join(parts)}{rest}"]


def _scaled(step: Step, like: Artifact, ratio: float, tokens: Mapping[str, int | None]) -> Estimate:
    manifest = like.manifest
    size = sum(output.bytes for output in manifest.outputs)
    if step.node.stage.name == TRAINING.name:  # reads as much of its bins as it trains tokens
        planned, trained = tokens.get(step.node.name), manifest.statistics.get("tokens")
        time = planned / trained if planned and trained else ratio
        return Estimate(manifest.seconds * time, size, None, like.identity)
    documents = manifest.ledger.documents("kept") if manifest.data["ledger"] else None
    return Estimate(
        manifest.seconds * ratio,
        round(size * ratio),
        None if documents is None else round(documents * ratio),
        like.identity,
    )


def _reads_alike(step: Step, manifest: Manifest) -> bool:
    """Whether both read the same kinds of things: a model that was made from nothing says nothing
    of one that is made from a base, of a thousand times the bytes.
    """
    planned = {role for role, given in step.node.inputs.items() if given} | (
        {"base"} & {*step.pins}
    )
    made = {role for role, given in manifest.inputs.items() if given} | (
        {"base"} & {*manifest.pins}
    )
    return planned == made


def _reads(step: Step, plan: Plan, found: Mapping[str, Estimate]) -> int | None:
    """Bytes that a step will read; None where those of an input are not known."""
    total = _pinned(step.pins.values())
    for artifacts in step.external.values():
        total = _plus(total, sum(map(_written, artifacts)))
    for id in step.node.upstream():
        made = plan.steps[id]
        if made.artifact is not None and made.state != "run":
            total = _plus(total, _written(made.artifact))
        else:
            total = _plus(total, found[id].bytes if id in found else None)
    return total


def _read_by(manifest: Manifest, store: Store) -> int | None:
    """Bytes that an artifact was made from; None where an input is gone."""
    total = _pinned(manifest.pins.values())
    for inputs in manifest.inputs.values():
        for given in inputs:
            artifact = _find(store, given.stage, given.name, given.version)
            total = _plus(total, _written(artifact) if artifact is not None else None)
    return total


def _pinned(pins: Iterable[Sequence[Pin]]) -> int | None:
    sizes = [pin.bytes for given in pins for pin in given]
    return None if any(size < 0 for size in sizes) else sum(sizes)


def _plus(total: int | None, more: int | None) -> int | None:
    return None if total is None or more is None else total + more


def _written(artifact: Artifact) -> int:
    return sum(output.bytes for output in artifact.manifest.outputs)


def earlier(step: Step, recipe: str, store: Store) -> Iterator[Artifact]:
    """Artifacts of the same stage: this recipe's latest, others of the name, then of other names
    where there is none; `MOST_READ` at most.
    """
    stage, name = step.node.stage.name, step.node.name
    latest = store.reference(recipe, stage, name)
    versions = [*([latest] if latest else ()), *store.root.child(f"{stage}/{name}").folders()]
    named = [(name, version) for version in dict.fromkeys(versions)]
    others = [
        (other, version)
        for other in store.root.child(stage).folders()
        if not named and other != name
        for version in store.root.child(f"{stage}/{other}").folders()
    ]
    for place in (named or others)[:MOST_READ]:
        if (artifact := _find(store, stage, *place)) is not None:
            yield artifact


def _find(store: Store, stage: str, name: str, version: str) -> Artifact | None:
    try:
        return store.find(stage, name, version)
    except Damaged:
        return None  # a plan of it says so
