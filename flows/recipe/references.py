"""References that a recipe may use in place of a path: another recipe's artifact, or the name of a
packaged file.
"""

from __future__ import annotations

from dataclasses import dataclass

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


NAMED_FILES = {"lid.176": "tasks.langid.model:locate_model"}
"""Name of a file in an installed package -> the function that locates it."""
