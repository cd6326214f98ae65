"""Stage report: writes `data/summary.json` and `records/report.html` from all other manifests.

The page is a record, not data: it shows timings and plots, on which no digest may depend.
"""

from __future__ import annotations

from typing import Annotated, Any

import pydantic

from infra.stage import EVERY_STAGE, NOT_IDENTITY, Output, Parameters, Role, Stage


class ReportParameters(Parameters):
    """`recipe`: the name on the page. Input roles: stage names, each with all its artifacts."""

    recipe: str
    dollars_per_hour: float | None = None
    """Price of an hour of the hardware that the recipe states for training."""
    stated: Annotated[dict[str, Any], NOT_IDENTITY] = pydantic.Field(
        default={}, description="the recipe as it was read"
    )


STAGE = Stage(
    "report",
    version=9,
    parameters=ReportParameters,
    run="tasks.report.run:run",
    summary="one HTML page from manifests",
    inputs=(Role(EVERY_STAGE, many=True, optional=True),),
    outputs=(Output("summary.json", "the numbers of the page"),),
    bitwise=False,
)
