"""The spec of a training process, and the state that a phase hands on; JSON, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

from tasks.training.planning.cursors import converted
from tasks.training.planning.plan import Position, SharedSchedule, TrainingPlan
from tasks.training.planning.sampler import Sampler
from tasks.training.recipe.sections import Trainable
from tasks.training.stage import TrainingParameters

STATE = "state.json"
CHECKPOINTS = "checkpoints"
"""Folder in `scratch` that holds a running phase's checkpoints, by step."""
STOP = "stop"
"""File in `scratch` that asks a running phase to save and end."""


@dataclass(frozen=True)
class Spec:
    """Input of a training process: parameters and local paths."""

    parameters: TrainingParameters
    bins: dict[str, list[str]]
    """Category -> folders of its bins, in order."""
    previous: str
    """Hugging Face checkpoint to begin from."""
    state: str | None
    """Folder of the state an earlier phase left (optimizer, sampler); None at the first phase."""
    scratch: str
    """Folder for checkpoints and metrics; survives a kill."""
    output: str
    """Folder that `checkpoint/` and `state/` are written to at the end."""
    new_rows: tuple[int, int] | None = None
    """First and last + 1 of the token ids that the model stage added. None where it added none, and
    after the first phase, whose state has them.
    """
    cpu_threads: int = 1
    supervised: str | None = None
    """Folder in which the ranks keep their records, where somebody supervises them."""
    heldout: dict[str, list[str]] = field(default_factory=dict)
    """Category -> files of held-out text, for evaluations inside the phase."""
    events: str = ""
    """Folder of the TensorBoard files; "": `tensorboard` in `scratch`."""
    name: str = "phase"
    """The phase, as a tracker shows it."""
    repeats: dict[str, int] = field(default_factory=dict)
    """Category -> copies of its most repeated document, where more than one."""

    @classmethod
    def read(cls, path: Path) -> Spec:
        """A spec from JSON."""
        values = json.loads(path.read_text())
        values["parameters"] = TrainingParameters.model_validate(values["parameters"])
        values["new_rows"] = tuple(values["new_rows"]) if values.get("new_rows") else None
        return cls(**values)

    def write(self, path: Path) -> None:
        """Write as JSON."""
        values = {
            **vars(self),
            "parameters": self.parameters.model_dump(mode="json", by_alias=True),
        }
        path.write_text(json.dumps(values, sort_keys=True))


@dataclass(frozen=True)
class Carried:
    """What earlier phases hand on besides weights and moments."""

    tokens: int = 0
    """Tokens they consumed."""
    taken: dict[str, int] = field(default_factory=dict)
    """Rows per category taken since the data was restarted."""
    bins: dict[str, list[int]] = field(default_factory=dict)
    """Category -> rows of each bin that they drew from."""
    seed: int | None = None
    trainable: str = ""
    """Trainable set of the last phase; empty at the first."""
    new_rows: tuple[int, int] | None = None
    owed: str = "0"
    """Tokens left over by their rounding to whole rows (`TrainingPlan.owed`)."""
    lengths: dict[str, int] = field(default_factory=dict)
    """Category -> tokens of the rows that `taken` and `bins` count."""
    schedule: dict[str, int] | None = None
    """The schedule that phases share, as the first of them settled it (`SharedSchedule`)."""

    @classmethod
    def read(cls, state: str | None, new_rows: tuple[int, int] | None = None) -> Carried:
        """What earlier phases left in the folder `state`; at the first phase (None), only
        `new_rows`.
        """
        if state is None:
            return cls(new_rows=new_rows)
        values = json.loads((Path(state) / STATE).read_text())
        values["new_rows"] = tuple(values["new_rows"]) if values["new_rows"] else None
        return cls(**values)

    def write(self, folder: Path) -> None:
        """Write into a state folder."""
        (folder / STATE).write_text(json.dumps(asdict(self), sort_keys=True, indent=1) + "\n")


def plan_and_sampler(
    parameters: TrainingParameters,
    bins: Mapping[str, Sequence[int]],
    carried: Carried,
    repeats: Mapping[str, int] | None = None,
) -> tuple[TrainingPlan, Sampler]:
    """The plan of a phase and the sampler of its rows, at the phase's start. `repeats`: as in
    `Spec`; decides no row, only how many there may be.

    Raises:
        PlanError: the plan cannot be carried out.
        DataExhausted: it would repeat a category too often.
        ValueError: `data: continue` over bins or a seed other than those of the phases before.
    """
    taken = _place(parameters, bins, carried) if parameters.data == "continue" else {}
    plan = parameters.plan(
        Position(
            carried.tokens,
            Fraction(carried.owed),
            SharedSchedule(**carried.schedule) if carried.schedule else None,
        ),
        {category: sum(rows) for category, rows in bins.items()},
    )
    sampler = Sampler(
        bins,
        plan.mixture,
        sequence_length=plan.sequence_length,
        seed=parameters.seed,
        max_epochs=parameters.max_epochs,
        taken=taken,
        repeats=repeats,
    )
    sampler.check(plan.rows)
    return plan, sampler


def _place(
    parameters: TrainingParameters, bins: Mapping[str, Sequence[int]], carried: Carried
) -> dict[str, int]:
    """Rows per category that earlier phases took, in rows of this phase's length."""
    if carried.seed not in (None, parameters.seed):
        raise ValueError(
            f"data: continue, but seed is {parameters.seed} and the phase before used "
            f"{carried.seed}, so rows would be in another order; use one seed, or data: restart"
        )
    taken = dict(carried.taken)
    for category, rows in bins.items():
        if not taken.get(category):
            continue
        before = carried.bins[category]
        if carried.lengths.get(category, parameters.sequence_length) != parameters.sequence_length:
            try:
                taken[category] = converted(taken[category], before, rows)
            except ValueError as error:
                raise ValueError(f"data: continue, but of {category!r} {error}") from None
        elif list(rows) != before:
            raise ValueError(
                f"data: continue, but the bins of {category!r} had {before} rows in the phase "
                f"before and have {list(rows)} now; set data: restart"
            )
    return taken


def trained_set(parameters: TrainingParameters, carried: Carried) -> Trainable:
    """The trainable set of a phase; `new-rows` also where an adapter is trained beside these."""
    if parameters.adapter is None:
        return parameters.trainable
    beside = parameters.adapter.embeddings_trained(carried.new_rows is not None)
    return "new-rows" if beside == "new-rows" else "all"


def carried_after(
    carried: Carried,
    parameters: TrainingParameters,
    bins: Mapping[str, Sequence[int]],
    plan: TrainingPlan,
    taken: Mapping[str, int],
) -> Carried:
    """What a phase hands on, given what it received and `taken` of its sampler at its end."""
    own = {category: list(rows) for category, rows in bins.items()}
    return Carried(
        tokens=plan.start + plan.tokens,
        taken=dict(taken),
        bins={**carried.bins, **own},
        seed=parameters.seed,
        trainable=trained_set(parameters, carried),
        new_rows=carried.new_rows,
        owed=str(plan.owed),
        lengths={**carried.lengths, **dict.fromkeys(own, plan.sequence_length)},
        schedule=asdict(plan.shared) if plan.shared else None,
    )


def resume_place(scratch: Path, name: str, sequence_length: int) -> str:
    """A sentence that says where the next run of an interrupted phase continues from."""
    checkpoints = sorted((scratch / CHECKPOINTS).glob("step-*"))
    if not checkpoints:
        return f"training/{name} has no checkpoint yet; the next run starts this phase over"
    state = json.loads((checkpoints[-1] / "state.json").read_text(encoding="utf-8"))
    tokens = state["rows"] * sequence_length
    return (
        f"training/{name} has a checkpoint at step {state['step']:,} ({tokens:,} tokens of this "
        "phase); the next run continues from there"
    )
