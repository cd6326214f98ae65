"""Values that move linearly over a phase: the shares of a mixture, and batches.

Shares and batches are exact fractions, not floats: a mixture sums to exactly 1 at every token, and
a row's category does not depend on rounding. Standard library only.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

_UNKNOWN = 2**62
"""Placeholder for the end of a phase whose length is not known yet."""


class PlanError(ValueError):
    """A plan that cannot be carried out; names the value, the limit and the next action."""


@dataclass(frozen=True)
class Ramp:
    """A value that is linear between knots (token of the phase, value) and constant after the last.

    The first knot is at token 0.
    """

    knots: tuple[tuple[int, Fraction], ...]

    @classmethod
    def constant(cls, value: Fraction | int) -> Ramp:
        """A constant value."""
        return cls(((0, Fraction(value)),))

    @classmethod
    def between(cls, start: Fraction | int, end: Fraction | int, over: int) -> Ramp:
        """From `start` to `end` over the first `over` tokens."""
        if start == end or not over:
            return cls.constant(end)
        return cls(((0, Fraction(start)), (over, Fraction(end))))

    @property
    def moves(self) -> bool:
        """Whether the value changes at all."""
        return len(self.knots) > 1

    def value(self, t: int) -> Fraction:
        """The value after `t` tokens of the phase."""
        for (left, low), (right, high) in itertools.pairwise(self.knots):
            if t < right:
                return low + (high - low) * Fraction(t - left, right - left)
        return self.knots[-1][1]

    def integral(self, t: int) -> Fraction:
        """The integral of the value over the phase's first `t` tokens."""
        area = Fraction(0)
        for (left, low), (right, high) in itertools.pairwise(self.knots):
            if t < right:
                return area + (low + self.value(t)) * (t - left) / 2
            area += (low + high) * (right - left) / 2
        last, value = self.knots[-1]
        return area + value * (t - last)


Shares = Mapping[str, tuple[Fraction, Fraction, int | None] | Literal["rest"]]
"""Category -> (from, to, over in tokens; None spans the phase), or "rest"."""


def mixture_ramps(shares: Shares, phase_tokens: int | None) -> dict[str, Ramp]:
    """Ramps of a mixture by category (sorted), `rest` filled in.

    `phase_tokens`: length of the phase; None while unknown, which skips the checks that need it.

    Raises:
        PlanError: shares do not sum to 1 at every token, lie outside 0 to 1, or a ramp is longer
            than its phase.
    """
    rest = [category for category, share in shares.items() if share == "rest"]
    if len(rest) > 1:
        raise PlanError(
            f"mixture: {' and '.join(sorted(rest))} all have the share `rest`; "
            "give it to only one category"
        )
    span = phase_tokens or _UNKNOWN
    ramps: dict[str, Ramp] = {}
    for category, share in sorted(shares.items()):
        if share == "rest":
            continue
        start, end, over = share
        for value in (start, end):
            if not 0 <= value <= 1:
                raise PlanError(
                    f"mixture.{category}: share {float(value):g} is not between 0 and 1; change it"
                )
        if over is not None and phase_tokens is not None and over > phase_tokens:
            raise PlanError(
                f"mixture.{category}: its ramp takes {over:,} tokens, but the phase has "
                f"{phase_tokens:,}; shorten the ramp or leave `over` out (it then spans the phase)"
            )
        ramps[category] = Ramp.between(start, end, span if over is None else over)
    knots = []
    for t in sorted({0, *(knot for ramp in ramps.values() for knot, _ in ramp.knots)}):
        total = sum((ramp.value(t) for ramp in ramps.values()), Fraction(0))
        if (total > 1) if rest else (total != 1):
            given = ", ".join(
                f"{category} {float(ramp.value(t)):g}" for category, ramp in ramps.items()
            )
            raise PlanError(
                f"mixture: shares sum to {float(total):g} at "
                f"{'the end' if t == _UNKNOWN else f'token {t:,}'} of the phase ({given}); they "
                "must sum to 1 at every token: change one, or give one category `rest`"
            )
        knots.append((t, 1 - total))
    if rest:
        ramps[rest[0]] = Ramp(tuple(knots))
    return dict(sorted(ramps.items()))
