"""The recipe's `training:` section: all phases, and the parameters of each phase's node.

A recipe states all phases together; the store has one node per phase. `TrainingSection.node`
extracts a phase's parameters so that they hold only what decides its bytes: its own interval, and
of later phases only their total length, where the schedule spans them (nothing where
`schedule.total` is stated). Imports are light: pydantic and the standard library.
"""

from __future__ import annotations

import contextlib
import importlib.util
from typing import Annotated

import pydantic

from infra.stage import NOT_IDENTITY, Parameters
from tasks.training.phases.coarse import StatedPhase, coarse_section, phase_warnings
from tasks.training.phases.node_schedule import node_schedule, refuse_unknown_steps, slack
from tasks.training.phases.phase_section import PhaseSection
from tasks.training.phases.standing import Standing, Stated, standings, tokens_of_run
from tasks.training.planning.lengths import NotKnownYet, fixed_tokens
from tasks.training.planning.plan import Position
from tasks.training.recipe.adapter import Adapter, refuse_untrained
from tasks.training.recipe.devices import Devices
from tasks.training.recipe.durations import Duration, tokens
from tasks.training.recipe.hardware import Hardware
from tasks.training.recipe.mixtures import BucketsOf
from tasks.training.recipe.monitoring import EvaluationField, TrackerField
from tasks.training.recipe.sections import (
    DEFAULT_EPOCHS,
    AttentionField,
    Batch,
    BatchRamp,
    Compile,
    DocumentMask,
    Guard,
    MaxEpochs,
    Optimizer,
    PrecisionField,
    RecomputeField,
    ScheduleSection,
    Seed,
)
from tasks.training.stage import TrainingParameters


class TrainingSection(Parameters):
    """The `training:` section of a recipe."""

    origin: str | None = pydantic.Field(
        default=None,
        alias="from",
        description="artifact:RECIPE/training/PHASE@TAG, a phase of another recipe that these go "
        "on from: with its weights, moments, tokens, schedule and place in the data",
    )
    phases: tuple[PhaseSection, ...] = pydantic.Field(min_length=1)
    batch: Batch | None = pydantic.Field(
        default=None, description="tokens or rows of an optimizer step, such as 4M or 64 rows"
    )
    optimizer: Optimizer = Optimizer()
    adapter: Adapter | None = pydantic.Field(
        default=None,
        description="LoRA or QLoRA in all phases that state no adapter of their own",
    )
    schedule: ScheduleSection = ScheduleSection()
    max_epochs: MaxEpochs = pydantic.Field(
        default=DEFAULT_EPOCHS,
        description="times that a document may be read, over all phases that continue the data, "
        "a sampling curve's copies counted: a number, or category -> number (`*`: those not "
        "named)",
    )
    precision: PrecisionField = "fp32"
    document_mask: DocumentMask = True
    recompute: RecomputeField = "none"
    compile: Compile = False
    attention: AttentionField = "auto"
    guard: Guard = Guard()
    seed: Seed = 0
    micro_batch: Annotated[int, NOT_IDENTITY, pydantic.Field(gt=0)] = 8
    checkpoint_every: Annotated[Duration | None, NOT_IDENTITY] = pydantic.Field(
        default=None,
        description="tokens, rows, steps, or epochs of the phase's bins, between two checkpoints; "
        "by default every 30 s, or less often where saving takes long",
    )
    keep: Annotated[int, NOT_IDENTITY, pydantic.Field(gt=0)] = pydantic.Field(
        default=2, description="checkpoints kept of a running phase"
    )
    devices: Annotated[Devices, NOT_IDENTITY] = Devices()
    hardware: Annotated[Hardware | None, NOT_IDENTITY] = pydantic.Field(
        default=None,
        description="accelerators that `puna plan` computes time, energy, CO2 and money for, "
        "and the report what training has cost; decides nothing else of a run",
    )
    evaluation: EvaluationField = None
    tracker: TrackerField = "none"

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
            try:
                refuse_untrained(self.adapter_of(phase), phase.trainable)
            except ValueError as error:
                raise ValueError(f"phase {phase.name!r}: {error}") from error
        if self.checkpoint_every is not None and not self.checkpoint_every.amount:
            raise ValueError(
                f"checkpoint_every: {self.checkpoint_every} is no interval; state more, or leave "
                "it out"
            )
        return self

    def batch_of(self, phase: PhaseSection) -> Batch:
        """The batch of a phase: its own, else the section's."""
        batch = phase.batch or self.batch
        if batch is None:
            raise ValueError(f"phase {phase.name!r} has no batch")
        return batch

    def adapter_of(self, phase: PhaseSection) -> Adapter | None:
        """The adapter of a phase: its own, else the section's."""
        return self.adapter if isinstance(phase.adapter, str) else phase.adapter

    def standings(self, sequence_length: int) -> list[Standing]:
        """Where each phase stands; `sequence_length`: of phases without their own."""
        return list(
            standings(
                [
                    Stated(
                        phase.tokens,
                        self.batch_of(phase),
                        phase.mixture,
                        phase.sequence_length or sequence_length,
                        phase.data,
                    )
                    for phase in self.phases
                ],
                None if self.origin else 0,
            )
        )

    def node(self, name: str, sequence_length: int) -> TrainingParameters:
        """The parameters of one phase's node.

        Raises:
            PlanError: phases and schedule contradict each other.
        """
        index = [phase.name for phase in self.phases].index(name)
        phase, stand = self.phases[index], self.standings(sequence_length)
        here = stand[index]
        length = here.stated.sequence_length
        values = self.model_dump(
            exclude={
                "origin",
                "phases",
                "batch",
                "schedule",
                "optimizer",
                "max_epochs",
                "hardware",
            },
            by_alias=True,
        )
        values |= {
            "tokens": _in_tokens(phase.tokens, length),
            "batch": _batch_in_tokens(here.stated.batch, length),
            "sequence_length": length,
            "context": phase.context,
            "mixture": "buckets" if isinstance(phase.mixture, BucketsOf) else phase.mixture,
            "trainable": phase.trainable,
            "adapter": self.adapter_of(phase),
            "data": phase.data,
            "rewarm": phase.rewarm,
            "max_epochs": self.max_epochs_of(phase),
            "optimizer": self.optimizer.model_copy(update={"lr": phase.lr} if phase.lr else {}),
            "schedule": node_schedule(phase.schedule, [here], 0, restart=True)
            if phase.schedule is not None
            else node_schedule(
                self.schedule, stand, index, restart=False, begun=self.origin is not None
            ),
        }
        if here.start != 0 and all(other.schedule for other in self.phases[:index]):
            refuse_unknown_steps(values["schedule"])
        node = TrainingParameters(**values)
        if here.start is not None and here.length is not None:
            with contextlib.suppress(NotKnownYet):  # shares that a search or bins will give
                node.plan(Position(here.start, here.owed))
        return node

    def max_epochs_of(self, phase: PhaseSection) -> MaxEpochs:
        """The limit of a phase: its own, beside the section's for categories that it leaves out."""
        own, around = phase.max_epochs, self.max_epochs
        if not isinstance(own, dict):
            return own or around
        if "*" in own:
            return own
        return {**(around if isinstance(around, dict) else {"*": around}), **own}

    def warnings(self, sequence_length: int) -> list[str]:
        """Settings that are valid but probably not intended."""
        stand = self.standings(sequence_length)
        warnings = []
        for number, (phase, here) in enumerate(zip(self.phases, stand, strict=True)):
            facts = StatedPhase(
                name=phase.name,
                standing=here,
                rewarm=phase.rewarm if "rewarm" in phase.model_fields_set else None,
                schedule=phase.schedule,
                ranks=1 if self.devices.ranks == "auto" else self.devices.ranks,
            )
            warnings += phase_warnings(facts)
            if not number:
                warnings += coarse_section(facts, self.schedule, self.checkpoint_every)
        lengths = [here.wanted for here in stand]
        known = sum(length or 0 for length in lengths)
        total = self.schedule.total
        stated = tokens_of_run(total, stand) if total is not None else None
        all_known = None not in lengths and self.origin is None
        if stated is not None and all_known and stated > known + slack(stand):
            warnings.append(
                f"training.schedule.total is {stated:,} tokens, but the phases sum to "
                f"{known:,}: the learning rate will not reach its final value"
            )
        if self.tracker != "none" and importlib.util.find_spec(self.tracker) is None:
            warnings.append(
                f"training.tracker: {self.tracker} is not installed here; where training runs "
                "without it, nothing is sent. Install it with: pip install "
                f"'puna[{self.tracker}]'"
            )
        return warnings


def _in_tokens(duration: Duration | None, sequence_length: int) -> Duration | None:
    """Rows as tokens: they are the same phase. Steps and epochs stay."""
    if duration is None or duration.unit in ("steps", "epochs"):
        return duration
    return tokens(fixed_tokens(duration, sequence_length))


def _batch_in_tokens(batch: Batch, sequence_length: int) -> Batch:
    def size(stated: Duration) -> Duration:
        return tokens(fixed_tokens(stated, sequence_length))

    if isinstance(batch, BatchRamp):
        return batch.model_copy(update={"start": size(batch.start), "end": size(batch.end)})
    return size(batch)
