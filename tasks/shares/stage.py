"""Stage shares: what of a mixture artifact a phase reads. Imports are light.

A search that is made again measures other losses and may still come to the same shares. These are
an artifact of their own, so that the phases after it then stay as they are (`Role.content`). The
stage is a copy, so it is bitwise, as only those are compared with earlier versions.
"""

from __future__ import annotations

from infra.stage import Output, Parameters, Role, Stage


class SharesParameters(Parameters):
    """Nothing: all follows from the mixture."""


STAGE = Stage(
    "shares",
    version=1,
    parameters=SharesParameters,
    run="tasks.shares.run:run",
    summary="the shares of a mixture alone, which phases read",
    inputs=(Role("mixture", ("mixture",)),),
    outputs=(Output("shares.json", "category -> share; they sum to 1"),),
)
