"""Runs stage evaluation in its own process: writes the job, shows progress, publishes results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.context import Context
from infra.engine.forking import has_gpu
from infra.engine.launch import LaunchError, launch_module
from infra.stage import Outcome, StageError
from infra.store import Artifact, Shard
from tasks.checkpoints.base import folder_of, open_base
from tasks.documents.proposals import PROXY_MODULES, is_proxy
from tasks.documents.selected import HELD_OUT_FOLDER
from tasks.evaluation.evaluate import NOTES
from tasks.evaluation.stage import EvaluationParameters

CHECKPOINT = "checkpoint"


def run(context: Context) -> Outcome:
    """Evaluate one model.

    Inputs: `model`, an artifact with `checkpoint/` (or else the pins of parameter `model`);
    `heldout`, select artifacts; `earlier`, those of earlier crawls. Pins:
    `benchmarks.<name>.paths` and `.dev`.

    Data:
    - `results.json`: {row: {metric: value, metric_stderr, n, ...}}, see `tasks.benchmarks.scores`.
      Rows are tasks, groups of items (`task/group`), `heldout/<category>`, `earlier/<category>`,
      `long-text/<category>` and its buckets of positions.
    - `samples/<task>.jsonl`: one line per item, or per held-out document.
    - `notes.json`: sentences, if there are any.

    Statistics: the rows as `scores`, the `notes`, and `decontaminated`, whether the training data
    was decontaminated against each task.
    """
    parameters: EvaluationParameters = context.parameters
    scratch = context.scratch() / "evaluation"
    scratch.mkdir(parents=True, exist_ok=True)
    spec = scratch / "spec.json"
    spec.write_text(json.dumps(_spec(context, scratch), ensure_ascii=False), encoding="utf-8")

    def evaluate(_: object, shard: Shard) -> dict[str, Any]:
        reason = ""

        def on_message(message: dict[str, Any]) -> None:
            if "progress" in message:
                done, total = message["progress"]
                context.progress(done, total, "tasks")
            elif "error" in message:
                nonlocal reason
                reason = message["error"]

        try:
            launch_module(
                "tasks.evaluation",
                spec,
                on_message,
                cpu_threads=context.cpu_threads,
                forked=PROXY_MODULES if is_proxy(context.name) and not has_gpu() else (),
            )
        except LaunchError as error:
            raise StageError(reason or _unforeseen(error)) from error
        shard.publish(scratch / "data")
        notes = scratch / "data" / NOTES
        return {
            "scores": json.loads((scratch / "data" / "results.json").read_text(encoding="utf-8")),
            "notes": json.loads(notes.read_text(encoding="utf-8")) if notes.exists() else [],
        }

    results = context.map(evaluate, {"evaluation": None}, here=True)["evaluation"]
    tasks = [*parameters.local_tasks(), *parameters.hub]
    return Outcome(
        {**results, "decontaminated": {task: task in parameters.decontaminated for task in tasks}}
    )


def _unforeseen(error: LaunchError) -> str:
    """What is known of a process that ended without saying why, in one message."""
    ended = error.how_it_ended("lower batch_size")
    return (
        f"the evaluation process {ended}. Finished tasks are kept.\n{error.tail.rstrip()}".rstrip()
    )


def not_held_out(selected: Sequence[Artifact]) -> dict[str, str]:
    """Category with training documents but no held-out ones -> why, from select's statistics."""
    documents, held_out = Counter[str](), Counter[str]()
    fractions: dict[str, set[float]] = {}
    compared: set[str] = set()
    for artifact in selected:
        heldout = artifact.manifest.parameters.get("heldout")
        for category, sides in artifact.statistics.get("categories", {}).items():
            if artifact.statistics.get("deduplicated", True):
                compared.add(category)
            documents[category] += sum(
                sides[side]["documents"] for side in ("training", "held_out")
            )
            held_out[category] += sides["held_out"]["documents"]
            fractions.setdefault(category, set()).update({heldout["fraction"]} if heldout else ())
    reasons = {}
    for category in sorted(set(documents) - set(+held_out)):
        if fractions[category]:
            shares = " and ".join(f"{fraction:g}" for fraction in sorted(fractions[category]))
            why = f"select.heldout.fraction {shares} took none of them; raise it"
        else:
            why = "select.heldout is null; set a fraction"
            if category not in compared:
                why = (
                    "nothing is held out where documents are not deduplicated (dedup: false of a "
                    "source, dedup: null of the recipe), as copies of it could be trained on"
                )
        reasons[category] = (
            f"none of its {documents[category]:,} documents is held out, so nothing is scored: "
            f"{why}"
        )
    return reasons


def _spec(context: Context, scratch: Path) -> dict[str, Any]:
    parameters: EvaluationParameters = context.parameters
    paths = {
        kind: {
            name: [str(file) for file in context.files(f"benchmarks.{name}.{kind}")]
            for name in parameters.local_tasks()
        }
        for kind in ("paths", "dev")
    }
    return {
        "model": str(_model(context, scratch)),
        "parameters": parameters.model_dump(mode="json"),
        "files": paths["paths"],
        "dev": paths["dev"],
        "heldout": _texts(context.many("heldout")),
        "earlier": _texts(context.many("earlier")),
        "output": str(scratch),
        "cpu_threads": context.cpu_threads,
        "not_held_out": not_held_out(context.many("heldout")),
    }


def _texts(selected: Sequence[Artifact]) -> dict[str, list[str]]:
    """Category -> files with its held-out text."""
    found: dict[str, list[str]] = {}
    for artifact in selected:
        for file in artifact.files(f"{HELD_OUT_FOLDER}/"):
            found.setdefault(file.split("/")[1], []).append(str(artifact.path(file)))
    return found


def _model(context: Context, scratch: Path) -> Path:
    if context.optional("model"):
        return context.input("model").folder(CHECKPOINT)
    if context.pins.get("model"):
        return open_base(context.folder("model", folder_of), scratch / "base")
    raise StageError(
        f"evaluation/{context.name}: no model to evaluate; set `model` to a folder with a "
        "checkpoint, or add a section that builds one"
    )
