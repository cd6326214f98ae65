"""What tokenizes the categories of a plan, as far as it is known before a run."""

from __future__ import annotations

from pathlib import Path

from flows.planning.plan import Plan, Step
from infra.remote.access import Access
from tasks.binning.stage import STAGE as BINNING
from tasks.binning.verdicts import foreseen


def encoders(plan: Plan, access: Access) -> dict[str, str]:
    """Name of a binning step -> in words, what tokenizes it or has done so."""
    return {
        step.node.name: _built(step) or foreseen(step.node.parameters, _folder(plan, step), access)  # type: ignore[arg-type]
        for step in plan.steps.values()
        if step.node.stage.name == BINNING.name and step.state != "skipped"
    }


def in_lines(found: dict[str, str]) -> list[str]:
    """A line for each answer, with the categories that it is for."""
    return [
        f"binning of {', '.join(name for name in found if found[name] == answer)}: {answer}"
        for answer in dict.fromkeys(found.values())
    ]


def _built(step: Step) -> str:
    """What tokenized an artifact that is there."""
    if step.state != "hit" or step.artifact is None:
        return ""
    made = step.artifact.statistics.get("tokenize", {})
    reason = f", because {made['reason']}" if made.get("reason") else ""
    return f"{made.get('backend', '')}{reason}"


def _folder(plan: Plan, step: Step) -> Path | None:
    """The folder of the tokenizer that a step reads, if it is there."""
    artifacts = list(step.external.get("tokenizer", ()))
    for source in step.node.inputs.get("tokenizer", ()):
        if isinstance(source, str):
            made = plan.steps[source]
            if made.state == "hit" and made.artifact is not None:
                artifacts.append(made.artifact)
    root = artifacts[0].data.local_root if artifacts else None
    return root / "tokenizer" if root is not None else None
