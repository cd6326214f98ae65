"""For `puna inspect`: the limits of a rule in a language, and its value for a text."""

from __future__ import annotations

from collections.abc import Mapping

from infra.ledger import UNDETERMINED
from tasks.quality.catalog import UNSPACED, Settings, settings_for
from tasks.quality.rules import MEASURES
from tasks.quality.view import View, looks_unspaced

Overrides = Mapping[str, Mapping[str, Settings | None]]
"""`QualityParameters.settings`."""


def settings_of(rule: str, text: str, language: str, overrides: Overrides) -> Settings | None:
    """The settings that applied to a text; None if the rule is off for its language."""
    return settings_for(_code(text, language), overrides).get(rule)


def value_of(rule: str, text: str, language: str, overrides: Overrides) -> float | None:
    """What the rule measures of a text, as the stage does; None if it is off."""
    settings = settings_of(rule, text, language, overrides)
    if settings is None:
        return None
    view = View(text, unspaced=_code(text, language) in UNSPACED)
    return float(MEASURES[rule](view, settings))


def _code(text: str, language: str) -> str:
    """As in `tasks.quality.rules.Assessor.failures`."""
    return "zh" if language == UNDETERMINED and looks_unspaced(text) else language
