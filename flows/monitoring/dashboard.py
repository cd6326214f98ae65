"""What a stage shows on its flow run's page: progress and the curve of its loss while it works;
then its ledger, statistics and notes.

Prefect's tables take their columns from the first row and show only short cells: all rows have the
same keys, and plain values.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.monitoring.cards import Card, card_key
from flows.monitoring.curve import Series, data_url, svg
from flows.monitoring.listener import Listener
from flows.monitoring.server import publish
from flows.planning.plan import Plan, Step
from infra.context import WARNING
from infra.ledger import Ledger
from infra.store import Artifact
from tasks.training.monitoring.names import in_words

LOG_EVERY_S = 60.0
"""Seconds between two lines about the progress of a stage in its flow run's log."""


class StagePage(Listener):
    """The page of one stage's flow run; made and used within it.

    Its log has lines of `key=value` words, each with run and stage, for people and for programs.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._flow_run = UUID(flow_run.get_id())
        self._log = get_run_logger()
        self._progress: Card | None = None
        self._curve: Card | None = None
        self._loss = Series()
        self._drawn = 0
        self._measured: Mapping[str, float | None] = {}
        self._logged = 0.0
        self._warned = False

    def _say(self, step: Step, event: str, *, warned: bool = False, **words: Any) -> None:
        line = log_line(run=self._run, stage=step.id, event=event, **words)
        (self._log.warning if warned else self._log.info)(line)

    def started(self, step: Step) -> None:
        self._say(step, "started", version=step.version, why=step.why)

    def measured(self, step: Step, values: Mapping[str, float | None]) -> None:
        self._measured = values
        if values["loss"] is not None and values["tokens"] is not None:
            self._loss.add(values["tokens"], values["loss"])

    def progressed(self, step: Step, done: float, total: float, unit: str) -> None:
        """Show how far the stage is, with the curve of what it measures."""
        if self._progress is None:
            self._progress = Card(self._flow_run, "progress", "progress", step.id)
        warning = WARNING in unit
        if self._progress.is_due() or done >= total or (warning and not self._warned):
            shown = progress_words(done, total, unit, self._measured)
            self._progress.show(100.0 * done / total if total else 100.0, shown)
            self._draw(step, total, shown)
        if time.monotonic() - self._logged >= LOG_EVERY_S or (warning and not self._warned):
            self._logged = time.monotonic()
            words: dict[str, Any] = {"done": done, "total": total, "unit": unit.split(",")[0]}
            words |= {name: value for name, value in self._measured.items() if name != "tokens"}
            if warning:
                words["warning"] = unit.partition(f"{WARNING}: ")[2]
            self._say(step, "progress", warned=warning, **words)
        self._warned = warning

    def _draw(self, step: Step, total: float, words: str) -> None:
        if len(self._loss.points) > 1:
            if self._curve is None:
                self._curve = Card(self._flow_run, "image", "loss", step.id)
            image = svg(self._loss.points, total, f"Loss of {step.id}", "tokens")
            # The page prints an image's URL below it, and one that holds the image is long.
            address = publish(image.encode(), f"{self._run}-{card_key(step.id)}.svg")
            self._drawn += 1
            self._curve.show(f"{address}?{self._drawn}" if address else data_url(image), words)

    def waiting(self, step: Step, holder: dict[str, Any]) -> None:
        self._say(step, "waiting", for_process=holder["pid"], on=holder["host"])

    def finished(self, step: Step, artifact: Artifact, seconds: float) -> None:
        """Show the stage's ledger and statistics instead of its progress, and the whole curve."""
        if self._progress is not None:
            self._progress.remove()
        if self._curve is not None:
            end = self._measured.get("tokens") or 0.0
            self._draw(step, end, str(artifact.statistics.get("headline", "the whole phase")))
        if artifact.ledger.sources():
            self._table("ledger", step, ledger_rows(artifact.ledger), "Documents of")
        if statistics := flat_rows(artifact.statistics):
            self._table("statistics", step, statistics, "Statistics of")
        if notes := artifact.statistics.get("notes"):
            Card(self._flow_run, "markdown", "notes", step.id).show(
                "\n".join(f"- {note}" for note in notes), f"Notes on {step.id}"
            )
        self._say(step, "built", seconds=round(seconds, 1), path=artifact.data.url)

    def _table(self, kind: str, step: Step, rows: list[dict[str, Any]], title: str) -> None:
        Card(self._flow_run, "table", kind, step.id).show(rows, f"{title} {step.id}")

    def failed(self, step: Step, error: BaseException) -> None:
        self._say(step, "failed", warned=True, error=f"{type(error).__name__}: {error}")


def progress_words(
    done: float, total: float, unit: str, measured: Mapping[str, float | None]
) -> str:
    """How far a stage is. What people look for comes first: a list of cards cuts the rest."""
    left, loss = measured.get("left_s"), measured.get("loss")
    name, _, more = unit.partition(", ")
    if not measured:
        return f"{done:,.0f} of {total:,.0f} {unit}"
    words = [f"{in_words(left)} left"] if left is not None else []
    words += [f"loss {loss:.3f}"] if loss is not None else []
    words.append(f"{done:,.0f} of {total:,.0f} {name}")
    if (speed := measured.get("tokens_per_s")) is not None:
        words.append(f"{speed:,.0f} tokens/s")
    if (rate := measured.get("learning_rate")) is not None:
        words.append(f"learning rate {rate:.3g}")
    warning = more.partition(f"{WARNING}: ")[2]
    return ", ".join([*words, *([f"{WARNING}: {warning}"] if warning else [])])


def log_line(**words: Any) -> str:
    """`stage=training/first event=progress loss=0.260 unit="tokens, 3 min left"`: what is None is
    left out, and what has blanks is quoted.
    """

    def shown(value: Any) -> str:
        if isinstance(value, float) and math.isfinite(value):
            return f"{value:.0f}" if value == round(value) else f"{value:.4g}"
        text = str(value).replace("\n", " ")
        return '"' + text.replace('"', "'") + '"' if " " in text or not text else text

    return " ".join(f"{name}={shown(value)}" for name, value in words.items() if value is not None)


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
    lines = [
        "```mermaid",
        '%%{init: {"flowchart": {"nodeSpacing": 16, "rankSpacing": 28}}}%%',
        "graph TD",  # downwards: the page is narrow, and the drawing is shrunk to its width
    ]
    for id, step in steps.items():
        lines.append(
            "  "
            f'{names[id]}["{step.node.stage.name}<br/>{step.node.name}<br/>{step.version or "?"}"]'
        )
        lines += [f"  {names[up]} --> {names[id]}" for up in dict.fromkeys(step.node.upstream())]
    hits = ",".join(names[id] for id, step in steps.items() if step.state == "hit")
    built = ",".join(names[id] for id, step in steps.items() if step.state == "run")
    lines += [
        "  linkStyle default stroke:#8899aa",  # seen on the page's dark ground as on a light one
        "  classDef hit fill:#eee,stroke:#999,color:#333",
        "  classDef built fill:#d8f0d8,stroke:#393,color:#030",
    ]
    lines += [f"  class {hits} hit"] if hits else []
    lines += [f"  class {built} built"] if built else []
    return "\n".join([*lines, "```"])
