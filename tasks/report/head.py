"""The top of the page: what was done to which base, what came of it, what it cost, where it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from infra.quantities import count, duration
from infra.store import Artifact
from tasks.benchmarks.scores import items, metrics
from tasks.report.blocks import Block, Cell, Code, Text, Tone, table
from tasks.report.notes import Inputs
from tasks.report.scores import LONG_TEXT, Change, is_whole

CHECKPOINT = "checkpoint/"
HEADLINES = 8
"""Changes that have a place of their own at the top; the others are in the table."""

STAGES_OF = {
    "data": (
        "ingest",
        "line_dedup",
        "langid",
        "quality",
        "labels",
        "classifier",
        "scores",
        "language_model",
        "perplexity",
    ),
    "deduplication": (
        "signatures",
        "decontaminate",
        "cut",
        "dedup",
        "neighbours",
        "semantic",
        "select",
    ),
    "model": ("tokenizer", "model", "binning"),
    "training": ("training",),
    "evaluation": ("evaluation",),
}


@dataclass(frozen=True)
class Headline:
    """A score of the run's last model against its first."""

    task: str
    metric: str
    before: str
    after: str
    change: str
    tone: Tone
    n: str


def sentence(inputs: Inputs, numbers: Mapping[str, Any]) -> str:
    """What was done to which base, in a sentence or two."""
    parts = [part for part in (_model(inputs, numbers), _data(inputs, numbers)) if part]
    return " ".join(parts)


def _model(inputs: Inputs, numbers: Mapping[str, Any]) -> str:
    models, phases = inputs.get("model", ()), inputs.get("training", ())
    if not models:
        names = list(numbers["scores"])
        return (
            f"{_listed(names)} {'was' if len(names) == 1 else 'were'} evaluated." if names else ""
        )
    parameters, found = models[0].manifest.parameters, models[0].statistics
    base = parameters.get("base")
    size = f"{count(found['parameters'])} parameters" if "parameters" in found else ""
    if base:
        begins = f"{name_of(base)}{f' ({size})' if size else ''}"
        done = [*_surgery(found, numbers)]
    else:
        begins, done = f"A new model{f' of {size}' if size else ''}", []
    if phases:
        tokens = sum(phase.statistics.get("tokens", 0) for phase in phases)
        kind = "was trained further" if base else "was trained"
        many = "in one phase" if len(phases) == 1 else f"in {len(phases)} phases"
        told = _listed([_phase(phase) for phase in phases], "then")
        done.append(f"{kind} on {count(tokens)} tokens {many}: {told}")
    if not done:
        return f"{begins} was made ready for training."
    return f"{begins} {_listed(done)}."


def name_of(base: str) -> str:
    """How a base is called: a folder's last name, a hub model's name, an artifact's place."""
    if base.startswith("artifact:"):
        return base.removeprefix("artifact:").partition("@")[0]
    if base.startswith("hf://"):
        return base.removeprefix("hf://")
    return PurePosixPath(base).name if base.startswith("/") else base


def _surgery(found: Mapping[str, Any], numbers: Mapping[str, Any]) -> Iterator[str]:
    if layers := found.get("layers"):
        of = found.get("layers_of_base", len(layers))
        if len(layers) != of:
            yield f"was cut from {of} layers to {len(layers)}"
    if new := found.get("new_tokens"):
        yield f"got {new:,} new tokens ({found['tokenizer_size']:,} in all)"


def _phase(phase: Artifact) -> str:
    parameters, found = phase.manifest.parameters, phase.statistics
    trained = parameters.get("trainable", "all")
    told = [] if trained == "all" else [f"{trained} only"]
    if adapter := parameters.get("adapter"):
        told.append(
            str(adapter.get("kind", "an adapter")) if isinstance(adapter, dict) else "an adapter"
        )
    rows = {name: drawn for name, drawn in found.get("rows", {}).items() if drawn}
    whole = sum(rows.values())
    told += [f"{drawn / whole:.0%} {name}" for name, drawn in rows.items()]
    return f"{phase.name} ({', '.join(told)})" if told else phase.name


def _data(inputs: Inputs, numbers: Mapping[str, Any]) -> str:
    trained_on = {artifact.name for artifact in inputs.get("select", ())}
    rows = [row for row in numbers["funnel"] if row["source"] in trained_on]
    if not rows:
        return ""
    read = sum(row["steps"][0]["documents"] for row in rows)
    kept = sum(row["steps"][-1]["documents"] for row in rows)
    names = _listed([row["source"] for row in rows]) if len(rows) <= 4 else f"{len(rows)} sources"
    return f"Its text is {kept:,} of the {read:,} records of {names}."


def _listed(words: Sequence[str], last: str = "and") -> str:
    if len(words) < 2:
        return "".join(words)
    comma = "," if last == "then" or len(words) > 2 else ""
    return f"{', '.join(words[:-1])}{comma} {last} {words[-1]}"


def headlines(numbers: Mapping[str, Any]) -> list[Headline]:
    """Each whole task's first metric, first model against last; none with fewer than two models."""
    scores = numbers["scores"]
    if len(scores) < 2:
        return []
    first = next(iter(scores.values()))
    last_name, last = list(scores.items())[-1]
    found = []
    for task, row in last.items():
        if not is_whole(task, scores) or task.startswith(f"{LONG_TEXT}/"):
            continue
        for metric in metrics(row)[:1]:
            changed = numbers["changes"].get(last_name, {}).get(task, {}).get(metric)
            if changed is None:
                continue
            change = Change(*changed)
            found.append(
                Headline(
                    task,
                    metric.replace("_", " "),
                    f"{first[task][metric]:.3f}",
                    f"{row[metric]:.3f}",
                    str(change),
                    change.tone(metric),
                    items(row, metric),
                )
            )
    return found


def cost(inputs: Inputs, dollars_per_hour: float | None = None) -> list[Block]:
    """Time by part, and money where the recipe states hardware.

    `dollars_per_hour`: of all accelerators together; the time that phases held them counts.
    """
    seconds = seconds_by_part(inputs)
    if not seconds:
        return []
    whole = sum(seconds.values())
    most = max(seconds.values())
    rows = [
        (part, Cell(duration(spent), bar=spent / most), f"{spent / whole:.0%}")
        for part, spent in seconds.items()
    ]
    held = held_s(inputs)
    told = f"{duration(whole)} in all, added up over stages, some of which ran side by side."
    if dollars_per_hour is not None and held:
        money = held / 3600 * dollars_per_hour
        told += (
            f" Training held its hardware for {duration(held)}: ${money:,.2f} at "
            f"${dollars_per_hour:,.2f} an hour."
        )
    return [Text(told), table("Time by part", ["part", "#time", "#share"], rows, compact=True)]


def seconds_by_part(inputs: Inputs) -> dict[str, float]:
    """Seconds that building took, added up over the artifacts of each part of the pipeline."""
    seconds = {
        part: sum(one.manifest.seconds for stage in stages for one in inputs.get(stage, ()))
        for part, stages in STAGES_OF.items()
    }
    known = {stage for stages in STAGES_OF.values() for stage in stages}
    rest = sum(
        one.manifest.seconds
        for stage, given in inputs.items()
        if stage not in known
        for one in given
    )
    return {part: spent for part, spent in (seconds | {"other": rest}).items() if spent}


def held_s(inputs: Inputs) -> float:
    """Seconds that training phases held their hardware."""
    return float(
        sum(
            phase.statistics.get("time", {}).get("held_s") or 0.0
            for phase in inputs.get("training", ())
        )
    )


def final_model(inputs: Inputs) -> Artifact | None:
    """The last phase, or else the model before training."""
    found = [*inputs.get("model", ()), *inputs.get("training", ())]
    return found[-1] if found else None


def model_blocks(inputs: Inputs) -> list[Block]:
    """Where the model is, and the lines that load it."""
    artifact = final_model(inputs)
    if artifact is None:
        return []
    root = artifact.data.local_root
    path = (
        f"{root / CHECKPOINT.rstrip('/')}"
        if root
        else f"{artifact.data.url}/{CHECKPOINT.rstrip('/')}"
    )
    reference = f"{artifact.stage}/{artifact.name}@{artifact.version}"
    lines = [
        "from transformers import AutoModelForCausalLM as Model, AutoTokenizer as Tokenizer",
        f'path = "{path}"',
        "model, tokenizer = Model.from_pretrained(path), Tokenizer.from_pretrained(path)",
    ]
    copied = f"copy it with puna artifacts copy {reference} --to artifacts"
    where = "" if root else f" It is not on this machine: {copied}."
    return [
        Text(f"{reference}.{where}"),
        Code("\n".join(lines), "Three lines of Python that load the model"),
    ]
