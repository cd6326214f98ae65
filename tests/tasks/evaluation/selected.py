"""Select artifacts with held-out text of some categories, for evaluation to read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.context import Context
from infra.stage import Outcome, Parameters, Stage
from infra.store import Artifact, Shard
from tests.stage_harness import run_stage


class SelectedParameters(Parameters):
    """Category -> texts to train on, texts held out; `heldout` as in `tasks.select.stage`."""

    training: dict[str, tuple[str, ...]]
    held_out: dict[str, tuple[str, ...]]
    heldout: dict[str, float] | None = None


def write(context: Context) -> Outcome:
    """The stage's function."""
    parameters: SelectedParameters = context.parameters
    sides = (("training", "", parameters.training), ("held_out", "heldout/", parameters.held_out))
    files = {
        f"{prefix}{category}/part-0.jsonl": texts
        for _, prefix, side in sides
        for category, texts in side.items()
    }
    context.map(_write, {"files": files}, here=True)
    categories = {
        category: {side: {"documents": len(texts.get(category, ()))} for side, _, texts in sides}
        for category in sorted({*parameters.training, *parameters.held_out})
    }
    return Outcome({"categories": categories})


def _write(files: Mapping[str, tuple[str, ...]], shard: Shard) -> dict[str, Any]:
    for name, texts in files.items():
        with shard.create(name) as path:
            path.write_text(
                "".join(json.dumps({"source": "", "target": text}) + "\n" for text in texts)
            )
    return {}


def selected(name: str, tmp_path: Path, **parameters: Any) -> Artifact:
    """A select artifact for the source `name`; see `SelectedParameters`."""
    stage = Stage(
        "select", 1, SelectedParameters, "tests.tasks.evaluation.selected:write", "writes texts"
    )
    return run_stage(
        stage, SelectedParameters.model_validate(parameters), name=name, tmp_path=tmp_path
    )
