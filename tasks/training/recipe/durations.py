"""Durations as recipes write them: `4M`, `0.5B`, `100 steps`, `2 epochs`, `5000 rows`.

A duration is an exact amount and a unit. Training counts in tokens; `planning/plan.py`, which
knows the batch, the row length and the rows of the bins, converts the other units.
Imports are light: pydantic and the standard library.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, Literal

import pydantic

from infra.quantities import NUMBER, SUFFIXES

Unit = Literal["tokens", "steps", "rows", "epochs"]

_UNITS: dict[str, Unit] = {
    "": "tokens",
    "token": "tokens",
    "step": "steps",
    "row": "rows",
    "epoch": "epochs",
}
_DURATION = re.compile(rf"\s*({NUMBER})\s*([KMBT]?)\s*(tokens?|steps?|rows?|epochs?)?\s*")


class Duration(pydantic.BaseModel):
    """An amount of training in one unit, serialised as a scalar: `500000000` or `100 steps`."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    amount: Fraction
    unit: Unit = "tokens"

    @classmethod
    def parse(cls, value: object) -> Duration:
        """A duration from a number of tokens or a string.

        Raises:
            ValueError: not a duration, or a fraction of a token, step or row.
        """
        match = None if isinstance(value, bool) else _DURATION.fullmatch(str(value))
        if match is None or not isinstance(value, (int, float, str)):
            raise ValueError(
                f"{value!r} is not a duration such as 0.5B (tokens), 100 steps, 5000 rows or 2 "
                "epochs"
            )
        number, suffix, word = match.groups()
        amount = Fraction(number.replace("_", "")) * SUFFIXES[suffix]
        unit = _UNITS[(word or "").rstrip("s")]
        if amount.denominator != 1 and unit != "epochs":
            raise ValueError(
                f"{value!r} is {float(amount)} {unit}; a duration in {unit} must be whole"
            )
        return cls(amount=amount, unit=unit)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_scalar(cls, value: Any) -> Any:
        if isinstance(value, (dict, Duration)):
            return value
        parsed = cls.parse(value)
        return {"amount": parsed.amount, "unit": parsed.unit}

    @pydantic.model_serializer
    def _to_scalar(self) -> int | str:
        return int(self.amount) if self.unit == "tokens" else str(self)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        pattern = "^[0-9._]+ *[KMBT]? *(tokens?|steps?|rows?|epochs?)?$"
        return {
            "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": pattern}]
        }

    def __str__(self) -> str:
        whole = self.amount.denominator == 1
        return f"{int(self.amount) if whole else float(self.amount)} {self.unit}"


def tokens(amount: int) -> Duration:
    """A duration of `amount` tokens."""
    return Duration(amount=Fraction(amount), unit="tokens")


class Ratio(pydantic.BaseModel):
    """A share of the schedule's total, as in `warmup: {ratio: 0.025}`."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    ratio: float = pydantic.Field(ge=0, le=1, description="share of the schedule's total")

    def of(self, total: int) -> int:
        """Tokens of the share."""
        return round(Fraction(str(self.ratio)) * total)

    def __str__(self) -> str:
        return f"{{ratio: {self.ratio:g}}}"
