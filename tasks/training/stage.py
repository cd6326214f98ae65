"""The training stage: parameters of one phase's node, and what it reads and writes.

`tasks.training.phases` makes the parameters from the recipe. Imports are light: pydantic and the
standard library.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

import pydantic

from infra.stage import NOT_IDENTITY, Output, Parameters, Role, Stage
from tasks.training.devices import Devices
from tasks.training.durations import Duration
from tasks.training.plan import (
    PlanError,
    Ramp,
    Schedule,
    ScheduleKind,
    Trainable,
    TrainingPlan,
    duration_tokens,
    mixture_ramps,
    whole_rows,
)
from tasks.training.sections import (
    AttentionField,
    Batch,
    Compile,
    DataCursor,
    DocumentMask,
    Guard,
    Mixture,
    Optimizer,
    PrecisionField,
    RecomputeField,
    Share,
    batch_ramp,
    row_tokens,
)


class NodeSchedule(Parameters):
    """The schedule of one phase, in tokens.

    `total` counts from the start of the run, or of the phase where the schedule restarts. By
    default it is the tokens of earlier phases, of this phase and `later`.
    """

    kind: ScheduleKind
    warmup: int
    final_ratio: float
    decay: float
    total: int | None = None
    later: int = 0
    restart: bool = False


class TrainingParameters(Parameters):
    """One phase.

    Not part of the version: `micro_batch` (changes the order of floating-point sums, as hardware
    does, but never the rows), `devices` (the same), `max_epochs` (whether the phase may run, not
    what it computes), `checkpoint_every` and `keep` (checkpoints kept of a running phase).
    """

    tokens: Duration
    batch: Batch
    sequence_length: int = pydantic.Field(gt=1)
    mixture: Mixture
    trainable: Trainable = "all"
    optimizer: Optimizer = Optimizer()
    schedule: NodeSchedule
    data: DataCursor = "continue"
    max_epochs: Annotated[float, NOT_IDENTITY, pydantic.Field(gt=0)] = 4
    rewarm: float = pydantic.Field(default=0.01, ge=0, le=1)
    precision: PrecisionField = "fp32"
    document_mask: DocumentMask = True
    recompute: RecomputeField = "none"
    compile: Compile = False
    attention: AttentionField = "auto"
    guard: Guard = Guard()
    seed: int = 0
    micro_batch: Annotated[int, NOT_IDENTITY, pydantic.Field(gt=0)] = 8
    checkpoint_every: Annotated[Duration | None, NOT_IDENTITY] = None
    keep: Annotated[int, NOT_IDENTITY, pydantic.Field(gt=0)] = 2
    devices: Annotated[Devices, NOT_IDENTITY] = Devices()

    def plan(
        self, start: int, epoch_rows: int | None = None, owed: Fraction = Fraction(0)
    ) -> TrainingPlan:
        """The phase's plan.

        Args:
            start: tokens that earlier phases consumed.
            epoch_rows: rows of the phase's bins; needed for a length in epochs.
            owed: rows that rounding left over from earlier phases (`whole_rows`).

        Raises:
            PlanError: mixture, batch or schedule cannot be carried out.
        """
        length = self.sequence_length
        batch = batch_ramp(self.batch, None, length)
        wanted = duration_tokens(
            self.tokens, sequence_length=length, batch=batch, epoch_rows=epoch_rows
        )
        if not row_tokens(wanted, length):
            raise PlanError(
                f"tokens: {self.tokens} is less than half a row of {length} tokens; train for "
                "longer"
            )
        rows, left = whole_rows(wanted, length, owed)
        span = rows * length
        batch = batch_ramp(self.batch, span, length)
        schedule = self.schedule
        origin = start if schedule.restart else 0
        total = schedule.total or start - origin + span + schedule.later
        slack = 8 * length  # tolerance: every earlier phase was rounded to whole rows
        if schedule.kind != "constant" and start - origin + wanted > total + slack:
            raise PlanError(
                f"schedule.total is {total:,} tokens, but the phases up to this one take "
                f"{start - origin + wanted:,}; raise it or leave it out (the default is the sum of "
                "all phases)"
            )
        if schedule.kind != "constant" and schedule.warmup > total:
            raise PlanError(
                f"schedule.warmup of {schedule.warmup:,} tokens is longer than the schedule of "
                f"{total:,}; shorten it"
            )
        return TrainingPlan(
            start=start,
            rows=rows,
            owed=left,
            sequence_length=length,
            batch=batch,
            schedule=Schedule(
                schedule.kind,
                self.optimizer.lr,
                schedule.warmup,
                total,
                schedule.final_ratio,
                schedule.decay,
            ),
            schedule_origin=origin,
            mixture="buckets"
            if self.mixture == "buckets"
            else self._mixture(self.mixture, max(span, wanted), batch),
            trainable=self.trainable,
            rewarm_tokens=round(self.rewarm * span),
        )

    def _mixture(
        self, mixture: dict[str, Literal["rest"] | float | Share], span: int | None, batch: Ramp
    ) -> dict[str, Ramp]:
        shares: dict[str, tuple[Fraction, Fraction, int | None] | Literal["rest"]] = {}
        for category, share in mixture.items():
            if share == "rest":
                shares[category] = "rest"
            elif isinstance(share, Share):
                over = None
                if share.over is not None:
                    over = duration_tokens(
                        share.over, sequence_length=self.sequence_length, batch=batch
                    )
                shares[category] = (Fraction(str(share.start)), Fraction(str(share.end)), over)
            else:
                shares[category] = (Fraction(str(share)), Fraction(str(share)), None)
        return mixture_ramps(shares, span)

    @pydantic.model_validator(mode="after")
    def _check(self) -> TrainingParameters:
        """Check all that is known before the bins exist: everything but lengths in epochs."""
        if self.checkpoint_every is not None and self.checkpoint_every.unit == "epochs":
            raise ValueError(
                f"checkpoint_every: {self.checkpoint_every}; write tokens, rows or steps"
            )
        if self.tokens.unit != "epochs":
            self.plan(start=0)
        elif self.mixture != "buckets":
            self._mixture(self.mixture, None, batch_ramp(self.batch, None, self.sequence_length))
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
        Role("bins", ("binning",), many=True),
    ),
    outputs=(
        Output("checkpoint/*", "files that `from_pretrained` reads"),
        Output("state/*", "optimizer moments and sampler state, which the next phase continues"),
    ),
    bitwise=False,
    exclusive=True,
)
