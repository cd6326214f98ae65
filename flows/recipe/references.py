"""References that a recipe may use in place of a path: another recipe's artifact, or the name of a
packaged file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

ARTIFACT_SCHEME = "artifact:"


def is_artifact(text: str) -> bool:
    """Whether a value names an artifact, rightly or not."""
    return text.startswith(ARTIFACT_SCHEME)


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
_MODEL_FILES = (".bin", ".ftz", ".gz")
"""What a fastText model's file ends in, and no name of a model on the hub."""

FASTTEXT_FILES = "model.bin|*.bin|*.ftz"
"""Where a repository of the hub has its fastText model: under the name that Meta's, GlotLID's and
OpenLID's have, or under another one, as OpenLID-v3's.
"""


def hub_model(reference: str) -> str | None:
    """The `hf://` reference of a name such as `org/name` or `org/name@revision`; None for what is
    none, or is a path here.
    """
    if not _HUB_NAME.fullmatch(reference) or Path(reference).exists():
        return None
    name, at, revision = reference.partition("@")
    return f"hf://{name}{at}{quote(revision, safe='')}"


def hub_fasttext_model(reference: str) -> str | None:
    """The `hf://` reference of the fastText model in a repository that is named as `org/name`,
    `org/name@revision` or `hf://org/name`; None for what is none, or names a file.
    """
    found = None if reference.endswith(_MODEL_FILES) else hub_model(reference)
    bare = reference.removeprefix("hf://").rstrip("/")
    if reference.startswith("hf://") and _HUB_NAME.fullmatch(bare):
        found = f"hf://{bare}"
    return found and f"{found}/{FASTTEXT_FILES}"


def may_be_hub_model(reference: str, path: tuple[str | int, ...]) -> bool:
    """Whether a parameter takes the names of models, and this may be one."""
    if path[-2:] == ("langid", "model") and reference.endswith(_MODEL_FILES):
        return False
    named = path in (("tokenizer", "base"), ("model", "base"), ("embeddings", "model"))
    named = named or path[-2:] == ("langid", "model")
    named = named or (path[:2] == ("evaluation", "models") and path[-1] == "model")
    quality = path[:1] in (("labels",), ("classifiers",)) and path[2:] == ("model",)
    named = named or (quality and not reference.endswith(_MODEL_FILES))
    return named and _HUB_NAME.fullmatch(reference) is not None


NAMED_FILES = {"lid.176": "tasks.langid.model:locate_model"}
"""Name of a file in an installed package -> the function that locates it."""
