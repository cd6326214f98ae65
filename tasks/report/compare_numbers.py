"""Other numbers of two runs beside each other: documents, languages, sizes, training, time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.report.blocks import Block, Fold, Section, Text, Value, section, table
from tasks.report.notes import Inputs
from tasks.report.side import Side

Numbers = Mapping[str, float]
"""Name -> a number that both runs may have."""


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
