"""Stage report: writes `data/summary.json` and `records/report.html` from all other manifests.

The page is a record, not data: it shows timings and plots, on which no digest may depend.
"""

from __future__ import annotations

from infra.stage import EVERY_STAGE, Output, Parameters, Role, Stage


class ReportParameters(Parameters):
    """`recipe`: the name on the page. Input roles: stage names, each with all its artifacts."""

    recipe: str


STAGE = Stage(
    "report",
    version=4,
    parameters=ReportParameters,
    run="tasks.report.run:run",
    summary="one HTML page from manifests",
    inputs=(Role(EVERY_STAGE, many=True, optional=True),),
    outputs=(Output("summary.json", "the numbers of the page"),),
    bitwise=False,
)
