"""What a run shows on the page of the pipeline's flow run: its stages and the time left while it
runs, benchmarks and the report as soon as there are any, the lineage.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect.logging import get_run_logger

from flows.monitoring.cards import Card
from flows.monitoring.dashboard import lineage_markdown, log_line
from flows.monitoring.flow_runs import short_name
from flows.monitoring.listener import Listener
from flows.monitoring.score_lines import Changes, Scores, score_lines
from flows.monitoring.server import publish
from flows.planning.plan import Plan, Step
from infra.store import Artifact, Store
from tasks.benchmarks.samples import Items, Key, read_items
from tasks.report.scores import changes
from tasks.training.monitoring.names import in_words


class RunPage(Listener):
    """The page of one run; made within the pipeline's flow run, used from every stage's thread.

    Args:
        earlier: step id -> seconds that building it took in an earlier run.
    """

    def __init__(self, flow_run: UUID, plan: Plan, run: str, earlier: Mapping[str, float]) -> None:
        self._plan, self._run, self._earlier = plan, run, earlier
        self._called = short_name(run)
        self._log = get_run_logger()
        self._lock = threading.Lock()
        self._rows = {
            id: {
                "stage": id,
                "result": "waiting" if step.state == "run" else step.state,
                "seconds": "",
                "version": step.version or "",
                "why": step.why,
            }
            for id, step in plan.steps.items()
        }
        self._began: dict[str, float] = {}
        self._left_s: dict[str, float] = {}
        """Step id -> the time that it says it needs."""
        self._scores: dict[str, dict[str, dict[str, Any]]] = {}
        self._items: dict[str, dict[Key, Items]] = {}
        self._flow_run = flow_run
        self._table = Card(flow_run, "table", "stages", plan.recipe)
        self._progress = Card(flow_run, "progress", "progress", plan.recipe)
        self._benchmarks = Card(flow_run, "table", "benchmarks", plan.recipe)
        self._show()
        Card(flow_run, "markdown", "lineage", plan.recipe).show(
            lineage_markdown(plan), f"Lineage of {self._called}"
        )
        for step in plan.steps.values():
            if step.state == "hit" and step.artifact is not None:
                self.has(step.artifact)

    def _say(self, step: Step, event: str, **words: Any) -> None:
        self._log.info(log_line(run=self._run, stage=step.id, event=event, **words))

    def _show(self) -> None:
        with self._lock:
            self._show_table()
            self._show_progress()

    def _show_table(self) -> None:
        """In running order, but what runs or waits comes first, and last what this run does not
        build: a page of the table has ten rows.
        """
        place = {"running": 0, "failed": 0, "waiting": 1, "hit": 3, "skipped": 3}
        rows = sorted(self._rows.values(), key=lambda row: place.get(row["result"], 2))
        self._table.show(rows, f"Stages of {self._called}")

    def _show_progress(self) -> None:
        to_run = [step.id for step in self._plan.to_run()]
        done = sum(self._rows[id]["result"] == "built" for id in to_run)
        running = [id for id in to_run if self._rows[id]["result"] == "running"]
        left, unknown = self._time_left(to_run)
        words = [f"{left} left"] if left else []  # first: a list of cards cuts the rest
        words.append(f"{done} of {len(to_run)} stages built")
        words += [f"{', '.join(running)} running"] if running else []
        words += [f"{unknown} not counted, for want of an earlier run"] if unknown else []
        self._progress.show(100.0 * done / len(to_run) if to_run else 100.0, ", ".join(words))

    def _time_left(self, to_run: list[str]) -> tuple[str, int]:
        """The time left, from what running stages say and what others took before ("" if nothing
        is known), and how many stages are left out.
        """
        now, seconds, unknown = time.monotonic(), 0.0, 0
        for id in to_run:
            if self._rows[id]["result"] not in ("waiting", "running"):
                continue
            if id in self._left_s:
                seconds += self._left_s[id]
            elif id in self._earlier:
                seconds += max(0.0, self._earlier[id] - (now - self._began.get(id, now)))
            else:
                unknown += 1
        return (in_words(seconds), unknown) if seconds else ("", 0)

    def _becomes(self, step: Step, result: str, **changes: Any) -> None:
        with self._lock:
            self._rows[step.id] |= {"result": result, **changes}
            self._left_s.pop(step.id, None)
        self._show()

    def started(self, step: Step) -> None:
        self._began[step.id] = time.monotonic()
        self._say(step, "started", why=step.why)
        self._becomes(step, "running")

    def measured(self, step: Step, values: Mapping[str, float | None]) -> None:
        left = values.get("left_s")
        if left is not None:
            self._left_s[step.id] = left

    def progressed(self, step: Step, done: float, total: float, unit: str) -> None:
        if self._progress.is_due():
            with self._lock:
                self._show_progress()

    def finished(self, step: Step, artifact: Artifact, seconds: float) -> None:
        self._say(step, "built", seconds=round(seconds, 1), path=artifact.data.url)
        self._becomes(step, "built", seconds=f"{seconds:.1f}")
        self.has(artifact)

    def found(self, step: Step, artifact: Artifact) -> None:
        self._say(step, "found", path=artifact.data.url)
        self._becomes(step, "hit", version=step.version or "", why=step.why)
        self.has(artifact)

    def has(self, artifact: Artifact) -> None:
        """Show what an artifact adds to the page: scores of an evaluation, the report."""
        if artifact.stage == "evaluation" and artifact.statistics.get("scores"):
            with self._lock:
                self._scores[artifact.name] = artifact.statistics["scores"]
                self._items[artifact.name] = read_items(artifact)
                rows = score_rows(self._scores, changes(self._scores, self._items))
                self._benchmarks.show(rows, "Benchmarks, with standard errors")
        if artifact.stage == "report" and artifact.records.exists("report.html"):
            report = artifact.records.place("report.html")
            address = publish(artifact.records.read("report.html"), f"{self._run}.html")
            where = f"[Open the report]({address})\n\nThe file: " if address else "The report: "
            Card(self._flow_run, "markdown", "report", self._plan.recipe).show(
                f"{where}`{report}`", f"Report of {self._called}"
            )

    def failed(self, step: Step, error: BaseException) -> None:
        why = f"{type(error).__name__}: {error}"
        self._log.error(log_line(run=self._run, stage=step.id, event="failed", error=why))
        self._becomes(step, "failed", why=str(error).partition("\n")[0][:300])

    def advise(self, step: Step, error: str, action: str) -> None:
        """Show why the run failed, and what to do."""
        text = f"**{step.id}** failed:\n\n```\n{error}\n```\n\n{action}"
        Card(self._flow_run, "markdown", "failure", self._plan.recipe).show(
            text, f"Why {self._called} failed, and what to do"
        )

    def ended(self, stages: list[dict[str, Any]]) -> None:
        """Show the end: no progress any more, and what became of stages that did not run."""
        for stage in stages:
            row = self._rows[f"{stage['stage']}/{stage['name']}"]
            row["result"] = stage["result"]
            row["seconds"] = "" if stage["seconds"] is None else f"{stage['seconds']:.1f}"
        with self._lock:
            self._show_table()
            self._progress.remove()


def earlier_seconds(plan: Plan, store: Store) -> dict[str, float]:
    """Step id -> seconds that its stage took when this recipe last built it; what never was built
    is left out.
    """
    found = {}
    for step in plan.to_run():
        stage, name = step.node.stage.name, step.node.name
        version = store.reference(plan.recipe, stage, name)
        artifact = store.find(stage, name, version) if version else None
        if artifact is not None:
            found[step.id] = artifact.manifest.seconds
    return found


def score_rows(scores: Scores, changed: Changes) -> list[dict[str, str]]:
    """The rows of the benchmark table: without groups and positions in long text."""
    names = dict.fromkeys(task for by_task in scores.values() for task in by_task)
    groups = [task for task in names if "/" in task and not task.startswith("heldout/")]
    return score_lines(scores, changed, groups)
