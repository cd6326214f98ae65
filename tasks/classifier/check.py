"""What is wrong with a classifier that was trained elsewhere, seen from its files' names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from infra.stage import Fault, Pin
from tasks.classifier.stage import ClassifierParameters

if TYPE_CHECKING:
    from infra.remote.access import Access

_FASTTEXT = (".bin", ".ftz")


def faults(
    parameters: ClassifierParameters, pins: Mapping[str, tuple[Pin, ...]], access: Access
) -> Iterator[Fault]:
    """A file that is no fastText model, or a folder that holds no classifier's files."""
    names = [pin.name for pin in pins.get("model", ())]
    if not names or (len(names) == 1 and names[0].endswith(_FASTTEXT)):
        return
    if not any(name.rpartition("/")[2] == "config.json" for name in names):
        yield Fault(
            "model",
            "holds no config.json and is no fastText file (.bin, .ftz); name a classifier's "
            "folder or file",
        )
    elif not any(name.endswith(".safetensors") for name in names):
        yield Fault(
            "model",
            "has no weights as safetensors, and no others are read; convert it, or name another",
        )
