"""Checks between sections: settings that a stage would refuse, or silently ignore.

All of them follow from the recipe alone, so they are reported before anything is read rather than
by a stage that runs after hours of work. A problem starts with the dotted path of its setting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.recipe.checks.classifiers import check_classifiers
from flows.recipe.checks.dedup import check_dedup
from flows.recipe.checks.embeddings import check_embeddings
from flows.recipe.checks.evaluation import (
    check_evaluated_models,
    check_evaluation,
    check_searched_benchmarks,
    check_tasks_exist,
)
from flows.recipe.checks.loop import check_loop
from flows.recipe.checks.mixtures import check_mixtures
from flows.recipe.checks.models import check_model, check_new_rows, check_phases, check_watched
from flows.recipe.checks.sources import (
    check_block_lists,
    check_categories,
    check_language_models,
    check_language_settings,
    check_languages,
)

if TYPE_CHECKING:
    from flows.recipe.sections import Recipe


def problems_between(recipe: Recipe) -> list[str]:
    """One problem per setting that does not fit another section."""
    return [
        *check_categories(recipe),
        *check_languages(recipe),
        *check_language_models(recipe),
        *check_classifiers(recipe),
        *check_dedup(recipe),
        *check_embeddings(recipe),
        *check_searched_benchmarks(recipe),
        *check_tasks_exist(recipe),
        *check_model(recipe),
        *check_evaluated_models(recipe),
        *check_mixtures(recipe),
        *check_phases(recipe),
        *check_language_settings(recipe),
        *check_block_lists(recipe),
        *check_new_rows(recipe),
        *check_watched(recipe),
        *check_evaluation(recipe),
        *check_loop(recipe),
    ]
