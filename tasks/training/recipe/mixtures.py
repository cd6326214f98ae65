"""What a phase draws from: shares of categories, buckets, and shares that a search proposes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal

import pydantic

from infra.stage import Parameters
from tasks.training.recipe.durations import Duration


class Share(Parameters):
    """A share that changes linearly over the first `over` of the phase (default: all of it)."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    start: float = pydantic.Field(alias="from", ge=0, le=1)
    end: float = pydantic.Field(alias="to", ge=0, le=1)
    over: Duration | None = None


class ShareEpochs(Parameters):
    """A share that follows from how often a category is repeated in the phase."""

    epochs: float = pydantic.Field(
        gt=0, description="times that the category's rows are taken in this phase"
    )


ShareValue = Annotated[float, pydantic.Field(ge=0, le=1)]


class BucketsOf(Parameters):
    """Bucket order over the named categories only."""

    buckets: tuple[str, ...] = pydantic.Field(min_length=1)

    @pydantic.model_validator(mode="after")
    def _each_once(self) -> BucketsOf:
        twice = sorted({name for name in self.buckets if self.buckets.count(name) > 1})
        if twice:
            raise ValueError(f"buckets: {twice[0]!r} is named twice; name each category once")
        return self


def mixture_name(origin: str) -> str:
    """The name in `mixtures` that is meant by `main` or `mixture/main`."""
    return origin.removeprefix("mixture/")


class FromMixture(Parameters):
    """The shares that a mixture search proposes. Categories `beside` it have a stated share; those
    of the proposal that are not among them keep their ratios in the rest.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    origin: str = pydantic.Field(
        alias="from",
        min_length=1,
        description="a name in `mixtures`, or artifact:RECIPE/mixture/NAME@TAG",
    )
    beside: dict[str, ShareValue] = pydantic.Field(
        default_factory=dict, description="category -> share that it has beside the proposal"
    )

    def shares(self, proposed: Mapping[str, float]) -> dict[str, AnyShare]:
        """The shares of a phase, which sum to 1, given the proposed ones.

        Raises:
            ValueError: the shares beside it take more than all, or it has nothing left to give.
        """
        fixed = {category: Fraction(str(share)) for category, share in self.beside.items()}
        others = {c: Fraction(str(share)) for c, share in proposed.items() if c not in fixed}
        left, total = 1 - sum(fixed.values()), sum(others.values())
        if left < 0:
            raise ValueError(
                f"mixture.beside: shares sum to {float(1 - left):g}, more than 1; lower one"
            )
        if left and not total:
            raise ValueError(
                f"mixture: {self.origin} proposes nothing beside {', '.join(fixed)}; state shares "
                "that sum to 1 instead"
            )
        scaled = {c: left * share / total for c, share in others.items() if left}
        whole = apportioned({**scaled, **fixed})
        return {category: share for category, share in whole.items() if share}


class TimesNatural(Parameters):
    """Shares in proportion to the rows of each category's bins, times a factor."""

    natural: dict[str, Annotated[float, pydantic.Field(gt=0)]] = pydantic.Field(
        min_length=1, description="category -> factor on its natural share; 1 for all: as the data"
    )

    def shares(self, rows: Mapping[str, int]) -> dict[str, AnyShare]:
        """The shares, which sum to 1, given category -> rows of its bins.

        Raises:
            ValueError: none of the categories has a row.
        """
        weights = {c: Fraction(str(factor)) * rows.get(c, 0) for c, factor in self.natural.items()}
        total = sum(weights.values())
        if not total:
            raise ValueError(f"mixture.natural: {', '.join(weights)} have no rows; add text")
        whole = apportioned({c: weight / total for c, weight in weights.items()})
        return dict(whole)


SHARE_DIGITS = 6


def apportioned(shares: Mapping[str, Fraction], digits: int = SHARE_DIGITS) -> dict[str, float]:
    """Shares that sum to 1, rounded to `digits` so that they still do (largest remainders)."""
    unit = 10**digits
    whole = {name: math.floor(share * unit) for name, share in shares.items()}
    left = unit - sum(whole.values())
    order = sorted(shares, key=lambda name: (whole[name] - shares[name] * unit, name))
    for name in order[:left]:
        whole[name] += 1
    return {name: count / unit for name, count in whole.items()}


def _share_form(value: Any) -> str:
    if isinstance(value, ShareEpochs) or (
        isinstance(value, dict) and not {"from", "to", "start", "end", "over"} & value.keys()
    ):
        return "ShareEpochs"
    if isinstance(value, (dict, Share)):
        return "Share"
    number = isinstance(value, (int, float)) or str(value)[:1] in "0123456789.-+"
    return "ShareValue" if number else "Rest"


AnyShare = Annotated[
    Annotated[Literal["rest"], pydantic.Tag("Rest")]
    | Annotated[ShareValue, pydantic.Tag("ShareValue")]
    | Annotated[Share, pydantic.Tag("Share")]
    | Annotated[ShareEpochs, pydantic.Tag("ShareEpochs")],
    pydantic.Discriminator(_share_form),
]


def _mixture_form(value: Any) -> str:
    if isinstance(value, BucketsOf):
        return "BucketsOf"
    if isinstance(value, FromMixture):
        return "FromMixture"
    if isinstance(value, TimesNatural):
        return "TimesNatural"
    if not isinstance(value, dict):
        return "Buckets"
    if set(value) == {"buckets"} and isinstance(value["buckets"], (list, tuple)):
        return "BucketsOf"
    if isinstance(value.get("from"), str):
        return "FromMixture"
    natural = value.get("natural") if len(value) == 1 else None
    if isinstance(natural, dict) and not {"from", "to", "epochs"} & natural.keys():
        return "TimesNatural"
    return "Shares"


Mixture = Annotated[
    Annotated[Literal["buckets"], pydantic.Tag("Buckets")]
    | Annotated[BucketsOf, pydantic.Tag("BucketsOf")]
    | Annotated[FromMixture, pydantic.Tag("FromMixture")]
    | Annotated[TimesNatural, pydantic.Tag("TimesNatural")]
    | Annotated[dict[str, AnyShare], pydantic.Tag("Shares")],
    pydantic.Discriminator(_mixture_form),
]


def categories_of(
    mixture: Mixture,
    all_categories: Sequence[str],
    searched: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """The categories that a phase draws from, in the mixture's order.

    `searched`: name in `mixtures` -> the categories that it proposes shares of; a proposal of
    another recipe may be of all.
    """
    if mixture == "buckets":
        return list(all_categories)
    if isinstance(mixture, FromMixture):
        proposed = (searched or {}).get(mixture_name(mixture.origin), all_categories)
        return list(dict.fromkeys([*proposed, *mixture.beside]))
    if isinstance(mixture, TimesNatural):
        return list(mixture.natural)
    return list(mixture.buckets if isinstance(mixture, BucketsOf) else mixture)
