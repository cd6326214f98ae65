"""Publishes a run on the Prefect dashboard: progress, ledgers, statistics, stage table, lineage.

Prefect's tables take their columns from the first row and show only short cells: all rows have the
same keys, and plain values.
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
"""Seconds between two updates of a progress artifact; each costs the server about 15 ms."""


def artifact_key(*words: str) -> str:
    """A key that Prefect accepts: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


class Dashboard(Listener):
    """Publishes a stage's progress and results; used within the stage's flow run."""

    def __init__(self) -> None:
        self._progress: dict[str, tuple[UUID, float]] = {}
        """Step id -> its progress artifact, and when that was last updated."""

    def progressed(self, step: Step, done: float, total: float, unit: str) -> None:
        """Create the stage's progress bar, or update it at most every `PROGRESS_EVERY_S`."""
        percent = 100.0 * done / total if total else 100.0
        description = f"{step.id}: {done:,.0f} of {total:,.0f} {unit}"
        if step.id not in self._progress:
            created: Any = create_progress_artifact(
                progress=percent, key=artifact_key("progress", step.id), description=description
            )
            self._progress[step.id] = (created, time.monotonic())
            return
        bar, updated = self._progress[step.id]
        if done >= total or time.monotonic() - updated >= PROGRESS_EVERY_S:
            update_progress_artifact(bar, percent, description)
            self._progress[step.id] = (bar, time.monotonic())

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
    """One row per source, language, outcome and reason: documents, share of those read, MB."""
    order = {"read": 0, "kept": 1}
    entries = sorted(
        ledger.entries(),
        key=lambda e: (e.source, e.language, order.get(e.side, 2), e.side, e.reason),
    )
    read = {(e.source, e.language): e.documents for e in entries if e.side == "read"}
    rows = []
    for entry in entries:
        total = read.get((entry.source, entry.language))
        rows.append(
            {
                "source": entry.source,
                "language": entry.language,
                "outcome": entry.side,
                "reason": entry.reason,
                "documents": entry.documents,
                "share": f"{entry.documents / total:.1%}" if total else "-",
                "MB": round(entry.bytes / 1e6, 3),
            }
        )
    return rows


def flat_rows(statistics: Mapping[str, Any], limit: int = 60) -> list[dict[str, str]]:
    """The first `limit` scalar statistics as name and value. Lists and maps of more than 24 entries
    are left to the report.
    """
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
    """The plan as a Mermaid graph, hits in grey and built stages in green. The report is left out:
    it reads every stage.
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
    """Publish the run's stage table and lineage; used within the pipeline's flow run."""
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
