"""One phase as the recipe's `training.phases` states it. Imports are light."""

from __future__ import annotations

import pydantic

from infra.stage import Parameters
from tasks.checkpoints.context import ContextLength
from tasks.training.planning.lengths import refuse_contradictions
from tasks.training.recipe.adapter import AdapterOrSection
from tasks.training.recipe.durations import Duration
from tasks.training.recipe.mixtures import Mixture
from tasks.training.recipe.sections import Batch, DataCursor, MaxEpochs, ScheduleSection, Trainable


class PhaseSection(Parameters):
    """One phase as stated in the recipe; defaults come from the section around it."""

    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    tokens: Duration | None = pydantic.Field(
        default=None,
        description="length: tokens, rows, steps or epochs; may be left out where `mixture` states "
        "the epochs of every category, and must agree with them within 1 %",
    )
    batch: Batch | None = pydantic.Field(
        default=None, description="tokens or rows of an optimizer step, such as 4M or 64 rows"
    )
    sequence_length: int | None = pydantic.Field(
        default=None,
        ge=8,
        le=1_048_576,
        description="tokens of a row in this phase, instead of binning.sequence_length; documents "
        "are binned once for each length",
    )
    context: ContextLength | None = pydantic.Field(
        default=None,
        description="positions and rope that the model gets at the start of this phase and keeps, "
        "as in model.context",
    )
    mixture: Mixture = pydantic.Field(
        default="buckets",
        description="buckets; {buckets: [categories]}; or category -> share, rest, {from, to, "
        "over} or {epochs}",
    )
    trainable: Trainable = "all"
    adapter: AdapterOrSection | None = pydantic.Field(
        default="section",
        description="section: as training.adapter says; or an adapter of the phase's own; or null: "
        "none in this phase",
    )
    lr: float | None = pydantic.Field(
        default=None, gt=0, description="peak of this phase, instead of optimizer.lr"
    )
    schedule: ScheduleSection | None = pydantic.Field(
        default=None, description="a schedule of the phase's own"
    )
    data: DataCursor = "continue"
    rewarm: float = pydantic.Field(default=0.01, ge=0, le=1)
    max_epochs: MaxEpochs | None = pydantic.Field(
        default=None, description="instead of training.max_epochs, which see"
    )

    @pydantic.model_validator(mode="after")
    def _has_a_length(self) -> PhaseSection:
        refuse_contradictions(self.tokens, self.mixture)
        return self
