"""Finds the model family of a configuration in transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def family_of(config: Mapping[str, Any]) -> Any | None:
    """transformers' configuration class of the family, which has its defaults; None if unknown."""
    # by its own path: the package replaces itself in sys.modules when it has been imported, and a
    # thread that has waited for that meanwhile holds the one without names
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if config.get("model_type") not in CONFIG_MAPPING:
        return None
    # Not `get`, which finds nothing: only [] imports the class.
    return CONFIG_MAPPING[config["model_type"]]
