"""Stage mixture: parameters, inputs and outputs. Imports are light."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import pydantic

from infra.stage import Output, Parameters, Role, Stage
from tasks.benchmarks.model import Benchmark
from tasks.mixture.needs import LawName

Share = Annotated[float, pydantic.Field(ge=0, le=1)]
Weight = Annotated[float, pydantic.Field(gt=0)]
LawChoice = Literal["auto", LawName]


class ShareLimits(Parameters):
    """The least and the most that a category may have of the mixture."""

    min: Share = 0.0
    max: Share = 1.0

    @pydantic.model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min:g} is more than max {self.max:g}; lower min")
        return self


class MixtureParameters(Parameters):
    """A search for shares, given its proxies.

    `targets`: held-out category or benchmark -> weight of its bits per byte in what is minimised;
    of a benchmark, of its right answers. `benchmarks`: those among the targets.
    `tokens`, `parameters`: of the run that the shares are for; None: as the largest proxies.
    `max_epochs`: category -> times that its rows may be taken over `tokens`; no limit without them.
    `search`: with an earlier mixture (`given`), the categories whose shares are searched; the
    others keep their ratios.
    """

    categories: tuple[str, ...] = pydantic.Field(min_length=1)
    search: tuple[str, ...] = ()
    targets: dict[str, Weight] = pydantic.Field(min_length=1)
    benchmarks: dict[str, Benchmark] = pydantic.Field(default_factory=dict)
    tokens: int | None = pydantic.Field(default=None, gt=0)
    parameters: int | None = pydantic.Field(default=None, gt=0)
    max_epochs: dict[str, float] = pydantic.Field(default_factory=dict)
    shares: dict[str, ShareLimits] = pydantic.Field(default_factory=dict)
    law: LawChoice = "auto"
    level: float = pydantic.Field(default=0.9, gt=0, lt=1)
    resamples: int = pydantic.Field(default=200, ge=20, le=10_000)


STAGE = Stage(
    "mixture",
    version=1,
    parameters=MixtureParameters,
    run="tasks.mixture.run:run",
    summary="shares of a mixture by scaling law, from small models trained on many mixtures",
    section="mixtures.*",
    inputs=(
        Role("proxies", ("training",), many=True),
        Role("scores", ("evaluation",), many=True),
        Role("bins", ("binning",), many=True, content=True),
        Role("heldout", ("select",), many=True, optional=True, content=True),
        Role("given", ("mixture",), optional=True),
    ),
    outputs=(
        Output("shares.json", "category -> proposed share; they sum to 1"),
        Output("fit.json", "laws, their errors, the proposal and its predicted losses"),
        Output(
            "proxies.parquet",
            "proxies: shares, losses, and what a fit without each predicts",
            {
                "proxy": "string",
                "parameters": "int64",
                "tokens": "int64",
                "kind": "string",
                "name": "string",
                "value": "double",
                "left_out": "string",
            },
        ),
    ),
    bitwise=False,
)
