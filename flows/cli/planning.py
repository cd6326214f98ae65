"""`puna plan`: what a recipe would do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.common import (
    EXIT_USAGE,
    ForceOption,
    FromOption,
    JsonOption,
    OnlyOption,
    PinOption,
    RecipeArgument,
    SetOption,
    StoreOption,
    UntilOption,
    put,
    read_request,
    refusals,
    say,
)

if TYPE_CHECKING:
    from rich.console import Console

    from flows.planning.prepare import Prepared
    from flows.planning.scale.answer import Answer
    from flows.planning.scale.cluster import Cluster


def plan(
    recipe: RecipeArgument,
    only: OnlyOption = None,
    from_stage: FromOption = None,
    until_stage: UntilOption = None,
    force: ForceOption = None,
    pin: PinOption = None,
    set_: SetOption = None,
    store: StoreOption = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            help="Draw learning rate, batch and mixture over tokens into this SVG file.",
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale",
            metavar="CLUSTER",
            help="Predict the data stages on a cluster instead: time, memory, requests, bytes, "
            "money, and the first two bottlenecks. A name (two-cores, workstation, aws-16, "
            "aws-100), a YAML file, or a map such as '{extends: aws-16, nodes: 4}'.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show each stage's version, whether the store holds it, why it must run, and what it will take
    by the store's history (≈); of crawls, what reading them takes; of training, what each phase
    does and takes; what tokenizes. Runs nothing.
    """
    from flows.planning import asking
    from flows.planning.encoders import encoders, in_lines
    from flows.planning.estimates import estimates, in_words
    from flows.planning.origin import origin_in_words, origin_of
    from flows.planning.phase_text import training_json, training_lines
    from flows.planning.prepare import prepare
    from flows.planning.reading import readings
    from flows.planning.searching import search_lines

    request = read_request(recipe, set_, store, only, from_stage, until_stage, force, pin)
    with refusals():
        cluster = None if scale is None else _cluster(scale)
        prepared = prepare(request)
        reading = readings(prepared.recipe, prepared.plan)
        tokenizing = encoders(prepared.plan, prepared.recipe.remote.access())
        questions = asking.costs(prepared.plan, prepared.store)
        expected = estimates(prepared.plan, prepared.store, prepared.phases)
        scaled = None if cluster is None else _scaled(prepared, reading.sources, cluster)
    stages = prepared.plan.to_json()
    warnings = [*prepared.warnings(), *reading.warnings]
    if picture is not None:
        _draw(prepared, picture)
    if as_json:
        found: dict[str, Any] = {"recipe": prepared.recipe.name, "stages": stages}
        found |= {"reading": reading.sources, "tokenizing": tokenizing, "warnings": warnings}
        found |= {"asking": {id: cost.to_json() for id, cost in questions.items()}}
        found |= {"expected": {id: made.to_json() for id, made in expected.items()}}
        if prepared.turn is not None:
            found["loop"] = prepared.turn.to_json()
        if (origin := origin_of(prepared.plan)) is not None:
            found["from"] = origin.identity
        if scaled is not None:
            found["scale"] = scaled.to_json()
        if prepared.searches:
            found["mixtures"] = [one.to_json() for one in prepared.searches]
        found |= training_json(prepared.phases, prepared.predicted, prepared.unpredicted)
        put(json.dumps(found, ensure_ascii=False))
        return
    from flows.monitoring.console import result_console, stage_table

    console = result_console()
    if scaled is not None:
        _show_scaled(console, scaled, warnings)
        return
    for line in prepared.turn.lines() if prepared.turn is not None else ():
        console.print(line, soft_wrap=True, highlight=False)
    console.print(stage_table(stages, {id: made.seconds for id, made in expected.items()}))
    for line in [*in_words(expected, prepared.plan), *reading.lines, *in_lines(tokenizing)]:
        console.print(line, soft_wrap=True, highlight=False)
    for line in asking.in_lines(questions):
        console.print(line, soft_wrap=True, highlight=False)
    for line in origin_in_words(prepared.recipe, prepared.plan):
        console.print(line, soft_wrap=True, highlight=False)
    for line in search_lines(list(prepared.searches)):
        console.print(line, soft_wrap=True, highlight=False)
    for line in training_lines(prepared.phases, prepared.predicted, prepared.unpredicted):
        console.print(line, soft_wrap=True, highlight=False)
    for warning in warnings:
        console.print(f"warning: {warning}", soft_wrap=True, highlight=False)


def _cluster(given: str) -> Cluster:
    from flows.planning.scale.cluster import read_cluster

    return read_cluster(given)


def _scaled(prepared: Prepared, readings: dict[str, dict[str, Any]], cluster: Cluster) -> Answer:
    from flows.planning.scale.answer import answer

    return answer(prepared.recipe, prepared.plan, prepared.store, readings, cluster)


def _show_scaled(console: Console, scaled: Answer, warnings: list[str]) -> None:
    from flows.monitoring.console import scale_table
    from flows.planning.scale.table import COLUMNS, lines, rows

    console.print(scaled.cluster.in_words(), soft_wrap=True, highlight=False)
    console.print(scale_table(COLUMNS, rows(scaled)))
    for line in [*lines(scaled), *(f"warning: {warning}" for warning in warnings)]:
        console.print(line, soft_wrap=True, highlight=False)


def _draw(prepared: Prepared, file: Path) -> None:
    """Write the picture of the plan; ends with a sentence if there is nothing to draw."""
    from infra.io.files import replace_bytes
    from tasks.training.predict.picture import drawn, plan_svg

    phases = drawn(prepared.phases)
    if not phases:
        say(
            "error: --picture: no phase has a length yet; state its tokens, or run the recipe "
            "--until binning first"
        )
        raise typer.Exit(EXIT_USAGE)
    try:
        replace_bytes(file, plan_svg(prepared.recipe.name, phases).encode())
    except OSError as error:
        say(f"error: --picture {file}: {error.strerror}; name a file that can be written")
        raise typer.Exit(EXIT_USAGE) from None
    say(f"picture: {file}")
