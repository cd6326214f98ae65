"""`classifier.json`: how a classifier's files become scores.

A model gives a margin, larger for better documents. `slope` and `offset` make a score of it:
`probability` is Platt's sigmoid of slope * margin + offset, `value` that number itself (a rubric's
score, or the output of a model trained elsewhere).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from infra.stage import StageError
from infra.store import Artifact

FILE = "classifier.json"

Kind = Literal["fasttext", "linear", "head"]


def sigmoid(z_N: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """1 / (1 + exp(-z)), without overflow."""
    small = np.exp(-np.abs(z_N))
    found: npt.NDArray[np.float64] = np.where(z_N >= 0, 1 / (1 + small), small / (1 + small))
    return found


@dataclass(frozen=True)
class ScorerMeta:
    """See the module docstring.

    `label`: of fastText and of a head with several outputs, the one whose probability counts.
    `languages`: those whose documents get a score; None: all. `preparation`, `max_characters`: of
    fastText. `max_tokens`: of a head. `embedding`: of a linear probe, how the vectors that
    it reads are made (`tasks.documents.vectors`).
    """

    kind: Kind
    output: Literal["probability", "value"]
    slope: float = 1.0
    offset: float = 0.0
    label: str = ""
    languages: tuple[str, ...] | None = None
    preparation: Literal["plain", "words"] = "plain"
    max_characters: int = 10_000
    max_tokens: int = 512
    embedding: dict[str, Any] | None = None
    device: str = "cpu"

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), sort_keys=True, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, artifact: Artifact) -> ScorerMeta:
        """That of a classifier. Raises `StageError` for one that this version cannot read."""
        try:
            values: dict[str, Any] = json.loads(artifact.path(FILE).read_text(encoding="utf-8"))
            if values.get("languages") is not None:
                values["languages"] = tuple(values["languages"])
            return cls(**values)
        except (ValueError, TypeError) as error:
            raise StageError(
                f"{artifact.identity}: {FILE} cannot be read ({error}); make the classifier again"
            ) from None

    def scores(self, margins_N: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The score of each margin; NaN stays NaN."""
        z = self.slope * margins_N + self.offset
        return z if self.output == "value" else sigmoid(z)

    def scores_language(self, language: str) -> bool:
        """Whether documents in a language get a score."""
        return self.languages is None or language in self.languages
