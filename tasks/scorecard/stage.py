"""Stage scorecard: how far scores may fall, and what the stage reads and writes.

The page of a crawl: its funnel, languages, domains, perplexity and overlap with earlier crawls
against the promoted run, what became of every score, and the reasons not to promote the run.
Without a promoted run there is nothing to compare, and nothing is refused.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic

from infra.quantities import NUMBER
from infra.stage import Output, Parameters, Role, Stage

_FALL = re.compile(rf"\s*({NUMBER})\s*(errors?)?\s*")


class Fall(pydantic.BaseModel):
    """How far a score may fall: in its own unit (`0.01`), or in standard errors of the difference
    (`3 errors`).
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    amount: float
    in_errors: bool = False

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_scalar(cls, value: Any) -> Any:
        if isinstance(value, (dict, Fall)):
            return value
        match = None if isinstance(value, bool) else _FALL.fullmatch(str(value))
        if match is None:
            raise ValueError(
                f"{value!r} is not how far a score may fall; write a number in the score's unit, "
                "such as 0.01, or standard errors of the difference, such as 3 errors"
            )
        return {"amount": float(match[1].replace("_", "")), "in_errors": match[2] is not None}

    @pydantic.model_serializer
    def _to_scalar(self) -> float | str:
        return f"{self.amount:g} errors" if self.in_errors else self.amount

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        pattern = "^[0-9._]+ *(errors?)?$"
        return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": pattern}]}

    def limit(self, error: float) -> float:
        """The fall allowed where the difference has this standard error."""
        return self.amount * error if self.in_errors else self.amount

    def __str__(self) -> str:
        return f"{self.amount:g} standard errors" if self.in_errors else f"{self.amount:g}"


TEXT_FALL = Fall(amount=0.02)
"""Bits per byte. Thousands of held-out documents tell differences that nobody would mind."""

DEFAULT_FALLS: Mapping[str, Fall | None] = {
    "*": Fall(amount=3, in_errors=True),
    "heldout/*": TEXT_FALL,
    "earlier/*": TEXT_FALL,
}
"""Three errors, as each of twenty benchmarks falls beyond two by chance in one crawl of forty."""


def _by_row(given: Any) -> Any:
    """A single limit is that of every score; rows that a map does not name keep the defaults."""
    return {**DEFAULT_FALLS, **given} if isinstance(given, Mapping) else {"*": given}


Falls = Annotated[dict[str, Fall | None], pydantic.BeforeValidator(_by_row)]


class ScorecardParameters(Parameters):
    """How far scores of the last phase may fall below the promoted run's model, on the same items
    and documents, before the run is not promoted.

    `may_fall`: one limit for all scores, or task -> limit. A limit is a number in the score's unit
    (`0.01`: one point of accuracy, or 0.01 bits per byte), or standard errors of the paired
    difference (`3 errors`); null: that task does not count. Besides tasks there are
    `heldout/CATEGORY` (held-out text of this crawl) and `earlier/CATEGORY` (that of the crawls
    before); `*` stands for any letters, and the longest pattern that fits applies. By default
    3 errors for tasks, and 0.02 bits per byte for held-out text.
    """

    may_fall: Falls = pydantic.Field(default_factory=lambda: dict(DEFAULT_FALLS))
    again: tuple[str, ...] = ()
    """Set by the plan: sources that are read whole in every run, and bring nothing new."""

    def fall_of(self, row: str) -> Fall | None:
        """The limit of a row of scores; None: it does not count."""
        fitting = [name for name in self.may_fall if fnmatch.fnmatchcase(row, name)]
        return self.may_fall[max(fitting, key=len)] if fitting else None


STAGE = Stage(
    "scorecard",
    version=4,
    parameters=ScorecardParameters,
    run="tasks.scorecard.run:run",
    summary="what a crawl changed against the promoted run, and whether it may be promoted",
    section="loop",
    inputs=(
        Role("run", many=True),
        Role("promoted", many=True, optional=True),
    ),
    outputs=(
        Output("scorecard.json", "the comparison by section, and the reasons not to promote"),
        Output(
            "parts/*.parquet",
            "the same for each part of a source's documents",
            {"domain": "string", "documents": "int64"},
        ),
        Output(
            "domains.parquet",
            "documents of this crawl by domain, most first",
            {"domain": "string", "documents": "int64"},
        ),
    ),
    bitwise=False,
)
