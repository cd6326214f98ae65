"""What transformers knows of a configuration's model family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def family_of(config: Mapping[str, Any]) -> Any | None:
    """transformers' class for the configuration, which has the family's defaults; None where it
    knows none.
    """
    from transformers import CONFIG_MAPPING

    # Its `get` is a plain dict's and finds nothing: classes are imported by [] alone.
    return (
        CONFIG_MAPPING[config["model_type"]] if config.get("model_type") in CONFIG_MAPPING else None
    )
