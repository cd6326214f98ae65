"""The recipe's section `evaluation`: which models answer which benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import pydantic

from infra.stage import FilePath, Parameters
from tasks.benchmarks import suites
from tasks.benchmarks.model import Benchmark
from tasks.evaluation.stage import EvaluationParameters

Name = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""Names become folders and dashboard keys."""


class OtherModel(Parameters):
    """A model of elsewhere, under a name for tables: another recipe's artifact
    (`artifact:RECIPE/STAGE/NAME@TAG`), a folder, or a model of the hub (`org/name`).
    """

    name: Name
    model: FilePath


def _kind_of_model(value: Any) -> str:
    return "other" if isinstance(value, (Mapping, OtherModel)) else "own"


EvaluatedModel = Annotated[
    Annotated[Name, pydantic.Tag("own")] | Annotated[OtherModel, pydantic.Tag("other")],
    pydantic.Discriminator(_kind_of_model),
]


class EvaluationSection(EvaluationParameters):
    """Which models answer which benchmarks. `models`: `base`, `model` (before training), phases, or
    {name, model} of elsewhere (`OtherModel`); all phases by default. Tables have them in this
    order, with differences against the first. `suite`: a published table's benchmarks, asked as its
    authors did, whose files lie below the folder `data` (docs/suites.md); `tasks` adds to it.
    """

    models: tuple[EvaluatedModel, ...] | None = None
    suite: str | None = pydantic.Field(None, json_schema_extra={"enum": [*suites.names(), None]})
    data: str | None = None
    tasks: tuple[Name, ...] = ()
    benchmarks: dict[str, Benchmark] = pydantic.Field(default_factory=dict, exclude=True)
    """Filled in from the recipe's `benchmarks`; not stated here."""
