"""The page of two runs beside each other: what changed in the recipe, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from infra.differences import differences
from infra.quantities import counted
from tasks.benchmarks.samples import Answers, Key, read_answers
from tasks.benchmarks.scores import items_of_all, metrics
from tasks.report import head
from tasks.report.blocks import Block, Cell, Code, Fold, Section, Table, Text, Value, section, table
from tasks.report.draw import Top, draw
from tasks.report.head import Headline
from tasks.report.notes import Inputs
from tasks.report.scores import Change, change, is_whole
from tasks.report.summary import summary
from tasks.report.warnings import warnings

LABEL_CHARACTERS = 18
"""A longer title is not repeated in tables."""

VALUE_CHARACTERS = 400
"""A value of a recipe that is longer is cut."""

Numbers = Mapping[str, float]
"""Name -> a number that both runs may have."""


@dataclass(frozen=True)
class Side:
    """One of the two runs."""

    title: str
    inputs: Inputs
    stated: Mapping[str, Any] = field(default_factory=dict)
    """Its recipe as it was read; empty where it is not known."""
    label: str = ""
    """What tables call it: its title, or less where that is long."""

    @property
    def final(self) -> str:
        """The model that it evaluated last; "" for none."""
        evaluated = self.inputs.get("evaluation", ())
        return evaluated[-1].name if evaluated else ""


def compare(first: Side, second: Side) -> str:
    """The HTML page."""
    first, second = sides = (_labelled(first, "first"), _labelled(second, "second"))
    numbers = (summary(first.inputs), summary(second.inputs))
    changed = score_changes(sides, numbers)
    told = tuple(
        f"{_introduced(side)}: {head.sentence(side.inputs, found)}"
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


def _introduced(side: Side) -> str:
    return side.title if side.label == side.title else f"{side.label} ({side.title})"


def _labelled(side: Side, short: str) -> Side:
    return replace(side, label=side.title if len(side.title) <= LABEL_CHARACTERS else short)


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


@dataclass(frozen=True)
class ScoreRow:
    """A score of both final models; None where one has no value."""

    task: str
    metric: str
    n: str
    before: float | None
    after: float | None
    change: Change | None
    headline: bool
    """Whether it is the first metric of a whole task."""


def score_changes(
    sides: tuple[Side, Side], numbers: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> list[ScoreRow]:
    """Every score of the final models, tasks in the order of the second run."""
    found = [
        given["scores"].get(side.final, {}) for side, given in zip(sides, numbers, strict=True)
    ]
    answers: list[Mapping[Key, Answers]] = [
        read_answers(evaluated[-1]) if (evaluated := side.inputs.get("evaluation", ())) else {}
        for side in sides
    ]
    rows = []
    for task in dict.fromkeys([*found[1], *found[0]]):
        before, after = (given.get(task, {}) for given in found)
        names = list(dict.fromkeys([*metrics(after), *metrics(before)]))
        whole = is_whole(task, {"": {**found[0], **found[1]}})
        for place, metric in enumerate(names):
            both = (answers[0].get((task, metric)), answers[1].get((task, metric)))
            rows.append(
                ScoreRow(
                    task,
                    metric,
                    items_of_all([before, after], metric),
                    before.get(metric),
                    after.get(metric),
                    change(before, after, metric, both),
                    whole and place == 0,
                )
            )
    return sorted(rows, key=lambda row: not row.headline)


def scores(sides: tuple[Side, Side], rows: Sequence[ScoreRow]) -> Section | None:
    """Scores of the final models, groups folded below."""
    if not rows:
        return None
    told = (
        "Scores of the last model of each run, and the change ± its error. Where both answered the "
        "same items, that is the error of the items' own differences (paired)."
    )
    shown = [row for row in rows if row.headline]
    rest = [row for row in rows if not row.headline]
    blocks: list[Block] = [Text(told), _score_table("Scores", sides, shown)]
    if rest:
        blocks.append(Fold("Other metrics and groups", (_score_table("Others", sides, rest),)))
    return section("Scores", *blocks)


def _score_table(caption: str, sides: tuple[Side, Side], rows: Sequence[ScoreRow]) -> Table:
    lines: list[tuple[Value, ...]] = []
    for row in rows:
        values = [None if value is None else f"{value:.3f}" for value in (row.before, row.after)]
        changed = (
            None
            if row.change is None
            else Cell(
                f"{row.change}{', paired' if row.change.paired else ''}",
                text_tone=row.change.tone(row.metric),
            )
        )
        lines.append((row.task, row.metric, row.n, *values, changed))
    columns = ["task", "metric", "#n", *(f"#{side.label}" for side in sides), "#change"]
    return table(caption, columns, lines)


def pairs(title: str, sides: tuple[Side, Side], found: Sequence[Numbers]) -> Section | None:
    """Numbers of both runs with their change, those that are equal folded."""
    rows: list[tuple[Value, ...]] = []
    same: list[tuple[Value, ...]] = []
    for name in dict.fromkeys([*found[0], *found[1]]):
        before, after = (given.get(name) for given in found)
        changed = ""
        if before is not None and after is not None and before != after:
            ratio = f" ({after / before - 1:+.1%})" if before else ""
            changed = f"{_signed(after - before)}{ratio}".replace("-", "−")
        row = (name, _number(before), _number(after), changed)
        (same if before == after else rows).append(row)
    if not rows and not same:
        return None
    columns = ["what", *(f"#{side.label}" for side in sides)]
    blocks: list[Block] = [Text("The same in both.")]
    if rows:
        blocks = [table(title, [*columns, "#change"], rows)]
    if same:
        equal = table("The same in both", columns, [row[:3] for row in same])
        blocks.append(Fold(f"{len(same)} that are the same", (equal,)))
    return section(title, *blocks)


def _number(value: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.4g}"


def _signed(value: float) -> str:
    return f"{value:+,.0f}" if float(value).is_integer() else f"{value:+,.4g}"


def funnel_numbers(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Documents after each step, and why others were dropped."""
    steps = {
        f"{row['source']} after {step['step']}": step["documents"]
        for row in numbers["funnel"]
        for step in row["steps"]
    }
    lost = {
        f"{row['source']} lost to {row['reason']}": row["documents"] for row in numbers["reasons"]
    }
    found = numbers["duplicates"]
    return steps | lost | {f"{kind} duplicates": found[kind] for kind in ("exact", "near") if found}


def language_numbers(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Documents by language, and perplexity cut-offs."""
    counts = {f"documents in {row['language']}": row["documents"] for row in numbers["languages"]}
    cuts = {
        f"perplexity of {cut['language']}, {name}": cut[name]
        for cut in numbers["cutoffs"]
        for name in ("head", "middle")
    }
    return counts | cuts


def model_numbers(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Sizes of tokenizer and model, compression, and tokens to train on."""
    found: dict[str, float] = {}
    tokenizer, model = numbers["tokenizer"], numbers["model"]
    found |= {
        f"tokenizer: {key.replace('_', ' ')}": tokenizer[key]
        for key in ("size", "new_tokens")
        if key in tokenizer
    }
    for kind in ("categories", "languages"):
        for name, group in tokenizer.get(kind, {}).items():
            found[f"tokens per character of {name}"] = group["tokens_per_character_after"]
    sizes = [key for key in ("parameters", "matrix_rows") if key in model]
    found |= {f"model: {key.replace('_', ' ')}": model[key] for key in sizes}
    for category, bins in numbers["bins"].items():
        found |= {f"{category}: {key}": bins[key] for key in ("documents", "tokens", "rows")}
    return found


def training_numbers(inputs: Inputs) -> dict[str, float]:
    """Of each phase: tokens, steps, losses, seconds, rows by category."""
    found: dict[str, float] = {}
    for phase in inputs.get("training", ()):
        statistics = phase.statistics
        for key in ("tokens", "steps", "loss_first", "loss_last", "skipped_steps"):
            if statistics.get(key) is not None:
                found[f"{phase.name}: {key.replace('_', ' ')}"] = statistics[key]
        rows = statistics.get("rows", {}).items()
        found |= {f"{phase.name}: rows of {category}": drawn for category, drawn in rows}
    return found


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
