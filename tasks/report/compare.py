"""The page of two runs beside each other: what changed in the recipe, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from infra.differences import differences
from infra.quantities import counted
from tasks.report import head
from tasks.report.blocks import Block, Cell, Code, Section, Text, Value, section, table
from tasks.report.compare_numbers import (
    funnel_numbers,
    language_numbers,
    model_numbers,
    pairs,
    training_numbers,
)
from tasks.report.compare_scores import score_changes, scores
from tasks.report.draw import Top, draw
from tasks.report.head import Headline
from tasks.report.notes import Inputs
from tasks.report.side import Side
from tasks.report.summary import summary
from tasks.report.warnings import warnings

VALUE_CHARACTERS = 400
"""A value of a recipe that is longer is cut."""


def compare(first: Side, second: Side) -> str:
    """The HTML page."""
    first, second = sides = (first.labelled("first"), second.labelled("second"))
    numbers = (summary(first.inputs), summary(second.inputs))
    changed = score_changes(sides, numbers)
    told = tuple(
        f"{side.introduced}: {head.sentence(side.inputs, found)}"
        for side, found in zip(sides, numbers, strict=True)
    )
    sections = (
        recipes(first, second),
        scores(sides, changed),
        pairs("Documents", sides, [funnel_numbers(found) for found in numbers]),
        pairs("Languages", sides, [language_numbers(found) for found in numbers]),
        pairs("Tokenizer, model and bins", sides, [model_numbers(found) for found in numbers]),
        pairs("Training", sides, [training_numbers(side.inputs) for side in sides]),
        pairs("Seconds", sides, [head.seconds_by_part(side.inputs) for side in sides]),
        artifacts(first, second),
        models(sides),
    )
    top = Top(
        title=f"{first.title} and {second.title}",
        told=told,
        made="Two runs, the change from the first to the second.",
        warnings=tuple(_warnings(sides, numbers)),
        headlines=tuple(
            Headline(
                row.task,
                row.metric.replace("_", " "),
                f"{row.before:.3f}",
                f"{row.after:.3f}",
                str(row.change),
                row.change.tone(row.metric),
                row.n,
            )
            for row in changed[: head.HEADLINES]
            if row.change is not None and row.headline
        ),
        models=(f"{first.label} ({first.final})", f"{second.label} ({second.final})"),
    )
    return draw(top, [one for one in sections if one is not None])


def _warnings(
    sides: tuple[Side, Side], numbers: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> Iterator[str]:
    """Those of both runs, each once."""
    said: dict[str, list[str]] = {}
    for side, found in zip(sides, numbers, strict=True):
        for warning in warnings(side.inputs, found):
            said.setdefault(warning, []).append(side.label)
    for warning, titles in said.items():
        yield f"{' and '.join(titles)}: {warning}"


def recipes(first: Side, second: Side) -> Section | None:
    """What changed in the recipe, by the dotted key."""
    if not first.stated or not second.stated:
        return section(
            "What changed in the recipe",
            Text("Not known: at least one of the runs was reported before reports held recipes."),
        )
    rows = [
        (key, _shown(before), _shown(after))
        for key, before, after in differences(_by_name(first.stated), _by_name(second.stated))
    ]
    if not rows:
        return section("What changed in the recipe", Text("Nothing: the recipes are the same."))
    columns = ["key", first.label, second.label]
    return section("What changed in the recipe", table(counted(len(rows), "change"), columns, rows))


def _by_name(stated: Any) -> Any:
    """A recipe with lists of named things (phases) as maps, so that the same things are compared;
    without keys that are null.
    """
    if isinstance(stated, Mapping):
        return {key: _by_name(value) for key, value in stated.items() if value is not None}
    if isinstance(stated, list) and stated and all(_is_named(item) for item in stated):
        return {item["name"]: _by_name(item) for item in stated}
    return stated


def _is_named(item: Any) -> bool:
    return isinstance(item, Mapping) and "name" in item


def _shown(value: Any) -> str | None:
    """A value in the words of YAML, on one line; None for one that is not there."""
    if value is None or isinstance(value, str):
        return value
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**6
    )
    text = text.removesuffix("\n").removesuffix("\n...")
    return text if len(text) <= VALUE_CHARACTERS else f"{text[:VALUE_CHARACTERS]}…"


def artifacts(first: Side, second: Side) -> Section | None:
    """Which artifacts the runs share, and which they do not."""
    found = [_versions(side.inputs) for side in (first, second)]
    names = dict.fromkeys([*found[0], *found[1]])
    rows: list[tuple[Value, ...]] = [
        (name, *(Cell(given.get(name, "–"), code=True) for given in found))
        for name in names
        if found[0].get(name) != found[1].get(name)
    ]
    shared = len(names) - len(rows)
    told = Text(f"{shared} of {len(names)} artifacts are the same in both runs.")
    other = table("Different versions", ["artifact", first.label, second.label], rows)
    return section("Artifacts", told, *([other] if rows else []))


def _versions(inputs: Inputs) -> dict[str, str]:
    return {f"{one.stage}/{one.name}": one.version for given in inputs.values() for one in given}


def models(sides: tuple[Side, Side]) -> Section | None:
    """Where both models are."""
    return section("Models", *_model_lines(sides))


def _model_lines(sides: tuple[Side, Side]) -> Iterator[Block]:
    for side in sides:
        for block in head.model_blocks(side.inputs):
            if isinstance(block, Code):
                yield Code(block.text, f"{block.label} of {side.label}")
            elif isinstance(block, Text):
                yield Text(f"{side.label}: {block.text}")
