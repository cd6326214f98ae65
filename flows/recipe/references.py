"""References that a recipe may use in place of a path: another recipe's artifact, or the name of a
packaged file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ARTIFACT_SCHEME = "artifact:"


@dataclass(frozen=True)
class ArtifactReference:
    """Another recipe's artifact, `artifact:RECIPE/STAGE/NAME@TAG-or-version`, as an input."""

    recipe: str
    stage: str
    name: str
    selector: str

    @classmethod
    def parse(cls, text: str) -> ArtifactReference:
        """Raises `ValueError` for anything but the form above."""
        path, _, selector = text.removeprefix(ARTIFACT_SCHEME).partition("@")
        words = path.split("/")
        if len(words) != 3 or not all(words):
            raise ValueError(
                f"{text!r} is not artifact:RECIPE/STAGE/NAME@TAG, such as "
                "artifact:demo-base/training/basic@latest"
            )
        recipe, stage, name = words
        return cls(recipe, stage, name, selector or "latest")

    def __str__(self) -> str:
        return f"{ARTIFACT_SCHEME}{self.recipe}/{self.stage}/{self.name}@{self.selector}"


_HUB_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(?:@[\w./-]+)?")
_HUB_BASES = (("tokenizer", "base"), ("model", "base"))
"""Parameters that may name a model of the Hugging Face hub."""


def hub_model(reference: str) -> str | None:
    """The `hf://` reference of a name such as `org/name` or `org/name@revision`; None for what is
    none, or is a path here.
    """
    if not _HUB_NAME.fullmatch(reference) or Path(reference).exists():
        return None
    return f"hf://{reference}"


def may_be_hub_model(reference: str, path: tuple[str | int, ...]) -> bool:
    """Whether a parameter takes the names of models, and this may be one."""
    return path in _HUB_BASES and _HUB_NAME.fullmatch(reference) is not None


NAMED_FILES = {"lid.176": "tasks.langid.model:locate_model"}
"""Name of a file in an installed package -> the function that locates it."""
