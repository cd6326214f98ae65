"""Sampling curves: how often a document is repeated, by the percentile of its score.

    {top: 0.3}                              the best 30 % once, the others not
    {percentile: ">=70"}                    the same
    {curve: {0: drop, 40: 1, 80: 2, 95: 4}} from percentile 40 on once, from 80 twice, from 95 four
                                            times (as OLMo 3 repeats its best web text)

All three are one step function: percentile from which on -> factor, 0 for "drop". A fractional
factor is drawn by a hash of the document's id: with 1.5, half of the documents are there twice.
`factor` and `draw` are all that `cut` needs; this module imports only pydantic and the standard
library.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any, Literal

import pydantic

MOST_REPEATS = 100
"""Times that a document may be repeated; more is memorised, not learned."""

Draw = Literal["tie", "copies"]

_PERCENTILE = re.compile(r"\s*(>=|<)\s*([0-9.]+)\s*%?\s*")


class Curve(pydantic.BaseModel):
    """`steps`: (percentile, factor), ascending from percentile 0 on. Equal meanings dump to equal
    JSON.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    steps: tuple[tuple[float, float], ...]

    @pydantic.model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        # All is checked here, so that an error is of what the recipe states, not of `steps`.
        if not isinstance(value, dict):
            return value
        if len(value) != 1 or not {*value} <= _FORMS.keys():
            raise ValueError(
                "state one of `top` (a share, such as 0.3), `percentile` (such as '>=70') and "
                "`curve` (percentile -> factor or drop)"
            )
        ((form, stated),) = value.items()
        return {"steps": _possible(_FORMS[form](stated))}

    @pydantic.model_serializer
    def _dump(self) -> dict[str, dict[str, float]]:
        return {"curve": {f"{low:g}": factor for low, factor in self.steps}}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: Any, handler: pydantic.GetJsonSchemaHandler
    ) -> dict[str, Any]:
        factor = {"anyOf": [{"const": "drop"}, {"type": "number", "minimum": 0}]}
        return {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {
                "top": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                "percentile": {"type": "string", "pattern": f"^{_PERCENTILE.pattern}$"},
                "curve": {"type": "object", "additionalProperties": factor},
            },
        }

    @property
    def starts(self) -> tuple[float, ...]:
        """The percentiles at which the factor changes, without 0."""
        return tuple(low for low, _ in self.steps[1:])

    @property
    def factors(self) -> tuple[float, ...]:
        """The factor of each step."""
        return tuple(factor for _, factor in self.steps)

    @property
    def repeats(self) -> bool:
        """Whether any document may be there more than once."""
        return any(factor > 1 for factor in self.factors)

    def in_words(self) -> str:
        """`0 drop, 40 x1, 95 x4`."""
        return ", ".join(f"{low:g} {'drop' if not f else f'x{f:g}'}" for low, f in self.steps)


def _possible(steps: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The steps in order, those of equal factors joined."""
    for percentile, factor in steps:
        if not 0 <= percentile < 100:
            raise ValueError(f"percentile {percentile:g} is not from 0 to below 100")
        if not 0 <= factor <= MOST_REPEATS:
            raise ValueError(f"factor {factor:g} is not from 0 (drop) to {MOST_REPEATS}")
    ordered = sorted(steps)
    starts = [percentile for percentile, _ in ordered]
    if not starts or starts[0] != 0:
        raise ValueError(
            "the curve does not say what becomes of the lowest scores; add percentile 0, such "
            "as {0: drop}"
        )
    if len({*starts}) < len(starts):
        raise ValueError("the curve states a percentile twice; leave one of the two")
    merged = [step for at, step in enumerate(ordered) if at == 0 or step[1] != ordered[at - 1][1]]
    if not any(factor for _, factor in merged):
        raise ValueError("the curve drops everything; give some percentile a factor above 0")
    return tuple((low + 0.0, factor + 0.0) for low, factor in merged)


def _top(share: Any) -> list[tuple[float, float]]:
    number = isinstance(share, (int, float)) and not isinstance(share, bool)
    if not number or not 0 < round(100 * share, 9) <= 100:
        raise ValueError(f"top is {share!r}; write a share of the documents, such as 0.3 for 30 %")
    return _upper(100 - round(100 * share, 9))


def _percentile(stated: Any) -> list[tuple[float, float]]:
    match = _PERCENTILE.fullmatch(stated) if isinstance(stated, str) else None
    if match is None:
        raise ValueError(f"percentile is {stated!r}; write it as in '>=70' or '<30'")
    limit = float(match[2])
    if match[1] == ">=":
        return _upper(limit)
    if not limit > 0:
        raise ValueError(f"percentile is {stated!r}, which nothing is; raise it")
    return [(0.0, 1.0), (limit, 0.0)] if limit < 100 else [(0.0, 1.0)]


def _upper(limit: float) -> list[tuple[float, float]]:
    return [(0.0, 0.0), (limit, 1.0)] if limit > 0 else [(0.0, 1.0)]


def _curve(stated: Any) -> list[tuple[float, float]]:
    if not isinstance(stated, dict) or not stated:
        raise ValueError("curve is to be a map, such as {0: drop, 40: 1, 80: 2, 95: 4}")
    return [(_number("percentile", low), _factor(factor)) for low, factor in stated.items()]


def _factor(value: Any) -> float:
    return 0.0 if value == "drop" else _number("factor", value)


def _number(what: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        also = " or drop" if what == "factor" else ""
        raise ValueError(f"{what} {value!r} of the curve is not a number{also}")
    return number


_FORMS = {"top": _top, "percentile": _percentile, "curve": _curve}


def uniform(id_: str, use: Draw, name: str) -> float:
    """A number in [0, 1) by a document's id, independent for each use and classifier."""
    digest = hashlib.blake2b(
        id_.encode(), digest_size=8, person=b"puna-" + use.encode(), salt=_salt(name)
    ).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2.0**53


def _salt(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


def copies(factor: float, id_: str, name: str) -> int:
    """How often a document of this factor is there: the factor, its fraction drawn by the id."""
    whole = math.floor(factor)
    return whole + (factor > whole and uniform(id_, "copies", name) < factor - whole)
