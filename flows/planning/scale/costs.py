"""What a document costs in every data stage: shipped figures, each with where it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic
import yaml

from flows.recipe.errors import nearest
from flows.recipe.file import RecipeError

SHIPPED = Path(__file__).with_name("costs.yaml")

Positive = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]


class UnitCost(pydantic.BaseModel):
    """Costs of a stage, of one core of the machine that they were measured on.

    A document costs `document_us` microseconds and `mb_ms` milliseconds for each 10^6 bytes of its
    text. It writes `document_bytes`, and `text_share` of its text's bytes. Of the bytes of a stage
    that it reads, `reads` says which share (1 where it is not stated). `kept`: share of the
    documents that go on. Of the one process that is not parallel: `one_process_us` and
    `one_process_bytes` a document, `one_process_part_ms` a part. `scratch_bytes` a document.
    `worker_bytes`: peak of a worker, Python and libraries included. `fixed_s`: of every worker,
    once. `exponent` and `measured_at`: above so many documents time grows with this power.
    `from`: script or page, machine, date.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    document_us: Positive = 0.0
    mb_ms: Positive = 0.0
    document_bytes: Positive = 0.0
    text_share: Positive = 0.0
    reads: dict[str, Positive] = pydantic.Field(default_factory=dict)
    kept: Annotated[float, pydantic.Field(ge=0, le=1)] = 1.0
    one_process_us: Positive = 0.0
    one_process_bytes: Positive = 0.0
    one_process_part_ms: Positive = 0.0
    scratch_bytes: Positive = 0.0
    worker_bytes: Positive = 0.3e9
    fixed_s: Positive = 0.0
    exponent: Annotated[float, pydantic.Field(gt=0, le=3)] = 1.0
    measured_at: Positive = 1e6
    origin: str = pydantic.Field(default="", alias="from")

    def seconds(self, documents: float, text_bytes: float) -> float:
        """Processor time of so many documents with so much text together.

        Exponents below one come from costs that are paid once: they are not extrapolated.
        """
        linear = documents * self.document_us / 1e6 + text_bytes / 1e6 * self.mb_ms / 1e3
        beyond = max(documents / self.measured_at, 1.0) if self.measured_at else 1.0
        return float(linear * beyond ** max(self.exponent - 1, 0))

    def written(self, documents: float, text_bytes: float) -> float:
        """Bytes of its artifact."""
        return documents * self.document_bytes + text_bytes * self.text_share


class Text(pydantic.BaseModel):
    """How large documents are where no artifact says so: bytes of text, and of files for each."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    text_bytes: Annotated[float, pydantic.Field(gt=0)]
    file_bytes: Annotated[float, pydantic.Field(gt=0)] | None = None
    origin: str = pydantic.Field(default="", alias="from")


class Crawl(pydantic.BaseModel):
    """One crawl of Common Crawl, where its host does not say more. `languages`: share of pages."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    files: Annotated[int, pydantic.Field(ge=1)]
    pages: Annotated[float, pydantic.Field(gt=0)]
    warc_file_bytes: Annotated[float, pydantic.Field(gt=0)]
    wet_page_bytes: Annotated[float, pydantic.Field(gt=0)]
    index_bytes: Annotated[float, pydantic.Field(gt=0)]
    index_parts: Annotated[int, pydantic.Field(ge=1)]
    languages: dict[str, float]
    other_language: Annotated[float, pydantic.Field(gt=0, le=1)]
    origin: str = pydantic.Field(default="", alias="from")


class Network(pydantic.BaseModel):
    """Reading from a server: bytes a second of one connection, and seconds a small request takes,
    over https from elsewhere and from S3 in its own region.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    https_mb_s: Annotated[float, pydantic.Field(gt=0)]
    https_request_s: Annotated[float, pydantic.Field(gt=0)]
    s3_mb_s: Annotated[float, pydantic.Field(gt=0)]
    s3_request_s: Annotated[float, pydantic.Field(gt=0)]
    origin: str = pydantic.Field(default="", alias="from")


class Costs(pydantic.BaseModel):
    """The whole file. `stages`: by stage, of ingest also by format (`ingest.warc`)."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    crawl: Crawl
    network: Network
    text: dict[str, Text]
    kept: dict[str, float]
    kept_from: dict[str, str]
    stages: dict[str, UnitCost]

    def stage(self, stage: str, kind: str = "") -> UnitCost | None:
        """Costs of a stage, of this format where there are such; None for one without."""
        return self.stages.get(f"{stage}.{kind}") or self.stages.get(stage)

    def replaced(self, changes: Mapping[str, Mapping[str, Any]]) -> Costs:
        """With the costs that a cluster states. Raises `RecipeError` for a stage or key that is
        unknown.
        """
        stages = dict(self.stages)
        for name, change in changes.items():
            if name not in stages:
                hint = nearest(name, list(stages))
                raise RecipeError(
                    [f"costs: {name!r} is no data stage{hint}; there are {', '.join(stages)}"]
                )
            stated = stages[name].model_dump(by_alias=True) | {"from": "stated by you", **change}
            try:
                stages[name] = UnitCost.model_validate(stated)
            except pydantic.ValidationError as error:
                detail = error.errors()[0]
                raise RecipeError(
                    [
                        f"costs.{name}.{'.'.join(map(str, detail['loc']))} is "
                        f"{detail['input']!r}: {detail['msg']}"
                    ]
                ) from None
        return self.model_copy(update={"stages": stages})


def read_costs() -> Costs:
    """The shipped costs."""
    return Costs.model_validate(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))
