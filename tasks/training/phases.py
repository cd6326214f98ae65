"""The recipe's `training:` section: all phases, and the parameters of each phase's node.

A recipe states all phases together; the store has one node per phase. `TrainingSection.node`
extracts a phase's parameters so that they hold only what decides its bytes: its own interval, and
of later phases only their total length, where the schedule spans them (nothing where
`schedule.total` is stated). Imports are light: pydantic and the standard library.
"""

from __future__ import annotations

from typing import Annotated, Any

import pydantic

from infra.stage import NOT_IDENTITY, Parameters
from tasks.training.coarse import StatedPhase, coarse_section, phase_warnings
from tasks.training.devices import Devices
from tasks.training.durations import Duration, tokens
from tasks.training.plan import PlanError, Trainable, duration_tokens
from tasks.training.sections import (
    AttentionField,
    Batch,
    BatchRamp,
    Compile,
    DataCursor,
    DocumentMask,
    Guard,
    Mixture,
    Optimizer,
    PrecisionField,
    RecomputeField,
    ScheduleSection,
    batch_ramp,
    row_tokens,
)
from tasks.training.stage import NodeSchedule, TrainingParameters


class PhaseSection(Parameters):
    """One phase as stated in the recipe; defaults come from the section around it."""

    name: str = pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    tokens: Duration
    batch: Batch | None = None
    mixture: Mixture = "buckets"
    trainable: Trainable = "all"
    lr: float | None = pydantic.Field(
        default=None, gt=0, description="peak of this phase, instead of optimizer.lr"
    )
    schedule: ScheduleSection | None = pydantic.Field(
        default=None, description="a schedule of the phase's own"
    )
    data: DataCursor = "continue"
    rewarm: float = pydantic.Field(default=0.01, ge=0, le=1)
    max_epochs: float | None = pydantic.Field(default=None, gt=0)


class TrainingSection(Parameters):
    """The `training:` section of a recipe."""

    phases: tuple[PhaseSection, ...] = pydantic.Field(min_length=1)
    batch: Batch | None = None
    optimizer: Optimizer = Optimizer()
    schedule: ScheduleSection = ScheduleSection()
    max_epochs: float = pydantic.Field(default=4, gt=0)
    precision: PrecisionField = "fp32"
    document_mask: DocumentMask = True
    recompute: RecomputeField = "none"
    compile: Compile = False
    attention: AttentionField = "auto"
    guard: Guard = Guard()
    seed: int = 0
    micro_batch: Annotated[int, NOT_IDENTITY, pydantic.Field(gt=0)] = 8
    checkpoint_every: Annotated[Duration | None, NOT_IDENTITY] = None
    keep: Annotated[int, NOT_IDENTITY, pydantic.Field(gt=0)] = pydantic.Field(
        default=2, description="checkpoints kept of a running phase"
    )
    devices: Annotated[Devices, NOT_IDENTITY] = Devices()

    @pydantic.model_validator(mode="after")
    def _check(self) -> TrainingSection:
        names = [phase.name for phase in self.phases]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"phases: the name {twice[0]!r} is given to {names.count(twice[0])} phases; rename "
                "one"
            )
        for phase in self.phases:
            if phase.batch is None and self.batch is None:
                raise ValueError(
                    f"phase {phase.name!r} has no batch; state `batch` in it or in `training`"
                )
        return self

    def batch_of(self, phase: PhaseSection) -> int | BatchRamp:
        """Batch tokens of a phase: its own, else the section's."""
        batch = phase.batch or self.batch
        if batch is None:
            raise ValueError(f"phase {phase.name!r} has no batch")
        return batch

    def phase_tokens(
        self, sequence_length: int, epoch_rows: dict[str, int] | None = None
    ) -> dict[str, int | None]:
        """Tokens of every phase; None where it is stated in epochs and not in `epoch_rows`.

        `epoch_rows`: phase -> rows of its bins.
        """
        lengths: dict[str, int | None] = {}
        for phase in self.phases:
            rows = (epoch_rows or {}).get(phase.name)
            if phase.tokens.unit == "epochs" and rows is None:
                lengths[phase.name] = None
                continue
            batch = batch_ramp(self.batch_of(phase), None, sequence_length)
            wanted = duration_tokens(
                phase.tokens, sequence_length=sequence_length, batch=batch, epoch_rows=rows
            )
            lengths[phase.name] = wanted
        return lengths

    def node(self, name: str, sequence_length: int) -> TrainingParameters:
        """The parameters of one phase's node.

        Raises:
            PlanError: phases and schedule contradict each other.
        """
        lengths = self.phase_tokens(sequence_length)
        index = [phase.name for phase in self.phases].index(name)
        phase = self.phases[index]
        earlier = [lengths[other.name] for other in self.phases[:index]]
        following = [lengths[other.name] for other in self.phases[index + 1 :]]
        own = lengths[name]
        values = self.model_dump(
            exclude={"phases", "batch", "schedule", "optimizer"}, by_alias=True
        )
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
            values["schedule"] = self._schedule(
                phase.schedule, phase, sequence_length, [], [], restart=True
            )
        else:
            values["schedule"] = self._schedule(
                self.schedule,
                self.phases[0],
                sequence_length,
                [*earlier, own],
                following,
                restart=False,
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
        batch = batch_ramp(self.batch_of(first), None, sequence_length)

        def length(duration: Duration) -> int:
            return duration_tokens(duration, sequence_length=sequence_length, batch=batch)

        total, later = None, 0
        if stated.kind != "constant":
            if stated.total is not None:
                total = length(stated.total)
                known = sum(tokens_of for tokens_of in [*begun, *following] if tokens_of)
                if total < known:
                    raise PlanError(
                        f"schedule.total is {total:,} tokens, but the phases sum to {known:,}; "
                        "raise it or leave it out"
                    )
            elif None in following:
                raise PlanError(
                    "schedule.total: a later phase is stated in epochs, so the sum of phases is "
                    "not known before binning; state schedule.total, or that phase, in tokens"
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
        """Settings that are valid but probably not intended."""
        lengths = self.phase_tokens(sequence_length)
        warnings = []
        for number, phase in enumerate(self.phases):
            facts = StatedPhase(
                name=phase.name,
                tokens=lengths[phase.name],
                batch=self.batch_of(phase),
                mixture=phase.mixture,
                rewarm=phase.rewarm if "rewarm" in phase.model_fields_set else None,
                schedule=phase.schedule,
            )
            warnings += phase_warnings(facts, sequence_length)
            if not number:
                warnings += coarse_section(
                    facts, self.schedule, self.checkpoint_every, sequence_length
                )
        known = sum(tokens_of for tokens_of in lengths.values() if tokens_of)
        total: Any = self.schedule.total
        if total is not None and total.unit != "epochs" and None not in lengths.values():
            batch = batch_ramp(self.batch_of(self.phases[0]), None, sequence_length)
            stated = duration_tokens(total, sequence_length=sequence_length, batch=batch)
            if stated > known:
                warnings.append(
                    f"training.schedule.total is {stated:,} tokens, but the phases sum to "
                    f"{known:,}: the learning rate will not reach its final value"
                )
        return warnings
