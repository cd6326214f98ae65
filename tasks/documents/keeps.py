"""What cut applied to a source, from its artifact: what `puna inspect` holds columns against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.documents.keep import BucketKeep, LanguageKeep, RulesKeep
from tasks.documents.scoring import SourceClassifier


@dataclass(frozen=True)
class Keeps:
    """What cut applied to a source; the fields are those of `tasks.cut.stage.SourceCut`.

    `cutoffs`: language -> perplexities (head, middle). `known`: whether a cut has read the source.
    """

    known: bool = False
    langid: LanguageKeep | None = None
    quality: RulesKeep | None = None
    perplexity: BucketKeep | None = None
    category: str | Mapping[str, Any] | None = None
    decontaminate: str = "report"
    passage_share: float = 1.0
    cutoffs: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    classifiers: Mapping[str, SourceClassifier] = field(default_factory=dict)
    limits: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    """Classifier -> language -> the scores at which its curve changes."""
    classifier: str = ""
    """The one in question, of stage scores."""

    @classmethod
    def of(cls, source: str, parameters: Mapping[str, Any], statistics: Mapping[str, Any]) -> Keeps:
        """The keeps of a source, from the manifest of a cut artifact."""
        given = parameters["sources"][source]
        langid, quality, perplexity = (given[name] for name in ("langid", "quality", "perplexity"))
        return cls(
            known=True,
            langid=LanguageKeep.model_validate(langid) if langid else None,
            quality=RulesKeep.model_validate(quality) if quality else None,
            perplexity=BucketKeep.model_validate(perplexity) if perplexity else None,
            category=given["category"],
            decontaminate=given["decontaminate"],
            passage_share=given["passage_share"],
            cutoffs={
                cut["language"]: (cut["head"], cut["middle"])
                for cut in statistics["cutoffs"]
                if source in cut["sources"]
            },
            classifiers={
                name: SourceClassifier.model_validate(section)
                for name, section in given.get("classifiers", {}).items()
            },
            limits=_limits(source, statistics.get("curves", ())),
        )


def _limits(
    source: str, curves: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, tuple[float, ...]]]:
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    for curve in curves:
        if curve["source"] == source:
            values = tuple(value for value, _ in curve["limits"])
            found.setdefault(curve["classifier"], {})[curve["language"]] = values
    return found
