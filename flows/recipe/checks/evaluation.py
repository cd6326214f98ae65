"""Checks of benchmarks: what decontamination and evaluation name exists and can be run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, get_args

from flows.recipe.checks.names import unknown_names
from flows.recipe.errors import nearest
from flows.recipe.references import ArtifactReference, is_artifact
from tasks.benchmarks.model import QuestionProtocol
from tasks.evaluation.stage import cannot_be_asked

if TYPE_CHECKING:
    from flows.recipe.evaluated import EvaluationSection
    from flows.recipe.sections import Recipe


def check_searched_benchmarks(recipe: Recipe) -> list[str]:
    """The benchmarks that decontamination looks for are in the recipe."""
    section = recipe.decontaminate
    if section is None:
        return []
    if section.against is None and not recipe.benchmarks:
        return ["decontaminate: there is no benchmark to search for; add a benchmarks section"]
    return unknown_names("decontaminate.against", section.against, recipe.benchmarks)


def check_tasks_exist(recipe: Recipe) -> list[str]:
    """The tasks that evaluation asks are in the recipe."""
    tasks = recipe.evaluation.tasks if recipe.evaluation else ()
    return unknown_names("evaluation.tasks", tasks, recipe.benchmarks)


def check_evaluated_models(recipe: Recipe) -> list[str]:
    """The models that evaluation names exist, each under a name of its own."""
    section = recipe.evaluation
    if section is None:
        return []
    problems = [
        f"evaluation.{name}: is set by the plan; remove it"
        for name in ("benchmarks", "decontaminated", "model")
        if name in section.model_fields_set
    ]
    phases = [phase.name for phase in recipe.training.phases] if recipe.training else []
    problems += [
        f"training.phases.{name}: evaluation uses {name!r} for the {kind} model; rename the phase"
        for name, kind in (("base", "base"), ("model", "untrained"))
        if name in phases
    ]
    known = []
    if recipe.model is not None:
        known += ["base", "model"] if recipe.model.base else ["model"]
    elif recipe.training is not None and recipe.training.origin is not None:
        known.append("base")
    known += phases
    own = [name for name in section.models or () if isinstance(name, str)]
    problems += unknown_names("evaluation.models", own, known)
    problems += _check_others(recipe, known)
    if not known and not recipe.other_models():
        problems.append("evaluation: there is no model; add a model section")
    return problems


def _check_others(recipe: Recipe, known: Sequence[str]) -> Iterator[str]:
    """Models of elsewhere have names of their own, and are models."""
    names = recipe.evaluated_models()
    yield from (
        f"evaluation.models: {name!r} is named twice, and a table has one column of a name; rename "
        "or remove one"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    )
    for name, model in recipe.other_models().items():
        if name in (*known, "base", "model"):
            yield f"evaluation.models: {name!r} is a model of this recipe; rename the other one"
        if not is_artifact(model):
            continue
        try:
            stage = ArtifactReference.parse(model).stage
        except ValueError as error:
            yield f"evaluation.models: {name}: {error}"
            continue
        if stage not in ("model", "training"):
            yield (
                f"evaluation.models: {name}: an artifact of stage {stage} is no model; name one of "
                "training (artifact:RECIPE/training/PHASE@TAG) or model"
            )


def check_evaluation(recipe: Recipe) -> Iterator[str]:
    """Everything that evaluation asks for can be run."""
    section = recipe.evaluation
    if section is None:
        return
    yield from _check_tasks(recipe, section)
    yield from _check_shots(recipe, section)
    yield from _check_heldout_text(recipe, section)
    yield from _check_room(recipe, section)
    positions = recipe.model.positions if recipe.model else None
    if section.max_length is not None and positions is not None and section.max_length > positions:
        yield (
            f"evaluation.max_length: {section.max_length:,} is more than the model's {positions:,} "
            "positions (model.create.max_position_embeddings or model.context.positions); lower it"
        )


def _check_tasks(recipe: Recipe, section: EvaluationSection) -> Iterator[str]:
    asks_questions = not set(get_args(QuestionProtocol)).isdisjoint(section.protocols)
    for task in section.tasks:
        benchmark = recipe.benchmarks.get(task)
        if benchmark is not None and asks_questions and not benchmark.asked_by(section.protocols):
            yield f"evaluation.tasks: {task!r}: {cannot_be_asked(benchmark, section.protocols)}"
        if task in section.hub:
            yield (
                f"evaluation.hub: {task!r} is also the name of a benchmark of this recipe; rename "
                "the benchmark"
            )
    if section.hub and "harness" not in section.protocols:
        yield "evaluation.hub: only the protocol harness runs these; add it to evaluation.protocols"
    reads_text = "bits-per-byte" in section.protocols or section.long_text is not None
    if asks_questions and not (section.tasks or section.hub or reads_text):
        listed = (
            f" (this recipe has: {', '.join(recipe.benchmarks)})"
            if recipe.benchmarks
            else ", and a benchmarks section"
        )
        yield (
            f"evaluation.tasks: there is nothing to evaluate; name tasks{listed}, or write "
            "protocols: [bits-per-byte]"
        )
    elif not section.protocols and not reads_text:
        yield (
            "evaluation.protocols: is empty, so nothing is evaluated; name harness, first-token, "
            "exact-match or bits-per-byte"
        )


def _check_room(recipe: Recipe, section: EvaluationSection) -> Iterator[str]:
    """Answers that are written leave room for the prompt, where the recipe states the positions of
    its models. Those of other models are read when they are there.
    """
    known = positions_of_models(recipe)
    smallest = min((known[m] for m in recipe.evaluated_models() if m in known), default=None)
    smallest = min((n for n in (smallest, section.max_length) if n is not None), default=None)
    if smallest is None:
        return
    for task in section.tasks:
        benchmark = recipe.benchmarks.get(task)
        if benchmark is None or "exact-match" not in benchmark.asked_by(section.protocols):
            continue
        tokens = benchmark.resolved_generation().tokens
        if tokens >= smallest:
            yield (
                f"benchmarks.{task}.generation.tokens: an answer of up to {tokens:,} tokens leaves "
                f"no room for its prompt in the {smallest:,} positions of a model (model.create, "
                "model.context or a phase's context); lower it"
            )


def positions_of_models(recipe: Recipe) -> dict[str, int]:
    """Model of this recipe -> its positions, of those for which the recipe states them."""
    positions = recipe.model.positions if recipe.model else None
    found = {"model": positions}
    for phase in recipe.training.phases if recipe.training else ():
        positions = (phase.context.positions if phase.context else None) or positions
        found[phase.name] = positions
    return {name: stated for name, stated in found.items() if stated is not None}


def _check_shots(recipe: Recipe, section: EvaluationSection) -> Iterator[str]:
    tasks = [*section.tasks, *section.hub]
    for task, shots in section.shots.items():
        if task not in tasks:
            listed = ", ".join(tasks) or "none"
            yield (
                f"evaluation.shots: {task!r} is not among the tasks{nearest(task, tasks)}; "
                f"evaluation.tasks and evaluation.hub name: {listed}"
            )
        elif shots and task in recipe.benchmarks and not recipe.benchmarks[task].dev:
            yield (
                f"evaluation.shots: {shots} for {task!r} needs worked examples; name their files "
                f"under benchmarks.{task}.dev"
            )


def _check_heldout_text(recipe: Recipe, section: EvaluationSection) -> Iterator[str]:
    if recipe.select.heldout is not None and recipe.categories():
        return
    why = "select.heldout is null" if recipe.categories() else "no source has a category"
    reads_heldout = {
        "protocols: bits-per-byte": "bits-per-byte" in section.protocols,
        "long_text": section.long_text is not None,
    }
    for setting, is_set in reads_heldout.items():
        if is_set:
            yield (
                f"evaluation.{setting} reads held-out text, and {why}; hold some out, or remove "
                "the key"
            )
