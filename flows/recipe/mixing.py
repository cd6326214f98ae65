"""The recipe's section `mixtures`: searches for the shares of a mixture by small models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

import pydantic

from flows.recipe.evaluated import Name
from flows.recipe.proxy_shapes import shape_of_size
from infra.quantities import Count
from infra.stage import Parameters
from tasks.mixture import draws
from tasks.mixture.stage import LawChoice, ShareLimits, Weight
from tasks.model.stage import Create
from tasks.training.recipe.durations import Duration
from tasks.training.recipe.mixtures import FromMixture, Mixture, TimesNatural
from tasks.training.recipe.sections import Batch, MaxEpochs, Optimizer, ScheduleSection

Positive = Annotated[float, pydantic.Field(gt=0)]


Around = Annotated[
    Annotated[Literal["natural", "simplex"], pydantic.Tag("Word")]
    | Annotated[dict[Name, Positive], pydantic.Tag("Shares")],
    pydantic.Discriminator(lambda value: "Shares" if isinstance(value, dict) else "Word"),
]


class ProxyModels(Parameters):
    """Small models of one size and length, each trained on a mixture of its own."""

    parameters: Count | None = pydantic.Field(
        default=None, gt=0, description="about so many, in a Llama's proportions; or state `create`"
    )
    create: Create | None = pydantic.Field(
        default=None, description="the shape, as in model.create"
    )
    tokens: Duration = pydantic.Field(description="that each is trained on")
    draws: int = pydantic.Field(ge=1, le=10_000, description="models, and mixtures")
    lr: float | None = pydantic.Field(default=None, gt=0, description="instead of optimizer.lr")

    @pydantic.model_validator(mode="after")
    def _one_shape(self) -> Self:
        if (self.parameters is None) == (self.create is None):
            raise ValueError("state either `parameters`, such as 500K, or `create`")
        if self.tokens.unit not in ("tokens", "rows"):
            raise ValueError(f"tokens: {self.tokens} has no length here; write tokens or rows")
        if not self.tokens.amount:
            raise ValueError(f"tokens: {self.tokens} trains nothing; state more")
        return self

    def shape(self, vocabulary: int | None, positions: int) -> Create:
        """The shape of these models.

        Raises:
            ValueError: it depends on a vocabulary that is not known, or is too small for it.
        """
        if self.create is not None:
            return self.create
        if self.parameters is None:
            raise ValueError("state either `parameters`, such as 500K, or `create`")
        if vocabulary is None:
            raise ValueError(
                "parameters: the tokenizer's size is not known before it is made, and most of so "
                "small a model is its vocabulary; state `create`"
            )
        return shape_of_size(self.parameters, vocabulary, positions)


class TargetRun(Parameters):
    """The run that shares are for. By default as the largest and longest proxies."""

    tokens: Count | None = pydantic.Field(default=None, gt=0)
    parameters: Count | None = pydantic.Field(default=None, gt=0)


class MixtureSection(Parameters):
    """A search for shares, which phases name with `mixture: {from: NAME}`.

    `categories`: those that get a share (default: all). `targets`: held-out categories, or
    benchmarks, with the weight of their bits per byte (default: the categories, 1 each). `around`:
    where mixtures are drawn: around `natural` shares or stated ones, as far as `spread` (standard
    deviation of a share's logarithm), or evenly over the whole `simplex`. `given`: an earlier
    mixture, whose ratios stay; only the shares of `search` are searched, and its proxies are fitted
    too.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    categories: tuple[Name, ...] | None = pydantic.Field(default=None, min_length=1)
    proxies: tuple[ProxyModels, ...] = pydantic.Field(min_length=1)
    around: Around | None = pydantic.Field(
        default=None, description="natural by default; simplex where `given` is stated"
    )
    spread: float = pydantic.Field(default=1.0, gt=0, le=4)
    seed: int = pydantic.Field(default=0, ge=0, lt=2**31)
    given: str | None = pydantic.Field(
        default=None,
        description="a name in `mixtures`, or artifact:RECIPE/mixture/NAME@TAG: its ratios stay",
    )
    search: tuple[Name, ...] = ()
    targets: dict[Name, Weight] = pydantic.Field(default_factory=dict)
    heldout_documents: int | None = pydantic.Field(
        default=None, gt=0, description="held-out documents of each category that proxies are asked"
    )
    target: TargetRun = pydantic.Field(default=TargetRun(), alias="for")
    max_epochs: MaxEpochs | None = pydantic.Field(
        default=None, description="over `for.tokens`; training.max_epochs by default"
    )
    shares: dict[Name, ShareLimits] = pydantic.Field(
        default_factory=dict, description="category -> least and most, {min: 0.05, max: 0.5}"
    )
    law: LawChoice = pydantic.Field(
        default="auto", description="auto: the form with the least error on left-out proxies"
    )
    level: float = pydantic.Field(default=0.9, gt=0, lt=1, description="of all intervals")
    resamples: int = pydantic.Field(default=100, ge=20, le=10_000)
    batch: Batch | None = None
    optimizer: Optimizer | None = None
    schedule: ScheduleSection | None = None

    @pydantic.model_validator(mode="after")
    def _searches_something(self) -> Self:
        if bool(self.search) != (self.given is not None):
            raise ValueError(
                "`given` and `search` belong together: an earlier mixture, and the categories "
                "beside it"
            )
        if self.given is not None and self.around == "natural":
            raise ValueError(
                "around: natural shares are not those of an earlier mixture; write simplex, or "
                "shares of the searched categories"
            )
        return self

    @property
    def count(self) -> int:
        """Proxies of the search."""
        return sum(group.draws for group in self.proxies)

    def moving(self, categories: Sequence[str]) -> int:
        """Shares that the search moves; those of an earlier mixture are one."""
        return len(self.search) + 1 if self.given else len(categories)

    def mixtures(self, categories: Sequence[str], group: int) -> list[Mixture]:
        """The mixture of each proxy of a group; more `draws` leave those before as they are."""
        count, seed = self.proxies[group].draws, f"{self.seed}/{group}"
        if self.given is not None:
            return self._beside(self.given, count, seed)
        if isinstance(self.around, dict):
            centre = draws.whole(self.around)
            return [dict(one) for one in draws.around(centre, count, self.spread, seed)]
        if self.around == "simplex":
            return [dict(one) for one in draws.over_simplex(categories, count, seed)]
        return [
            TimesNatural(natural=one) for one in draws.factors(categories, count, self.spread, seed)
        ]

    def _beside(self, given: str, count: int, seed: str) -> list[Mixture]:
        """Mixtures of the searched categories and an earlier mixture, which has the rest."""
        drawn: Sequence[Mapping[str, float]]
        if isinstance(self.around, dict):
            centre = {given: 1 - sum(self.around.values()), **self.around}
            drawn = draws.around(draws.whole(centre), count, self.spread, seed)
        else:
            drawn = draws.over_simplex([given, *self.search], count, seed)
        return [
            FromMixture.model_validate(
                {"from": given, "beside": {name: one[name] for name in self.search}}
            )
            for one in drawn
        ]
