"""What is wrong with a chat model that a rubric names, seen from its files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from infra.remote.locations import is_remote
from infra.stage import Fault, Pin
from tasks.labels.stage import LabelsParameters

if TYPE_CHECKING:
    from infra.remote.access import Access


def faults(
    parameters: LabelsParameters, pins: Mapping[str, tuple[Pin, ...]], access: Access
) -> Iterator[Fault]:
    """Files that are missing, and a model without a chat template."""
    files = {pin.name.rpartition("/")[2]: pin for pin in pins.get("model", ())}
    if not files:
        return
    if "config.json" not in files:
        yield Fault("model", "has no config.json; name the folder of a chat model")
    elif not any(name.endswith(".safetensors") for name in files):
        yield Fault("model", "has no weights as safetensors, and no others are read; convert it")
    elif not _may_have_template(files):
        yield Fault(
            "model",
            "has no chat template (chat_template in tokenizer_config.json, or "
            "chat_template.jinja), so it is no chat model; name an instruct or chat variant",
        )


def _may_have_template(files: Mapping[str, Pin]) -> bool:
    if "chat_template.jinja" in files or "chat_template.json" in files:
        return True
    config = files.get("tokenizer_config.json")
    if config is None:
        return False
    if is_remote(config.path):
        return True  # the stage says so after it is fetched
    try:
        found = json.loads(Path(config.path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True  # the stage reports what is unreadable
    return isinstance(found, dict) and bool(found.get("chat_template"))
