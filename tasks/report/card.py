"""The card of a model or data set on the hub: what it is, its scores, what it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import yaml

from infra.quantities import count
from infra.store import Artifact
from tasks.benchmarks.scores import (
    asked_words,
    chance_of,
    counting,
    items,
    lower_is_better,
    metrics,
    published,
    score_words,
    sources_of,
)
from tasks.report.contents import Contents
from tasks.report.head import name_of, sentence
from tasks.report.notes import Inputs
from tasks.report.origin import all_artifacts
from tasks.report.scores import Change
from tasks.report.summary import summary
from tasks.report.warnings import warnings

LANGUAGES_NAMED = 0.01
"""A language of less than this share of the documents is not named at the top."""

ROWS_SHOWN = 20

UNDETECTED = "und"


@dataclass(frozen=True)
class Subject:
    """What a card is of: an artifact, its run's artifacts and recipe, and its name on the hub."""

    artifact: Artifact
    repository: str
    inputs: Inputs
    recipe: Mapping[str, Any]
    contents: Contents
    licence: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """The base of its run, as the recipe states it; "" for a new model."""
        models = self.inputs.get("model", ())
        return str((models[0].manifest.parameters.get("base") or "") if models else "")


def card(subject: Subject) -> str:
    """The card in Markdown, with the hub's metadata at the top."""
    is_model = subject.artifact.stage in ("model", "training")
    numbers = subject.numbers or summary(subject.inputs)
    parts = [
        *_head(subject, numbers, is_model),
        *(_use_of_model(subject) if is_model else _use_of_data(subject)),
        *(_scores(subject, numbers) if is_model else ()),
        *(_training(subject) if subject.artifact.stage == "training" else ()),
        *_contents(subject.contents, subject.artifact.stage),
        *_licence(subject, is_model),
        *_lineage(subject),
        *_recipe(subject),
    ]
    metadata = yaml.safe_dump(_metadata(subject, numbers, is_model), sort_keys=False)
    return f"---\n{metadata}---\n\n" + "\n\n".join(parts) + "\n"


def _metadata(subject: Subject, numbers: Mapping[str, Any], is_model: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    whole = sum(subject.contents.languages.values())
    named = [
        language
        for language, documents in subject.contents.languages.most_common()
        if language != UNDETECTED and documents >= LANGUAGES_NAMED * whole
    ]
    if named:
        found["language"] = named
    if subject.licence:
        found["license"] = subject.licence
    if not is_model:
        return {**found, "tags": ["puna"], "task_categories": ["text-generation"]}
    if subject.base.startswith("hf://"):
        found["base_model"] = name_of(subject.base).partition("@")[0]
    if datasets := _hub_datasets(subject.inputs):
        found["datasets"] = datasets
    found |= {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["puna"]}
    results = [*_results(subject, numbers)]
    if results:
        name = subject.repository.partition("/")[2]
        found["model-index"] = [{"name": name, "results": results}]
    return found


def _hub_datasets(inputs: Inputs) -> list[str]:
    stated = [artifact.manifest.parameters for artifact in inputs.get("ingest", ())]
    return sorted({str(given["dataset"]) for given in stated if given.get("dataset")})


def _results(subject: Subject, numbers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The hub's `model-index`: the metric that counts of each whole task."""
    for task, row in _tasks(numbers["scores"].get(subject.artifact.name, {})):
        metric = counting(row)[0]
        if row.get(metric) is not None:
            yield {
                "task": {"type": "text-generation"},
                "dataset": {"name": task, "type": task},
                "metrics": [{"type": metric, "value": round(row[metric], 6)}],
            }


def _tasks(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows of tasks with a metric, without those of their groups."""
    for task, row in rows.items():
        parent = task.rpartition("/")[0]
        if metrics(row) and parent not in rows:
            yield task, row


def _head(subject: Subject, numbers: Mapping[str, Any], is_model: bool) -> Iterator[str]:
    yield f"# {subject.repository.partition('/')[2]}"
    yield escaped(sentence(subject.inputs, numbers))
    if is_model and (said := warnings(subject.inputs, numbers)):
        yield "Know before you use it:\n\n" + "\n".join(f"- {escaped(text)}" for text in said)


def _use_of_model(subject: Subject) -> Iterator[str]:
    name = subject.repository
    yield (
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'model = AutoModelForCausalLM.from_pretrained("{name}")\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")\n```'
    )


def _use_of_data(subject: Subject) -> Iterator[str]:
    if subject.artifact.stage == "select":
        yield (
            "JSON lines by category: `target` is the text (`source`, if any, comes before it and "
            "is not learnt), with id, URL, language and place of origin.\n\n"
            f'```python\nfrom datasets import load_dataset\n\ndata = load_dataset("'
            f'{subject.repository}", split="train")\n```'
        )
        return
    length = subject.artifact.statistics.get("sequence_length", 0)
    yield (
        f"Rows of {length:,} tokens, packed without loss, with the borders of their documents: "
        'download the repository, then `datasets.load_from_disk("bin-00")`.'
    )


def _scores(subject: Subject, numbers: Mapping[str, Any]) -> Iterator[str]:
    scores = numbers["scores"]
    mine = scores.get(subject.artifact.name)
    if not mine:
        yield "## Scores\n\nThis model was not evaluated."
        return
    first = next(iter(scores))
    is_first = first == subject.artifact.name
    names = ["task", "metric", "n", "guessing", "this model"]
    names += [] if is_first else [f"{escaped(first)}", "change"]
    rows = []
    figures: list[tuple[str, str, Mapping[str, float]]] = []
    for task, row in _tasks(mine):
        for metric in metrics(row):
            direction = " (lower is better)" if lower_is_better(metric) else ""
            chance = chance_of(row, metric)
            guessing = "" if chance is None else f"{chance:.3f}"
            line = [escaped(task), f"{metric.replace('_', ' ')}{direction}", items(row, metric)]
            line += [guessing, score_words(row, metric)]
            if not is_first:
                changed = numbers["changes"].get(subject.artifact.name, {}).get(task, {})
                found = changed.get(metric)
                line.append(score_words(scores[first].get(task, {}), metric))
                line.append(str(Change(*found)) if found else "")
            rows.append(line)
            if known := published([row], task, metric):
                figures.append((task, metric, known))
    yield (
        "## Scores\n\nValues with their standard errors; changes are paired, item by item, where "
        "both models answered the same ones. (chance): no better than guessing."
    )
    yield markdown_table(names, rows, right=range(2, len(names)))
    if asked := _asked(mine):
        yield "How they were asked: " + "; ".join(asked) + "."
    yield from _published(figures, mine)


def _asked(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How tasks were asked, and which: "0 shots, BOS, harness (piqa, boolq)"."""
    tasks: dict[str, dict[str, None]] = {}
    for task, row in _tasks(rows):
        for metric in metrics(row):
            if words := asked_words(row, metric):
                tasks.setdefault(words, {})[escaped(task)] = None
    return [f"{words} ({', '.join(names)})" for words, names in tasks.items()]


def _published(
    figures: Sequence[tuple[str, str, Mapping[str, float]]],
    rows: Mapping[str, Mapping[str, Any]],
) -> Iterator[str]:
    """Figures of other systems beside this model's, and where they are from."""
    if not figures:
        return
    systems = list(dict.fromkeys(system for _, _, known in figures for system in known))
    lines = [
        [
            escaped(task),
            metric.replace("_", " "),
            score_words(rows[task], metric),
            *(f"{known[system]:.3f}" if system in known else "" for system in systems),
        ]
        for task, metric, known in figures
    ]
    yield "### Published figures\n\n" + " ".join(sources_of(rows.values()))
    names = ["task", "metric", "this model", *map(escaped, systems)]
    yield markdown_table(names, lines, right=range(2, len(names)))


def _training(subject: Subject) -> Iterator[str]:
    rows = []
    for phase in subject.inputs.get("training", ()):
        stated, found = phase.manifest.parameters, phase.statistics
        drawn = {name: value for name, value in found.get("rows", {}).items() if value}
        whole = sum(drawn.values()) or 1
        rows.append(
            [
                phase.name,
                count(found.get("tokens", 0)),
                str(found.get("steps", "")),
                f"{stated['optimizer']['lr']:g}" if "optimizer" in stated else "",
                ", ".join(f"{value / whole:.0%} {name}" for name, value in drawn.items()),
            ]
        )
        if phase.identity == subject.artifact.identity:
            break
    yield "## Training"
    yield markdown_table(["phase", "tokens", "steps", "peak lr", "drawn from"], rows, range(1, 4))


def _contents(found: Contents, stage: str) -> Iterator[str]:
    if not found.documents:
        return
    of = "Training content" if stage in ("model", "training") else "Content"
    yield f"## {of}\n\n{found.documents:,} documents, {found.bytes:,} bytes of text."
    sources = [[name, f"{n:,}", f"{size:,}"] for name, (n, size) in found.sources.items()]
    yield markdown_table(["source", "documents", "bytes"], sources, right=(1, 2))
    for title, counts in (
        ("language", found.languages),
        ("domain", found.domains),
        ("licence", found.licences),
    ):
        if not counts:
            continue
        rows = [
            ["not detected" if name == UNDETECTED else escaped(name), f"{n:,}"]
            for name, n in counts.most_common(ROWS_SHOWN)
        ]
        if (rest := len(counts) - ROWS_SHOWN) > 0:
            others = sum(counts.values()) - sum(n for _, n in counts.most_common(ROWS_SHOWN))
            rows.append([f"{rest:,} others", f"{others:,}"])
        yield markdown_table([title, "documents"], rows, right=(1,))


def _licence(subject: Subject, is_model: bool) -> Iterator[str]:
    said = f"`{subject.licence}`." if subject.licence else "None was stated when this was pushed."
    if is_model and subject.base:
        said += f" The terms of its base ({escaped(name_of(subject.base))}) apply as well"
        said += ", as do those of the text." if subject.contents.documents else "."
    yield f"## Licence\n\n{said}"


def _lineage(subject: Subject) -> Iterator[str]:
    rows = [
        [f"`{artifact.identity}`", f"`{artifact.manifest.digest[:12]}`"]
        for artifact in all_artifacts(subject.inputs)
    ]
    yield "## Lineage\n\nMade by puna; each number above can be followed to these artifacts."
    yield markdown_table(["artifact", "sha256 of its data"], rows)


def _recipe(subject: Subject) -> Iterator[str]:
    if subject.recipe:
        text = yaml.safe_dump(without_machine(subject.recipe), sort_keys=False, allow_unicode=True)
        fenced = f"```yaml\n{text.replace('```', '` ` `')}```"
        yield f"<details><summary>The recipe, with its defaults</summary>\n\n{fenced}\n\n</details>"


_OF_A_MACHINE = ("store", "engine", "remote")
"""Parts of a recipe that say where it ran."""


def without_machine(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without what is of the machine that ran it; of its paths, the last name is left."""
    return {key: _named(value) for key, value in recipe.items() if key not in _OF_A_MACHINE}


def _named(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _named(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_named(inner) for inner in value]
    if isinstance(value, str) and PurePath(value).is_absolute():
        return f".../{PurePath(value).name}"
    return value


def markdown_table(
    names: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] | range = ()
) -> str:
    """A table; columns `right` are aligned to the right."""
    rule = ["--:" if number in right else ":--" for number in range(len(names))]
    lines = [names, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """Text from outside (URLs, names) that no Markdown or HTML in it can leave its place."""
    plain = " ".join(text.split())
    for mark in "\\`*_[]<>|#":
        plain = plain.replace(mark, f"\\{mark}" if mark != "<" else "&lt;")
    return plain
