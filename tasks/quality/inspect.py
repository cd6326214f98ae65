"""For `puna inspect`: the limits of a rule in a language, and its value for a text."""

from __future__ import annotations

from typing import Any

from infra.stage import StageError
from infra.store import Artifact
from tasks.quality.catalog import Settings
from tasks.quality.rules import Assessor
from tasks.quality.stage import QualityParameters
from tasks.quality.word_lists import read_word_lists


def assessor_of(artifact: Artifact) -> Assessor:
    """The rules as they applied to a source. Word lists that are gone by now leave
    `fineweb2.listed_words` without words.
    """
    given: dict[str, Any] = dict(artifact.manifest.parameters)
    parameters = QualityParameters.model_validate(given)
    pins = tuple(artifact.manifest.pins.get("word_lists", ()))
    try:
        lists = read_word_lists(pins, parameters.rules)
    except (OSError, StageError):
        lists = {}
    return Assessor(parameters.rules, parameters.settings, parameters.limits, lists)


def settings_of(assessor: Assessor, rule: str, text: str, language: str) -> Settings | None:
    """The settings that applied to a text; None if the rule is off for its language."""
    return assessor.settings(assessor.code(text, language)).get(rule)
