"""The `keep` grammar: which documents of an annotated source are kept, as the recipe says it.

    langid:      {keep: {languages: [zh], threshold: 0.65}}          LanguageKeep
    quality:     {keep: {rules: [gopher, c4], except: [gopher.stop_words]}}   RulesKeep
    classifiers: {edu: {keep: ">=0.5"}}                              ScoreKeep
    classifiers: {edu: {keep: {curve: {0: drop, 40: 1, 95: 4}}}}     Curve (curves.py)
    perplexity:  {keep: [head, middle]}                              BucketKeep

Only `cut` reads these models, no annotator, so that a changed threshold reruns cut and what
follows, nothing else. Equal meanings dump to equal JSON (sorted, without repeats), because the dump
is part of the version of `cut`. This module imports only pydantic and the standard library;
`tasks.documents.keep_columns` applies the models to columns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

import pydantic

from tasks.documents.curves import Curve

BUCKETS = ("head", "middle", "tail")
"""cc_net's buckets, from the least to the most surprising text."""

NO_LANGUAGE = "zxx"
"""ISO 639's code for text that is no language, which some models have a label for: noise."""

ALL_BUCKET = "all"
"""Bucket of a document without a perplexity (no model for its language), which always passes, as
in cc_net.
"""

Comparison = Literal[">=", ">", "<=", "<"]
_SCORE = re.compile(r"\s*(>=|>|<=|<)\s*([^\s]+)\s*")
_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")


class _Keep(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a name; write lower-case words joined by dots, such as "
            "'gopher.word_count'"
        )
    return value


Name = Annotated[str, pydantic.AfterValidator(_name)]
Script = Annotated[str, pydantic.Field(pattern=r"^[A-Z][a-z]{3}$")]
"""ISO 15924 code, such as `Hans`."""


class LanguageKeep(_Keep):
    """Keep documents in one of `languages` (unset: any, but not noise) and one of `scripts` (unset:
    any) with a score of at least `threshold`, or the language's own of `thresholds`.

    Scores and thresholds are in [0, 1]. Scripts are of models whose labels name one.
    """

    languages: tuple[str, ...] | None = None
    scripts: tuple[Script, ...] | None = None
    threshold: float = pydantic.Field(default=0.5, ge=0.0, le=1.0)
    thresholds: dict[str, Annotated[float, pydantic.Field(ge=0.0, le=1.0)]] = pydantic.Field(
        default_factory=dict
    )

    @pydantic.field_validator("languages")
    @classmethod
    def _canonical(cls, languages: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if languages is None:
            return None
        if not languages:
            raise ValueError(
                "an empty list of languages keeps nothing; name languages, or leave the key out "
                "for any"
            )
        blank = [language for language in languages if not language.strip()]
        if blank:
            raise ValueError(f"{blank[0]!r} is not a language code such as 'zh'")
        return tuple(sorted(set(languages)))

    @pydantic.field_validator("scripts")
    @classmethod
    def _canonical_scripts(cls, scripts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if scripts is not None and not scripts:
            raise ValueError(
                "an empty list of scripts keeps nothing; name scripts, or leave the key out for any"
            )
        return scripts and tuple(sorted(set(scripts)))

    @pydantic.field_validator("thresholds")
    @classmethod
    def _sorted(cls, thresholds: dict[str, float]) -> dict[str, float]:
        return dict(sorted(thresholds.items()))

    @pydantic.model_validator(mode="after")
    def _thresholds_of_languages_kept(self) -> Self:
        strangers = [name for name in self.thresholds if name not in (self.languages or (name,))]
        if strangers:
            raise ValueError(
                f"thresholds names {', '.join(strangers)}, which `languages` does not keep; remove "
                "it there, or keep the language"
            )
        return self


class RulesKeep(_Keep):
    """Keep documents that fail none of `rules`, except those in `except`.

    Both name rules, or groups of rules such as `gopher`.
    """

    rules: tuple[Name, ...] = pydantic.Field(min_length=1)
    exceptions: tuple[Name, ...] = pydantic.Field(default=(), alias="except")

    @pydantic.field_validator("rules", "exceptions")
    @classmethod
    def _canonical(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(names)))

    @pydantic.model_serializer
    def _dump(self) -> dict[str, list[str]]:
        return {"rules": list(self.rules), "except": list(self.exceptions)}

    def applies(self, rule: str) -> bool:
        """Whether failing `rule` drops a document."""
        return any(covers(name, rule) for name in self.rules) and not any(
            covers(name, rule) for name in self.exceptions
        )

    def unknown(self, annotated: Collection[str]) -> tuple[str, ...]:
        """Names that match none of the rules in `annotated`, so that they would drop nothing."""
        named = (*self.rules, *self.exceptions)
        return tuple(name for name in named if not any(covers(name, rule) for rule in annotated))


def covers(name: str, rule: str) -> bool:
    """Whether `name` is `rule` or a group that contains it, such as `gopher.repetition`."""
    return rule == name or rule.startswith(f"{name}.")


class BucketKeep(pydantic.RootModel[tuple[Literal["head", "middle", "tail"], ...]]):
    """Keep perplexity buckets, such as `[head, middle]`; no perplexity always passes."""

    model_config = pydantic.ConfigDict(frozen=True)

    @pydantic.field_validator("root")
    @classmethod
    def _canonical(
        cls, buckets: tuple[Literal["head", "middle", "tail"], ...]
    ) -> tuple[Literal["head", "middle", "tail"], ...]:
        if not buckets:
            raise ValueError(
                "an empty list of buckets keeps nothing; name some of head, middle, tail"
            )
        return tuple(sorted(set(buckets), key=BUCKETS.index))


class ScoreKeep(_Keep):
    """Keep by a comparison with a score, written `">=0.5"` or `"< 0.1"`.

    Dumps to the shortest spelling.
    """

    comparison: Comparison
    limit: float

    @pydantic.model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        parsed = isinstance(value, dict) and {*value} == {"comparison", "limit"}
        if parsed or isinstance(value, ScoreKeep):
            return value
        match = _SCORE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(
                f"{value!r} is not a comparison; write one of >=, >, <=, < and a number, such as "
                "'>=0.5'"
            )
        try:
            limit = float(match[2])
        except ValueError:
            raise ValueError(
                f"{match[2]!r} in {value!r} is not a number; write it as in '>=0.5'"
            ) from None
        return {"comparison": match[1], "limit": limit}

    @pydantic.field_validator("limit")
    @classmethod
    def _finite(cls, limit: float) -> float:
        if not math.isfinite(limit):
            raise ValueError(f"the limit is {limit}; write a finite number, as in '>=0.5'")
        return limit + 0.0  # -0.0 and 0.0 mean the same and must dump the same

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: Any, handler: pydantic.GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{_SCORE.pattern}$", "examples": [">=0.5"]}

    @pydantic.model_serializer
    def _dump(self) -> str:
        return f"{self.comparison}{self.limit!r}"

    def passes(self, score: float) -> bool:
        """Whether `score` is kept."""
        match self.comparison:
            case ">=":
                return score >= self.limit
            case ">":
                return score > self.limit
            case "<=":
                return score <= self.limit
            case _:
                return score < self.limit


def _form(value: Any) -> str:
    return "Curve" if isinstance(value, (dict, Curve)) else "Threshold"


ClassifierKeep = Annotated[
    Annotated[ScoreKeep, pydantic.Tag("Threshold")] | Annotated[Curve, pydantic.Tag("Curve")],
    pydantic.Discriminator(_form),
]
"""A threshold of the score, or factors by its percentile."""
