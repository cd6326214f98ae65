"""The training stage: parameters of one phase's node, and what it reads and writes.

`phases/section.py` makes the parameters from the recipe. Imports are light: pydantic and the
standard library.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Literal

import pydantic

from infra.stage import JSON, NOT_IDENTITY, Output, Parameters, Role, Stage
from tasks.checkpoints.context import ContextLength
from tasks.training.planning.batches import Batches
from tasks.training.planning.lengths import (
    Length,
    NotKnownYet,
    batch_ramp,
    batch_tokens,
    fixed_tokens,
    phase_length,
    refuse_contradictions,
    rows_of_epochs,
)
from tasks.training.planning.plan import Position, TrainingPlan
from tasks.training.planning.ramps import PlanError, Ramp, mixture_ramps
from tasks.training.planning.schedules import NodeSchedule, checked_schedule
from tasks.training.recipe.adapter import Adapter, refuse_untrained
from tasks.training.recipe.devices import Devices
from tasks.training.recipe.durations import Duration
from tasks.training.recipe.exclusions import exclusions
from tasks.training.recipe.mixtures import (
    BucketsOf,
    FromMixture,
    Mixture,
    Share,
    ShareEpochs,
    TimesNatural,
)
from tasks.training.recipe.monitoring import EvaluationField, TrackerField
from tasks.training.recipe.sections import (
    DEFAULT_EPOCHS,
    AttentionField,
    Batch,
    Compile,
    DataCursor,
    DocumentMask,
    Guard,
    MaxEpochs,
    Optimizer,
    PrecisionField,
    RecomputeField,
    Seed,
    Trainable,
)


class TrainingParameters(Parameters):
    """One phase.

    Not part of the version: `micro_batch` (changes the order of floating-point sums, as hardware
    does, but never the rows), `devices` (the same), `max_epochs` (whether the phase may run, not
    what it computes), `checkpoint_every` and `keep` (checkpoints kept of a running phase).
    """

    tokens: Duration | None = None
    """None: the mixture states the epochs of every category."""
    batch: Batch
    sequence_length: int = pydantic.Field(gt=1)
    context: ContextLength | None = None
    """Positions and rope that the model gets before this phase; None: as it is."""
    mixture: Mixture
    trainable: Trainable = "all"
    adapter: Adapter | None = None
    optimizer: Optimizer = Optimizer()
    schedule: NodeSchedule
    data: DataCursor = "continue"
    max_epochs: Annotated[MaxEpochs, NOT_IDENTITY] = DEFAULT_EPOCHS
    rewarm: float = pydantic.Field(default=0.01, ge=0, le=1)
    precision: PrecisionField = "fp32"
    document_mask: DocumentMask = True
    recompute: RecomputeField = "none"
    compile: Compile = False
    attention: AttentionField = "auto"
    guard: Guard = Guard()
    seed: Seed = 0
    micro_batch: Annotated[int, NOT_IDENTITY, pydantic.Field(gt=0)] = 8
    checkpoint_every: Annotated[Duration | None, NOT_IDENTITY] = None
    keep: Annotated[int, NOT_IDENTITY, pydantic.Field(gt=0)] = 2
    devices: Annotated[Devices, NOT_IDENTITY] = Devices()
    evaluation: EvaluationField = None
    tracker: TrackerField = "none"
    proxy: bool = False
    """A model that only a search looks at: where it diverges the phase ends, and its statistics say
    so, instead of failing.
    """

    def identity(self) -> dict[str, JSON]:
        """As of any parameters, but that only a proxy differs by being one."""
        found = super().identity()
        if not self.proxy:
            del found["proxy"]
        return found

    def settled(self, proposed: Mapping[str, float]) -> TrainingParameters:
        """These with the shares that a mixture search proposes, where they take them from one."""
        if not isinstance(self.mixture, FromMixture):
            return self
        return self.model_copy(update={"mixture": self.mixture.shares(proposed)})

    def plan(
        self, position: Position | None = None, rows: Mapping[str, int] | None = None
    ) -> TrainingPlan:
        """The phase's plan.

        Args:
            position: where the phase begins in the run; None: at its start.
            rows: category -> rows of its bins; needed for lengths in epochs.

        Raises:
            PlanError: mixture, batch or schedule cannot be carried out.
            NotKnownYet: a length in epochs, without `rows`.
        """
        position = position or Position()
        owed = position.owed if self.data == "continue" else Fraction(0)
        length = phase_length(
            self.tokens, self.batch, self.mixture, self.sequence_length, rows, owed
        )
        schedule, shared = checked_schedule(self.schedule, self.optimizer.lr, position, length)
        return TrainingPlan(
            start=position.tokens,
            length=length,
            schedule=schedule,
            schedule_origin=position.tokens if self.schedule.restart else 0,
            mixture=self._ramps(length, rows),
            trainable=self.trainable,
            shared=shared,
            rewarm_tokens=round(self.rewarm * length.tokens),
        )

    def _ramps(
        self, length: Length | None, rows: Mapping[str, int] | None
    ) -> dict[str, Ramp] | Literal["buckets"]:
        """The mixture by category; without `length`, only what is certain of it is checked."""
        if self.mixture == "buckets" or isinstance(self.mixture, BucketsOf):
            return "buckets"
        if isinstance(self.mixture, FromMixture):
            raise NotKnownYet(f"mixture: shares come from {self.mixture.origin}, not made yet")
        if isinstance(self.mixture, TimesNatural):
            if rows is None:
                raise NotKnownYet("mixture: natural shares are not known before the bins exist")
            try:
                given = self.mixture.shares(rows)
            except ValueError as error:
                raise PlanError(str(error)) from None
            return {c: Ramp.constant(Fraction(str(share))) for c, share in sorted(given.items())}
        if any(isinstance(share, ShareEpochs) for share in self.mixture.values()):
            taken = rows_of_epochs(self.mixture, rows)
            if length is None or taken is None:
                raise NotKnownYet("mixture: epochs have no length before the bins exist")
            for category, share in self.mixture.items():
                if share == "rest":
                    taken[category] = length.rows - sum(taken.values())
            return {
                category: Ramp.constant(Fraction(count, length.rows))
                for category, count in sorted(taken.items())
            }
        shares: dict[str, tuple[Fraction, Fraction, int | None] | Literal["rest"]] = {}
        for category, share in self.mixture.items():
            if isinstance(share, Share):
                start, end = (Fraction(str(value)) for value in (share.start, share.end))
                shares[category] = (start, end, self._over(share, length))
            elif share == "rest":
                shares[category] = "rest"
            elif not isinstance(share, ShareEpochs):
                shares[category] = (Fraction(str(share)), Fraction(str(share)), None)
        return mixture_ramps(shares, max(length.tokens, length.wanted) if length else None)

    def _over(self, share: Share, length: Length | None) -> int | None:
        if share.over is None:
            return None
        if length is not None:
            return length.tokens_of(share.over)
        if share.over.unit != "steps":
            return fixed_tokens(share.over, self.sequence_length)
        batches = Batches(
            batch_ramp(self.batch, self.sequence_length, span=None), self.sequence_length
        )
        return batches.rows(int(share.over.amount)) * self.sequence_length

    @pydantic.model_validator(mode="after")
    def _check(self) -> TrainingParameters:
        """Check all that is certain before the bins exist and wherever the phase stands."""
        refuse_contradictions(self.tokens, self.mixture)
        refuse_untrained(self.adapter, self.trainable)
        sizes = batch_tokens(self.batch, self.sequence_length)
        length: Length | None = None
        with contextlib.suppress(NotKnownYet):
            length = phase_length(self.tokens, self.batch, self.mixture, self.sequence_length)
        with contextlib.suppress(NotKnownYet):
            self._ramps(length, None)
        rows = math.ceil(max(sizes) / self.sequence_length)
        for reason in exclusions(
            self.devices,
            self.precision,
            self.optimizer.name,
            self.attention,
            min(rows, length.rows) if length is not None else rows,
        ):
            raise ValueError(reason)
        return self


STAGE = Stage(
    "training",
    version=3,
    parameters=TrainingParameters,
    run="tasks.training.run:run",
    summary="continued pretraining, one node per phase",
    section="training",
    inputs=(
        Role("previous", ("model", "training")),
        Role("bins", ("binning",), many=True, content=True),
        Role("heldout", ("select",), many=True, optional=True, identity=False),
        Role("shares", ("shares",), optional=True, content=True),
    ),
    outputs=(
        Output("checkpoint/*", "files that `from_pretrained` reads"),
        Output("adapter/*", "with `adapter:`, the adapter that was merged, as PEFT reads it"),
        Output("state/*", "optimizer moments and sampler state, which the next phase continues"),
    ),
    bitwise=False,
    exclusive=True,
)
