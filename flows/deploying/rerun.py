"""The flow `puna-stage`: one stage of a recipe, from a short form on the dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from prefect import State, flow
from prefect.runtime import flow_run
from pydantic import WithJsonSchema

from flows.pipeline import pipeline
from flows.planning.wiring import STAGES
from flows.recipe.secrets import Plain

StageName = Annotated[
    str, WithJsonSchema({"type": "string", "enum": [stage.name for stage in STAGES]})
]


def _run_name() -> str:
    """`demo: langid/zh-web`."""
    given = flow_run.get_parameters()
    return f"{Path(given['recipe']).stem}: {_step(given['stage'], given.get('name', ''))}"


def _step(stage: str, name: str) -> str:
    return f"{stage}/{name}" if name else stage


@flow(name="puna-stage", flow_run_name=_run_name, persist_result=False, validate_parameters=False)
def rerun(
    recipe: Plain,
    stage: StageName,
    name: str = "",
    force: bool = False,
    overrides: Sequence[Plain] = (),
    pin: Sequence[Plain] = (),
    store: Plain = "",
) -> dict[str, Any] | State:
    """Run one stage of a recipe. Nothing before it is computed again, and nothing after it.

    Args:
        recipe: The recipe's path where the worker runs.
        stage: The stage to run.
        name: Only that source, category, phase or model; all of the stage if empty.
        force: Build it again even if the store has it.
        overrides: Values of the recipe to change, such as training.optimizer.lr=1e-4. They are
            stored and shown: credentials are refused.
        pin: Versions to use of stages before it, such as tokenizer/main=3fa91c.
        store: URL of the store, instead of the recipe's.
    """
    step = _step(stage, name)
    ran: dict[str, Any] | State = pipeline.fn(
        recipe,
        overrides=overrides,
        only=[step],
        force=[step] if force else (),
        pin=pin,
        store=store,
    )
    return ran
