"""Writes what is computed on the pages of recipes, docs/recipes/*.md: plans at true size beside
published figures, and what the small twins trained (not a test).

    python tests/benchmarks/recipes/pages.py            all pages, pictures too
    python tests/benchmarks/recipes/pages.py llama-1    those of some recipes
    python tests/benchmarks/recipes/pages.py --plans    without the small twins, which must have run
                                                        before (make recipes)

A page has the places: what stands between `<!-- KIND RECIPE -->` and `<!-- end -->` is replaced.

| kind | is |
|---|---|
| plan | the stages, and what `puna plan` prints of the training |
| curves | the picture of the plan, as `puna plan --picture` draws it |
| figures | published figures, planned ones and why they differ; several recipes may be named |
| others | hours of other models of the same source, and the MFU that these are |
| drawn | mixture, batch and learning rate by phase: published, of the recipe, of the twin's steps |
| scores | what the twin's models score, beside the published figures of the suite |
| picture | the twin's steps over the recipe's plan and the published table |

Plans need neither network nor data; a test compares them with the pages.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from flows.planning.phase_text import training_lines
from flows.planning.prepare import Prepared, prepare
from flows.planning.request import RunRequest
from flows.running.results import Results
from infra.quantities import duration
from tasks.benchmarks.scores import chance_of, counting, is_guessing
from tasks.benchmarks.scores import published as suite_figures
from tasks.training.predict.picture import plan_svg
from tests.benchmarks.recipes.pictures import draw, drawn_phases, drawn_rows, logs
from tests.benchmarks.recipes.published import Planned, figure_rows, other_rows, published

ROOT = Path(__file__).resolve().parents[3]
PAGES = ROOT / "docs" / "recipes"
IMAGES = ROOT / "docs" / "images" / "recipes"
PLACE = re.compile(r"(<!-- (\w+) ([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)


@functools.cache
def prepared(name: str) -> Prepared:
    """A recipe of `configs`, planned."""
    return prepare(RunRequest.of(ROOT / "configs" / f"{name}.yaml"))


def planned(name: str) -> Planned:
    """The totals of a recipe's plan."""
    found = prepared(name)
    if found.predicted is None:
        raise SystemExit(f"{name}: {found.unpredicted}")
    tokens = sum(phase.tokens or 0 for phase in found.phases)
    steps = sum(phase.steps or 0 for phase in found.phases)
    return Planned(tokens, steps, found.predicted)


def plan(name: str) -> str:
    """How many stages there are, and what `puna plan` prints of the training."""
    found = prepared(name)
    stages = Counter(step.node.stage.name for step in found.plan.steps.values())
    named = ", ".join(f"{stage} {n}" if n > 1 else stage for stage, n in stages.items())
    told = textwrap.wrap(f"{stages.total()} stages: {named}", 80, subsequent_indent="  ")
    lines = training_lines(found.phases, found.predicted, found.unpredicted)
    return "\n".join(["```text", *told, *(line.rstrip() for line in lines), "```"])


def curves(name: str) -> str:
    """The picture of the plan; written anew."""
    found = prepared(name)
    file = IMAGES / f"{found.recipe.name}-plan.svg"
    file.write_text(plan_svg(found.recipe.name, drawn_phases(found)), encoding="utf-8")
    return f"![Learning rate, batch and mixture of {name}](../images/recipes/{file.name})"


def figures(names: str) -> str:
    """Published figures of some recipes, planned ones, and why they differ."""
    rows, sources = [], {}
    several = len(names.split()) > 1
    for name in names.split():
        stated = published()[name]
        sources = stated["sources"] | sources
        for row in figure_rows(stated, planned(name)):
            rows.append([f"{name}: {row[0]}" if several else row[0], *row[1:]])
    said = ". ".join(f"[{key}]: {source}" for key, source in sources.items())
    return f"{table(['', 'published', 'planned', 'difference', 'why'], rows)}\n\nSources. {said}."


def others(name: str) -> str:
    """Hours of other models, and the MFU that these are by the plan's count."""
    hardware = planned(name).prediction.hardware
    if hardware is None:
        raise SystemExit(f"{name} states no hardware")
    length = prepared(name).phases[0].sequence_length
    rows = other_rows(published()[name], hardware.accelerator, length)
    return table(["model", "tokens", f"hours of an {hardware.accelerator}", "MFU"], rows)


def drawn(name: str) -> str:
    """Mixture, batch and learning rate by phase: published, planned, and drawn by the twin."""
    twin = prepared(f"{name}-small")
    rows = drawn_rows(
        published()[name].get("phases", {}), prepared(name).phases, twin.phases, logs(twin)
    )
    return table(["phase", "", "published", "recipe", "twin's plan", "twin's steps"], rows)


def scores(name: str) -> str:
    """Scores of the twin's models by the metric that counts, beside published ones."""
    twin = prepared(f"{name}-small")
    found = Results(twin.plan).to_json(None, "nothing to do")
    by_model: dict[str, dict[str, dict[str, Any]]] = found["scores"]
    if not by_model:
        raise SystemExit(f"{name}-small has no scores; run it first: make recipes")
    tasks = list(dict.fromkeys(task for of_model in by_model.values() for task in of_model))
    rows, systems = [], dict[str, None]()
    suite = twin.recipe.evaluation is not None and twin.recipe.evaluation.suite
    for task in tasks:
        told = [of_model.get(task, {}) for of_model in by_model.values()]
        metric = next((m[0] for row in told if (m := counting(row))), None)
        if metric is None or ("/" in task and not task.startswith("heldout/")):
            continue
        beside = suite_figures(told, task, metric)
        system = published().get(name, {}).get("system") or next(iter(beside), "")
        systems |= dict.fromkeys([system] if beside else [])
        guess = next((c for row in told if (c := chance_of(row, metric)) is not None), None)
        items = next((row["n"] for row in told if row.get("n")), 0)
        rows.append(
            [
                f"{task} ({metric})",
                f"{items:,}",
                "" if guess is None else f"{guess:.2f}",
                *(_score(row, metric) for row in told),
                *([f"{100 * beside[system]:.1f} %" if beside else ""] if suite else []),
            ]
        )
    head = ["task", "items", "guessing", *by_model, *systems]
    stages = [s.artifact for s in twin.plan.steps.values() if s.artifact is not None]
    took = sum(artifact.manifest.seconds for artifact in stages)
    trained = sum(a.manifest.seconds for a in stages if a.stage == "training")
    told = f"{len(stages)} stages, {duration(took)} of work, {duration(trained)} of them training"
    cost = twin.predicted.cost if twin.predicted is not None else None
    foreseen = f"; the plan said {duration(cost.seconds)} of training" if cost else ""
    told += f", on two cores that others used too{foreseen}."
    if systems:
        told += " Exams ask about the demo's country in each task's form; published scores are of"
        told += " the real questions."
    return f"{told}\n\n{table(head, rows)}"


def _score(row: dict[str, Any], metric: str) -> str:
    value = row.get(metric)
    if value is None:
        return "-"
    error, chance = row.get(f"{metric}_stderr"), chance_of(row, metric)
    words = f"{value:.3f}" + (f" ± {error:.3f}" if error is not None else "")
    guessed = chance is not None and row.get("n") and is_guessing(value, chance, row["n"])
    return f"{words} (chance)" if guessed else words


def picture(name: str) -> str:
    """The picture of the twin's steps over the plan; written anew."""
    large, small = prepared(name), prepared(f"{name}-small")
    file = IMAGES / f"{large.recipe.name}.png"
    draw(
        large.recipe.name,
        drawn_phases(large),
        drawn_phases(small),
        logs(small),
        file,
        published()[name].get("phases", {}),
    )
    return f"![Steps of {small.recipe.name} over the plan of {name}](../images/recipes/{file.name})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)


PLANS: dict[str, Callable[[str], str]] = {"plan": plan, "figures": figures, "others": others}
CURVES: dict[str, Callable[[str], str]] = {"curves": curves}
TWINS: dict[str, Callable[[str], str]] = {"drawn": drawn, "scores": scores, "picture": picture}


def filled(text: str, kinds: dict[str, Callable[[str], str]], names: Sequence[str] = ()) -> str:
    """A page with what is computed in its places; others stay as they are."""

    def replace(match: re.Match[str]) -> str:
        begin, kind, named, end = match.groups()
        if kind not in kinds or (names and not set(named.split()) & set(names)):
            return match[0]
        return f"{begin}{kinds[kind](named)}\n{end}"

    return PLACE.sub(replace, text)


def main() -> None:
    """Fill in the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", metavar="RECIPE")
    parser.add_argument("--plans", action="store_true", help="without what the small twins did")
    given = parser.parse_args()
    os.chdir(ROOT)
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        kinds = PLANS | CURVES | ({} if given.plans else TWINS)
        new = filled(text, kinds, given.names)
        if new != text:
            page.write_text(new, encoding="utf-8")
            print(f"{page.relative_to(ROOT)} written")


if __name__ == "__main__":
    main()
