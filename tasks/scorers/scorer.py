"""A classifier's artifact as a function from documents to scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.store import Artifact
from tasks.scorers.meta import ScorerMeta


@dataclass(frozen=True)
class Scorer:
    """Picklable; models are loaded where they are used, on any machine. `files`: of fastText or the
    probe a file, of a head a folder.
    """

    meta: ScorerMeta
    files: Path

    @classmethod
    def of(cls, artifact: Artifact) -> Scorer:
        """That of a classifier; its files are fetched."""
        from tasks.scorers import heads, linear
        from tasks.scorers.fasttext_scorer import MODEL_FILE

        meta = ScorerMeta.read(artifact)
        if meta.kind == "head":
            return cls(meta, artifact.folder(heads.FOLDER))
        name = MODEL_FILE if meta.kind == "fasttext" else linear.MODEL_FILE
        return cls(meta, artifact.path(name))

    def margins(self, texts: list[str], vectors_ND: Any = None) -> npt.NDArray[np.float64]:
        """The margin of each of N documents; NaN for those that it cannot judge."""
        if self.meta.kind == "fasttext":
            from tasks.scorers import fasttext_scorer

            return fasttext_scorer.margins(str(self.files), self.meta, texts)
        if self.meta.kind == "linear":
            from tasks.scorers.linear import Probe

            return Probe.read(self.files).margins(np.asarray(vectors_ND, np.float64))
        from tasks.scorers import heads

        return heads.margins(str(self.files), self.meta, texts)

    def scores(self, texts: list[str], vectors_ND: Any = None) -> npt.NDArray[np.float64]:
        """The score of each document; NaN as above."""
        return self.meta.scores(self.margins(texts, vectors_ND))
