"""Parameters of training: the recipe's `training:` section, and what one phase's node is versioned by.

A recipe states all phases together; the store has one node per phase. `TrainingSection.node` cuts a phase's parameters
out of the section so that they hold only what decides its bytes: its own interval, and of later phases no more than
the length of a schedule that spans them (nothing where `schedule.total` is stated). Light: pydantic and stdlib only.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

import pydantic

from infra.quantities import Count
from infra.stage import NOT_IDENTITY, Parameters, Stage
from tasks.training.durations import Duration, tokens
from tasks.training.plan import (
    Plan,
    PlanError,
    Ramp,
    Schedule,
    ScheduleKind,
    Trainable,
    duration_tokens,
    mixture_ramps,
)

NO_WARMUP = Duration(amount=Fraction(0))


class Optimizer(Parameters):
    """AdamW (Loshchilov and Hutter 2019); weight decay acts on matrices only, `gradient_clip` is a global norm."""

    name: Literal["adamw"] = "adamw"
    lr: float = pydantic.Field(default=3e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = pydantic.Field(default=1e-8, gt=0)
    weight_decay: float = pydantic.Field(default=0.1, ge=0)
    gradient_clip: float = pydantic.Field(default=1.0, ge=0, description="0 does not clip")


class ScheduleSection(Parameters):
    """Learning rate over the whole run; `total` defaults to the sum of phases."""

    kind: ScheduleKind = "cosine"
    warmup: Duration = NO_WARMUP
    final_ratio: float = pydantic.Field(default=0.1, ge=0, le=1)
    total: Duration | None = None
    decay: float = pydantic.Field(default=0.1, gt=0, le=1, description="wsd: share of total over which lr falls")


class Share(Parameters):
    """A share of the mixture that moves linearly over the first `over` of the phase (all of it by default)."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    start: float = pydantic.Field(alias="from", ge=0, le=1)
    end: float = pydantic.Field(alias="to", ge=0, le=1)
    over: Duration | None = None


class BatchRamp(Parameters):
    """Batch tokens that grow or fall linearly over the first `over` of the phase (all of it by default)."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    start: Count = pydantic.Field(alias="from", gt=0)
    end: Count = pydantic.Field(alias="to", gt=0)
    over: Duration | None = None


class Guard(Parameters):
    """A step is skipped when its loss or gradient norm is not finite, or its loss over `spike` x the running median
    (and 3 nats above it).

    After `patience` skipped steps in a row the phase stops and names the documents of the last batch. A loss above that
    of guessing after warm-up, or far above the phase's beginning, is told; a phase whose last 64 steps leave no doubt
    that it has diverged stops, unless `diverged` is `warn`.
    """

    spike: float = pydantic.Field(default=3.0, ge=0, description="0 looks for values that are not finite only")
    patience: int = pydantic.Field(default=3, ge=1)
    diverged: Annotated[
        Literal["stop", "warn"],
        NOT_IDENTITY,
        pydantic.Field(description="a phase whose loss is lost for good: stop it, or only say so"),
    ] = "stop"


PositiveCount = Annotated[Count, pydantic.Field(gt=0)]
Batch = PositiveCount | BatchRamp
ShareValue = Annotated[float, pydantic.Field(ge=0, le=1)]
Mixture = Literal["buckets"] | dict[str, Literal["rest"] | ShareValue | Share]
Data = Literal["continue", "restart"]
Precision = Literal["fp32", "bf16", "fp64"]


class NodeSchedule(Parameters):
    """The schedule as one phase needs it, in tokens.

    `total` counts from the start of the run (of the phase, where it restarts). Unstated, it is what earlier phases
    consumed, plus this phase, plus `later`.
    """

    kind: ScheduleKind
    warmup: int
    final_ratio: float
    decay: float
    total: int | None = None
    later: int = 0
    restart: bool = False


class TrainingParameters(Parameters):
    """One phase. No identity: `micro_batch` (the order of floating-point sums, like hardware; never the rows),
    `max_epochs` (whether the phase may run, not what it does), `checkpoint_every`.
    """

    tokens: Duration
    batch: Batch
    sequence_length: int = pydantic.Field(gt=1)
    mixture: Mixture
    trainable: Trainable = "all"
    optimizer: Optimizer = Optimizer()
    schedule: NodeSchedule
    data: Data = "continue"
    max_epochs: Annotated[float, NOT_IDENTITY, pydantic.Field(gt=0)] = 4
    rewarm: float = pydantic.Field(default=0.01, ge=0, le=1)
    precision: Precision = "fp32"
    guard: Guard = Guard()
    seed: int = 0
    micro_batch: Annotated[int, NOT_IDENTITY, pydantic.Field(gt=0)] = 8
    checkpoint_every: Annotated[Duration | None, NOT_IDENTITY] = None

    def plan(self, start: int, epoch_rows: int | None = None) -> Plan:
        """The phase's plan, given the tokens earlier phases consumed and the rows its bins hold.

        Raises:
            PlanError: a mixture, batch or schedule that cannot be carried out.
        """
        length = self.sequence_length
        batch = _batch_ramp(self.batch, None, length)
        wanted = duration_tokens(self.tokens, sequence_length=length, batch=batch, epoch_rows=epoch_rows)
        span = row_tokens(wanted, length)
        if not span:
            raise PlanError(f"tokens: {self.tokens} is less than half a row of {length} tokens; train for longer")
        batch = _batch_ramp(self.batch, span, length)
        schedule = self.schedule
        origin = start if schedule.restart else 0
        total = schedule.total or start - origin + span + schedule.later
        slack = 8 * length  # every earlier phase was rounded to whole rows
        if schedule.kind != "constant" and start - origin + wanted > total + slack:
            raise PlanError(
                f"schedule.total is {total:,} tokens, but the phases up to this one take {start - origin + wanted:,}; "
                "raise it or leave it out (then it is the sum of phases)"
            )
        if schedule.kind != "constant" and schedule.warmup > total:
            raise PlanError(f"schedule.warmup of {schedule.warmup:,} tokens is longer than the schedule, {total:,}")
        return Plan(
            start=start,
            rows=span // length,
            sequence_length=length,
            batch=batch,
            schedule=Schedule(
                schedule.kind, self.optimizer.lr, schedule.warmup, total, schedule.final_ratio, schedule.decay
            ),
            schedule_origin=origin,
            mixture="buckets" if self.mixture == "buckets" else self._mixture(self.mixture, max(span, wanted), batch),
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
                    over = duration_tokens(share.over, sequence_length=self.sequence_length, batch=batch)
                shares[category] = (Fraction(str(share.start)), Fraction(str(share.end)), over)
            else:
                shares[category] = (Fraction(str(share)), Fraction(str(share)), None)
        return mixture_ramps(shares, span)

    @pydantic.model_validator(mode="after")
    def _check(self) -> TrainingParameters:
        """Check what can be checked before the bins exist: everything but lengths in epochs."""
        if self.checkpoint_every is not None and self.checkpoint_every.unit == "epochs":
            raise ValueError(f"checkpoint_every: {self.checkpoint_every}; write tokens, rows or steps")
        if self.tokens.unit != "epochs":
            self.plan(start=0)
        elif self.mixture != "buckets":
            self._mixture(self.mixture, None, _batch_ramp(self.batch, None, self.sequence_length))
        return self


def row_tokens(amount: int, sequence_length: int) -> int:
    """Tokens rounded to whole rows: what a phase of that length really consumes."""
    return (2 * amount + sequence_length) // (2 * sequence_length) * sequence_length


def _batch_ramp(batch: int | BatchRamp, span: int | None, sequence_length: int) -> Ramp:
    """Batch tokens by token of the phase; `span`, the phase's length, is what a ramp without `over` takes."""
    if isinstance(batch, int):
        return Ramp.constant(batch)
    if batch.over is None:
        return Ramp.between(batch.start, batch.end, span) if span else Ramp.constant(batch.start)
    if batch.over.unit in ("steps", "epochs"):
        raise PlanError(f"batch.over: {batch.over}: a step has no fixed length here; write tokens or rows")
    return Ramp.between(batch.start, batch.end, duration_tokens(batch.over, sequence_length=sequence_length))


class PhaseSection(Parameters):
    """One phase as the recipe states it; what is left out comes from the section around it."""

    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    tokens: Duration
    batch: Batch | None = None
    mixture: Mixture = "buckets"
    trainable: Trainable = "all"
    lr: float | None = pydantic.Field(default=None, gt=0, description="peak of this phase, instead of optimizer.lr")
    schedule: ScheduleSection | None = pydantic.Field(default=None, description="a schedule of the phase's own")
    data: Data = "continue"
    rewarm: float = pydantic.Field(default=0.01, ge=0, le=1)
    max_epochs: float | None = pydantic.Field(default=None, gt=0)


class TrainingSection(Parameters):
    """The `training:` section of a recipe."""

    phases: tuple[PhaseSection, ...] = pydantic.Field(min_length=1)
    batch: Batch | None = None
    optimizer: Optimizer = Optimizer()
    schedule: ScheduleSection = ScheduleSection()
    max_epochs: float = pydantic.Field(default=4, gt=0)
    precision: Precision = "fp32"
    guard: Guard = Guard()
    seed: int = 0
    micro_batch: Annotated[int, NOT_IDENTITY, pydantic.Field(gt=0)] = 8
    checkpoint_every: Annotated[Duration | None, NOT_IDENTITY] = None

    @pydantic.model_validator(mode="after")
    def _check(self) -> TrainingSection:
        names = [phase.name for phase in self.phases]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"phases: the name {twice[0]!r} is given to {names.count(twice[0])} phases; rename one")
        for phase in self.phases:
            if phase.batch is None and self.batch is None:
                raise ValueError(f"phase {phase.name!r} has no batch; state `batch` in it or in `training`")
        return self

    def batch_of(self, phase: PhaseSection) -> int | BatchRamp:
        """Batch tokens of a phase: its own, else the section's."""
        batch = phase.batch or self.batch
        if batch is None:
            raise ValueError(f"phase {phase.name!r} has no batch")
        return batch

    def phase_tokens(self, sequence_length: int, epoch_rows: dict[str, int] | None = None) -> dict[str, int | None]:
        """Tokens of every phase; None where it is in epochs and `epoch_rows` (phase -> rows of its bins) lacks it."""
        lengths: dict[str, int | None] = {}
        for phase in self.phases:
            rows = (epoch_rows or {}).get(phase.name)
            if phase.tokens.unit == "epochs" and rows is None:
                lengths[phase.name] = None
                continue
            batch = _batch_ramp(self.batch_of(phase), None, sequence_length)
            wanted = duration_tokens(phase.tokens, sequence_length=sequence_length, batch=batch, epoch_rows=rows)
            lengths[phase.name] = wanted
        return lengths

    def node(self, name: str, sequence_length: int) -> TrainingParameters:
        """The parameters of one phase's node.

        Raises:
            PlanError: the phases or the schedule do not fit together.
        """
        lengths = self.phase_tokens(sequence_length)
        index = [phase.name for phase in self.phases].index(name)
        phase = self.phases[index]
        earlier = [lengths[other.name] for other in self.phases[:index]]
        following = [lengths[other.name] for other in self.phases[index + 1 :]]
        own = lengths[name]
        values = self.model_dump(exclude={"phases", "batch", "schedule", "optimizer"}, by_alias=True)
        values |= {
            "tokens": phase.tokens if own is None else tokens(own),
            "batch": self.batch_of(phase),
            "sequence_length": sequence_length,
            "mixture": phase.mixture,
            "trainable": phase.trainable,
            "data": phase.data,
            "rewarm": phase.rewarm,
            "max_epochs": phase.max_epochs or self.max_epochs,
            "optimizer": self.optimizer.model_copy(update={"lr": phase.lr} if phase.lr else {}),
        }
        if phase.schedule is not None:
            values["schedule"] = self._schedule(phase.schedule, phase, sequence_length, [], [], restart=True)
        else:
            values["schedule"] = self._schedule(
                self.schedule, self.phases[0], sequence_length, [*earlier, own], following, restart=False
            )
        return TrainingParameters(**values)

    def _schedule(
        self,
        stated: ScheduleSection,
        first: PhaseSection,
        sequence_length: int,
        begun: list[int | None],
        following: list[int | None],
        *,
        restart: bool,
    ) -> NodeSchedule:
        batch = _batch_ramp(self.batch_of(first), None, sequence_length)

        def length(duration: Duration) -> int:
            return duration_tokens(duration, sequence_length=sequence_length, batch=batch)

        total, later = None, 0
        if stated.kind != "constant":
            if stated.total is not None:
                total = length(stated.total)
                known = sum(tokens_of for tokens_of in [*begun, *following] if tokens_of)
                if total < known:
                    raise PlanError(
                        f"schedule.total is {total:,} tokens, but the phases sum to {known:,}; raise it or leave it out"
                    )
            elif None in following:
                raise PlanError(
                    "schedule.total: a phase is in epochs, so the sum of phases is not known before binning; "
                    "state schedule.total in tokens, or that phase's tokens"
                )
            else:
                later = sum(row_tokens(tokens_of or 0, sequence_length) for tokens_of in following)
        return NodeSchedule(
            kind=stated.kind,
            warmup=length(stated.warmup),
            final_ratio=stated.final_ratio,
            decay=stated.decay,
            total=total,
            later=later,
            restart=restart,
        )

    def warnings(self, sequence_length: int) -> list[str]:
        """What is allowed but probably not meant."""
        found = []
        lengths = self.phase_tokens(sequence_length)
        known = sum(tokens_of for tokens_of in lengths.values() if tokens_of)
        total: Any = self.schedule.total
        if total is not None and total.unit != "epochs" and None not in lengths.values():
            batch = _batch_ramp(self.batch_of(self.phases[0]), None, sequence_length)
            stated = duration_tokens(total, sequence_length=sequence_length, batch=batch)
            if stated > known:
                found.append(
                    f"training.schedule.total is {stated:,} tokens, the phases sum to {known:,}: "
                    "the learning rate will not reach its end"
                )
        return found


STAGE = Stage(
    "training",
    version=2,
    parameters=TrainingParameters,
    run="tasks.training.run:run",
    summary="continued pretraining, one node per phase",
    bitwise=False,
    exclusive=True,
)
