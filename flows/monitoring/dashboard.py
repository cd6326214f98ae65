"""What the Prefect dashboard shows of a run: progress, ledgers, statistics, the stage table and the
lineage.

Prefect's tables take their columns from the first row and show short cells only, so rows are flat
and equal in keys.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.monitoring.listener import Listener
from flows.planning.plan import Plan, Step
from infra.ledger import Ledger
from infra.store import Artifact

PROGRESS_EVERY_S = 5.0
"""Seconds between two updates of a progress artifact: one costs the server about 15 ms."""


def artifact_key(*words: str) -> str:
    """A key Prefect accepts (lower-case letters, digits, dashes)."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


class Dashboard(Listener):
    """Publishes a stage's progress and results from within its flow run."""

    def __init__(self) -> None:
        self._progress: dict[str, tuple[UUID, float]] = {}

    def progressed(self, step: Step, done: float, total: float, unit: str) -> None:
        """Create or, at most every `PROGRESS_EVERY_S`, update the stage's progress bar."""
        percent = 100.0 * done / total if total else 100.0
        description = f"{step.id}: {done:,.0f} of {total:,.0f} {unit}"
        known = self._progress.get(step.id)
        if known is None:
            created: Any = create_progress_artifact(
                progress=percent, key=artifact_key("progress", step.id), description=description
            )
            self._progress[step.id] = (created, time.monotonic())
        elif done >= total or time.monotonic() - known[1] >= PROGRESS_EVERY_S:
            update_progress_artifact(known[0], percent, description)
            self._progress[step.id] = (known[0], time.monotonic())

    def finished(self, step: Step, artifact: Artifact, seconds: float) -> None:
        """Publish the stage's ledger and statistics."""
        if artifact.ledger.sources():
            create_table_artifact(
                ledger_rows(artifact.ledger),
                key=artifact_key("ledger", step.id),
                description=f"Documents of {step.id}",
            )
        statistics = flat_rows(artifact.statistics)
        if statistics:
            create_table_artifact(
                statistics,
                key=artifact_key("statistics", step.id),
                description=f"Statistics of {step.id}",
            )
        notes = artifact.statistics.get("notes")
        if notes:
            create_markdown_artifact(
                "\n".join(f"- {note}" for note in notes),
                key=artifact_key("notes", step.id),
                description=f"Notes on {step.id}",
            )


def ledger_rows(ledger: Ledger) -> list[dict[str, Any]]:
    """One row per source, language and outcome: documents, their share of what was read, MB."""
    order = {"read": 0, "kept": 1}
    entries = sorted(
        ledger.entries(),
        key=lambda e: (e.source, e.language, order.get(e.side, 2), e.side, e.reason),
    )
    read = {(e.source, e.language): e.documents for e in entries if e.side == "read"}
    return [
        {
            "source": e.source,
            "language": e.language,
            "outcome": e.side,
            "reason": e.reason,
            "documents": e.documents,
            "share": f"{e.documents / of:.1%}" if (of := read.get((e.source, e.language))) else "-",
            "MB": round(e.bytes / 1e6, 3),
        }
        for e in entries
    ]


def flat_rows(statistics: Mapping[str, Any], limit: int = 60) -> list[dict[str, str]]:
    """Scalar statistics as name and value; lists and long maps are left to the report."""
    rows: list[dict[str, str]] = []

    def add(name: str, value: Any) -> None:
        if isinstance(value, Mapping) and len(value) <= 24:
            for key, item in value.items():
                add(f"{name}.{key}" if name else str(key), item)
        elif isinstance(value, float):
            rows.append({"statistic": name, "value": f"{value:,.4g}"})
        elif isinstance(value, (int, str)) and not isinstance(value, bool):
            rows.append(
                {"statistic": name, "value": f"{value:,}" if isinstance(value, int) else value[:80]}
            )

    add("", statistics)
    return rows[:limit]


def lineage_markdown(plan: Plan) -> str:
    """The plan as a mermaid graph: hits in grey, built stages in green; without the report, which
    reads everything.
    """
    steps = {id: step for id, step in plan.steps.items() if step.node.stage.name != "report"}
    names = {id: f"n{number}" for number, id in enumerate(steps)}
    lines = ["```mermaid", "graph LR"]
    for id, step in steps.items():
        lines.append(
            "  "
            f'{names[id]}["{step.node.stage.name}<br/>{step.node.name}<br/>{step.version or "?"}"]'
        )
        lines += [f"  {names[up]} --> {names[id]}" for up in dict.fromkeys(step.node.upstream())]
    hits = ",".join(names[id] for id, step in steps.items() if step.state == "hit")
    built = ",".join(names[id] for id, step in steps.items() if step.state == "run")
    lines += [
        "  classDef hit fill:#eee,stroke:#999,color:#333",
        "  classDef built fill:#d8f0d8,stroke:#393,color:#030",
    ]
    lines += [f"  class {hits} hit"] if hits else []
    lines += [f"  class {built} built"] if built else []
    return "\n".join([*lines, "```"])


def _cell(value: Any) -> Any:
    return "" if value is None else round(value, 1) if isinstance(value, float) else value


def publish_run(plan: Plan, stages: list[dict[str, Any]], run: str) -> None:
    """The run's stage table and lineage, from within the pipeline's flow run."""
    columns = ("stage", "name", "result", "version", "seconds", "why")
    table = [{column: _cell(stage.get(column)) for column in columns} for stage in stages]
    create_table_artifact(
        table, key=artifact_key("stages", plan.recipe), description=f"Stages of run {run}"
    )
    create_markdown_artifact(
        lineage_markdown(plan),
        key=artifact_key("lineage", plan.recipe),
        description=f"Lineage of run {run}",
    )
