"""From a recipe's `training` section, the facts of its phases and a shape to predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.checkpoints.shapes import ModelShape
from tasks.training.phases.facts import PhaseFacts
from tasks.training.phases.phase_section import PhaseSection
from tasks.training.phases.section import TrainingSection
from tasks.training.predict.cost import Cost, cost_of, total
from tasks.training.predict.disk import Disk, disk_of
from tasks.training.predict.flops import MatmulShape, training_flops
from tasks.training.predict.memory import ROOM, Memory, memory_of
from tasks.training.predict.setup import (
    LINEARS,
    AbsentTarget,
    AdapterSetup,
    Setup,
    matmul_counts,
    targeted,
    trained_parameters,
)
from tasks.training.recipe.adapter import Adapter
from tasks.training.recipe.devices import Devices
from tasks.training.recipe.hardware import Hardware

RANKS_PER_MACHINE = 8
"""Accelerators of a machine, for `shard: hybrid` without `replicas`."""


@dataclass(frozen=True)
class PhasePrediction:
    """What a phase takes. None: not known before the bins exist, or without hardware."""

    name: str
    setup: Setup | None = None
    trained: int | None = None
    """Parameters with gradients."""
    memory: Memory | None = None
    flops: int | None = None
    cost: Cost | None = None
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The figures by name."""
        memory = self.memory
        return {
            "trained_parameters": self.trained,
            "memory_bytes": None
            if memory is None
            else {"total": memory.total, "moment": memory.moment, "host": memory.host}
            | {"parts": memory.parts},
            "flops": self.flops,
            "cost": self.cost.to_json() if self.cost else None,
        }


@dataclass(frozen=True)
class Prediction:
    """What all phases take."""

    shape: ModelShape
    hardware: Hardware | None
    precision: str
    phases: tuple[PhasePrediction, ...]
    disk: Disk | None = None
    """None where the length of a phase is not known."""

    @property
    def warnings(self) -> list[str]:
        """Of all phases, each once."""
        return list(dict.fromkeys(told for phase in self.phases for told in phase.warnings))

    @property
    def cost(self) -> Cost | None:
        """Of all phases; None where one of them is not known."""
        costs = [phase.cost for phase in self.phases if phase.cost is not None]
        return total(costs) if len(costs) == len(self.phases) else None

    def to_json(self) -> dict[str, Any]:
        """The figures by name."""
        return {
            "parameters": self.shape.parameters,
            "vocabulary": self.shape.vocab_size,
            "hardware": _hardware_json(self.hardware, self.precision),
            "cost": self.cost.to_json() if self.cost else None,
            "disk_bytes": self.disk.to_json() if self.disk else None,
        }


def _hardware_json(hardware: Hardware | None, precision: str) -> dict[str, Any] | None:
    if hardware is None:
        return None
    peak = hardware.peak(precision)
    return hardware.model_dump(mode="json") | {
        "peak_tflops": None if peak is None else peak / 1e12,
        "memory_gb": hardware.memory_bytes / 1e9,
        "watts": hardware.power_watts,
        "price_per_hour": hardware.dollars_per_hour,
    }


def predict(
    section: TrainingSection,
    facts: Sequence[PhaseFacts],
    shape: ModelShape,
    grows: bool = False,
) -> Prediction:
    """Memory, operations and cost of every phase; `grows` as in `setup_of`.

    Raises:
        AbsentTarget: an adapter's target that the model has no module for.
    """
    hardware = section.hardware
    phases = tuple(
        _of_phase(section, phase, fact, shape, grows)
        for phase, fact in zip(section.phases, facts, strict=True)
    )
    known = [(p.setup, p.trained) for p in phases if p.setup is not None and p.trained is not None]
    disk = None
    if len(known) == len(phases):
        disk = disk_of(shape, known, sum(fact.tokens or 0 for fact in facts), section.keep)
    return Prediction(shape, hardware, section.precision, phases, disk)


def _of_phase(
    section: TrainingSection,
    phase: PhaseSection,
    fact: PhaseFacts,
    shape: ModelShape,
    grows: bool,
) -> PhasePrediction:
    hardware = section.hardware
    if fact.tokens is None or fact.rows is None or fact.batch_start is None:
        return PhasePrediction(phase.name)
    setup = setup_of(section, phase, fact, hardware, shape.num_hidden_layers, grows)
    memory = memory_of(shape, setup)
    flops = phase_flops(shape, setup, fact.rows)
    cost = cost_of(flops, setup.precision, hardware) if hardware else None
    warnings = list(_full_rank(phase.name, shape, setup.adapter)) if setup.adapter else []
    if hardware is not None:
        warnings += _warnings(phase.name, setup, memory, hardware)
    trained = trained_parameters(shape, setup)
    return PhasePrediction(phase.name, setup, trained, memory, flops, cost, tuple(warnings))


def phase_flops(shape: ModelShape, setup: Setup, rows: int) -> int:
    """Operations of a phase: `predict/flops.py`, with attention over whole rows, as documents
    are not known before binning. Frozen matrices cost 4 operations instead of 6.
    """
    length = setup.sequence_length
    passed, trained = matmul_counts(shape, setup)
    matmuls = MatmulShape(passed, shape.num_hidden_layers, shape.attention_width, trained)
    pairs = rows * (length * (length + 1) // 2)
    return training_flops(matmuls, rows * length, pairs)


def setup_of(
    section: TrainingSection,
    phase: PhaseSection,
    fact: PhaseFacts,
    hardware: Hardware | None,
    layers: int,
    grows: bool = False,
) -> Setup:
    """How a phase is trained on this hardware; its largest step decides.

    Args:
        layers: of the model.
        grows: whether the tokenizer gains tokens, whose rows an adapter's phase then trains too.

    Raises:
        AbsentTarget: an adapter's target that the model has no module for.
    """
    devices = section.devices
    cuda = devices.kind == "cuda"
    if hardware is not None:
        cuda = hardware.accelerator != "CPU" and devices.kind != "cpu"
    ranks = ranks_of(devices, hardware)
    largest = max(fact.batch_start or 0, fact.batch_end or 0)
    rows = max(1, round(largest / fact.sequence_length))
    own = -(-rows // ranks)
    kernels = cuda and section.precision in ("bf16", "fp16") and section.attention != "sdpa"
    return Setup(
        micro_batch=min(section.micro_batch, own),
        sequence_length=fact.sequence_length,
        precision=section.precision,
        recompute=section.recompute,
        device="cuda" if cuda else "cpu",
        by_lengths=kernels,
        document_mask=section.document_mask,
        accumulates=own > section.micro_batch,
        ranks=ranks,
        replicas=devices.mesh_shape(ranks, min(ranks, RANKS_PER_MACHINE))[0],
        offload=devices.offload == "optimizer",
        optimizer=section.optimizer.name,
        trainable=phase.trainable,
        adapter=_adapter_of(section, phase, layers, grows),
    )


def ranks_of(devices: Devices, hardware: Hardware | None) -> int:
    """Ranks that train together: those stated, else as many as accelerators."""
    if devices.ranks != "auto":
        return devices.ranks
    return hardware.count if hardware else 1


def _adapter_of(
    section: TrainingSection, phase: PhaseSection, layers: int, grows: bool
) -> AdapterSetup | None:
    try:
        return adapter_setup(section.adapter_of(phase), layers, grows)
    except AbsentTarget as error:
        own = "" if isinstance(phase.adapter, str) else f"phases.{phase.name}."
        raise AbsentTarget(f"training.{own}{error}") from None


def adapter_setup(stated: Adapter | None, layers: int, grows: bool) -> AdapterSetup | None:
    """What memory and operations need of a recipe's adapter.

    Raises:
        AbsentTarget: a target that none of the model's layers has.
    """
    if stated is None:
        return None
    names = LINEARS if stated.targets == "all-linear" else stated.targets
    return AdapterSetup(
        rank=stated.r,
        targets=targeted(names, layers),
        quantised=stated.kind == "qlora",
        dropout=stated.dropout,
        embeddings=grows if stated.embeddings == "auto" else stated.embeddings != "frozen",
        dora=stated.dora,
    )


def _full_rank(name: str, shape: ModelShape, adapter: AdapterSetup) -> Iterator[str]:
    """The rank of a matrix is at most its narrower side, so an adapter's needs be no more."""
    linears = shape.linears()
    side = max(min(linears[target]) for target in adapter.targets)
    if adapter.rank >= side:
        yield (
            f"phase {name!r}: adapter.r is {adapter.rank:,}, and no matrix that it is added to has "
            f"a rank above {side:,}, so it has more parameters than these; lower r, or train "
            "without an adapter"
        )


def _warnings(name: str, setup: Setup, memory: Memory, hardware: Hardware) -> list[str]:
    """Memory that does not fit, with what lowers its largest part; ranks without accelerators."""
    found = []
    if setup.ranks > hardware.count:
        found.append(
            f"training.devices.ranks: {setup.ranks} ranks on {hardware.count} x "
            f"{hardware.accelerator}; set ranks to {hardware.count} or raise hardware.count"
        )
    limit = hardware.memory_bytes
    if memory.total > limit * (1 - ROOM):
        found.append(
            f"phase {name!r}: {memory.total / 1e9:.1f} GB a rank predicted, and "
            f"{hardware.accelerator} has {limit / 1e9:.0f} GB, {ROOM:.0%} of them for what is not "
            f"predicted: it will probably run out of memory; {_remedy(setup, memory)}"
        )
    return found


def _remedy(setup: Setup, memory: Memory) -> str:
    """The next action for the largest part of a rank's memory."""
    largest = max(memory.parts, key=lambda part: memory.parts[part])
    if largest == "activations":
        steps = []
        if setup.recompute != "full":
            steps.append("set recompute: full")
        if setup.micro_batch > 1:
            steps.append(f"lower micro_batch below {setup.micro_batch}")
        return " or ".join(steps) or "shorten sequence_length"
    if setup.ranks == setup.replicas and setup.ranks > 1:
        return "set devices.shard: full, which splits the model over ranks"
    if largest == "moments" and not setup.offload:
        return "train on more accelerators, or set devices.offload: optimizer"
    return "train on more accelerators, or train an adapter (qlora holds 4-bit weights)"
