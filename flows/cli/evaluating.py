"""The command that evaluates: a recipe's models, or any model's folder with a suite."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from flows.cli.common import (
    EXIT_USAGE,
    JsonOption,
    SetOption,
    StoreOption,
    own_recipe,
    read_request,
    say,
)
from flows.cli.interrupts import importing, interruptible


def evaluate(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE|FOLDER",
            help="A recipe, or the folder of a model in Hugging Face format.",
            show_default=False,
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="Only that model (base, model or a phase); repeatable."),
    ] = None,
    suite: Annotated[
        str | None, typer.Option("--suite", help="Of a folder: the suite, such as tinyllama.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Of a folder: where the suite's files are.")
    ] = None,
    tasks: Annotated[
        str | None, typer.Option("--tasks", help="Of a folder: only these tasks, with commas.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Of a folder: the first N items of each task.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Evaluate again even if the store has the scores.")
    ] = False,
    set_: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a recipe's models that are in the store, or a model's folder with a suite, and print
    the benchmark table.

    Scores of a folder are kept in the store too (./artifacts by default); a killed evaluation goes
    on with the task that it was at.
    """
    of_folder = {"--suite": suite, "--data": data, "--tasks": tasks, "--limit": limit}
    with interruptible(), tempfile.TemporaryDirectory() as scratch:
        if recipe.is_dir():
            if model:
                _refuse("--model names a model of a recipe; leave it out for a folder")
            written = folder_recipe(recipe, suite, data, tasks, limit)
            recipe = Path(scratch) / f"{written['name']}.yaml"
            own_recipe(recipe)
            recipe.write_text(json.dumps(written, ensure_ascii=False), encoding="utf-8")
            store = store or "artifacts"
        elif given := [option for option, value in of_folder.items() if value is not None]:
            what = "is a recipe" if recipe.exists() else "does not exist"
            _refuse(
                f"{given[0]} is for the folder of a model, and {recipe} {what}; name a folder, or "
                "write it into the recipe's evaluation section"
            )
        stages = [f"evaluation/{name}" for name in model] if model else ["evaluation"]
        with importing():
            from flows.cli.running import run_request

            request = read_request(
                recipe, set_, store, stages, None, None, stages if force else None, None
            )
        run_request(request, as_json)


def folder_recipe(
    folder: Path, suite: str | None, data: Path | None, tasks: str | None, limit: int | None
) -> dict[str, Any]:
    """The recipe that evaluates the model in a folder; ends the command if options are missing."""
    from flows.recipe.errors import nearest
    from tasks.benchmarks import suites
    from tasks.checkpoints.base_config import config_of

    if config_of(folder) is None:
        _refuse(
            f"{folder} has no config.json that can be read; name the folder of a model in Hugging "
            "Face format"
        )
    if suite is None or data is None:
        lacking = "--suite" if suite is None else "--data"
        _refuse(
            f"{lacking} is missing; a folder is evaluated with --suite "
            f"{suite or '|'.join(suites.names())} --data FOLDER"
        )
    if suite not in suites.names():
        known = list(suites.names())
        hint = nearest(suite, known)
        _refuse(f"--suite: {suite!r} is no suite{hint}; there are: {', '.join(known)}")
    if not data.is_dir():
        _refuse(f"--data: {data} is no folder; name the one with the suite's files")
    if limit is not None and limit < 1:
        _refuse(f"--limit: {limit} is no number of items; write 1 or more, or leave it out")
    known = list(suites.suite(suite).tasks)
    wanted = known if tasks is None else [t.strip() for t in tasks.split(",") if t.strip()]
    if unknown := [task for task in wanted if task not in known]:
        _refuse(f"--tasks: {unknown[0]} is no task of suite {suite}; it has: {', '.join(known)}")
    if not wanted:
        _refuse("--tasks: names no task; name some, with commas")
    _require_files(suite, data, wanted)
    section: dict[str, Any] = {"models": ["base"], "suite": suite, "data": str(data.absolute())}
    recipe: dict[str, Any] = {
        "name": _name(folder),
        "model": {"base": str(folder.resolve())},
        "evaluation": section,
    }
    if limit is not None:
        section["limit"] = limit
    if left_out := [task for task in known if task not in wanted]:
        recipe["benchmarks"] = dict.fromkeys(left_out)
    return recipe


def _require_files(suite: str, data: Path, wanted: Sequence[str]) -> None:
    """End the command if files of wanted tasks are missing."""
    from tasks.benchmarks import suites

    missing = {task: suites.benchmark(suite, task, str(data.absolute()))[1] for task in wanted}
    if not any(missing.values()):
        return
    there = ",".join(task for task, problem in missing.items() if not problem)
    say("\n".join(problem for problem in missing.values() if problem))
    _refuse(
        f"{data} lacks files of {sum(map(bool, missing.values()))} of {len(wanted)} tasks (above); "
        "put them there" + (f", or leave these tasks out with --tasks {there}" if there else "")
    )


def _name(folder: Path) -> str:
    """The folder's name, as a recipe may have it."""
    return re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "model"


def _refuse(problem: str) -> NoReturn:
    say(f"error: {problem}")
    raise typer.Exit(EXIT_USAGE)
