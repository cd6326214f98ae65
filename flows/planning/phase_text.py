"""What `puna plan` prints of training: a few lines for each phase, in at most `WIDTH` columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from infra.quantities import count, duration
from tasks.training.phases.facts import PhaseFacts
from tasks.training.predict.cost import Cost
from tasks.training.predict.disk import Disk
from tasks.training.predict.prediction import PhasePrediction, Prediction
from tasks.training.recipe.hardware import Hardware

WIDTH = 80


def training_lines(
    phases: Sequence[PhaseFacts], predicted: Prediction | None, unpredicted: str = ""
) -> list[str]:
    """Lines about all phases; what is not known yet is `?`."""
    if not phases:
        return []
    name_width = max(5, *(len(phase.name) for phase in phases)) + 2
    lines = list(_heading(predicted, unpredicted))
    for number, facts in enumerate(phases):
        told = [*_plan_lines(facts)]
        if predicted is not None:
            told += _prediction_lines(predicted.phases[number], predicted.hardware)
        lines += _block(facts.name, told, name_width)
    if predicted is not None and predicted.cost is not None and len(phases) > 1:
        tokens = sum(facts.tokens or 0 for facts in phases)
        told = [f"{count(tokens)} tokens; {_cost(predicted.cost)}"]
        lines += _block("total", told, name_width)
    if predicted is not None and predicted.disk is not None:
        lines += _block("disk", [_disk(predicted.disk)], name_width)
    return lines


def training_json(
    phases: Sequence[PhaseFacts], predicted: Prediction | None, unpredicted: str = ""
) -> dict[str, Any]:
    """The same for `--json`: {"training": {...}, "phases": [...]}; {} without training."""
    if not phases:
        return {}
    told = []
    for number, facts in enumerate(phases):
        found = {f.name: getattr(facts, f.name) for f in fields(facts) if f.name not in _OTHER}
        if predicted is not None:
            found |= predicted.phases[number].to_json()
        told.append(found)
    whole = predicted.to_json() if predicted is not None else {"unpredicted": unpredicted}
    return {"training": whole, "phases": told}


_OTHER = ("plan", "warnings")
"""Fields of a phase's facts that are not figures, or told elsewhere."""


def _block(name: str, told: Sequence[str], name_width: int) -> Iterator[str]:
    for number, line in enumerate(told):
        yield from textwrap.wrap(
            line,
            WIDTH,
            initial_indent=("" if number else name).ljust(name_width),
            subsequent_indent=" " * (name_width + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )


def _heading(predicted: Prediction | None, unpredicted: str) -> Iterator[str]:
    if predicted is None:
        if unpredicted:
            yield from textwrap.wrap(f"training: nothing predicted: {unpredicted}", WIDTH)
        return
    shape, hardware = predicted.shape, predicted.hardware
    told = (
        f"training: {shape.parameters:,} parameters, vocabulary {shape.vocab_size:,}, "
        f"{shape.num_hidden_layers} layers"
    )
    if hardware is None:
        told += "; state training.hardware for time, energy, CO2 and money"
    else:
        told += f"; {_hardware(hardware, predicted.precision)}"
    yield from textwrap.wrap(told, WIDTH, subsequent_indent="  ")


def _hardware(hardware: Hardware, precision: str) -> str:
    peak = hardware.peak(precision)
    if peak is None:
        return f"{precision} has no peak in the table; state training.hardware.peak_tflops"
    stated = "" if "mfu" in hardware.model_fields_set else ", assumed"
    own = hardware.peak_tflops or hardware.watts or hardware.price_per_hour is not None
    source = "with figures of the recipe" if own else "list prices of 2026"
    return (
        f"{hardware.count} x {hardware.accelerator} at {hardware.mfu:.0%} of "
        f"{_rounded(peak / 1e12)} TFLOP/s (mfu{stated}), {hardware.power_watts:,.0f} W, "
        f"${hardware.dollars_per_hour:.2f}/h ({source})"
    )


def _plan_lines(facts: PhaseFacts) -> Iterator[str]:
    if facts.tokens is None:
        yield f"? tokens, as bins do not exist yet; rows of {facts.sequence_length:,}"
        return
    yield (
        f"{count(facts.tokens)} tokens, {facts.rows:,} rows of {facts.sequence_length:,}, "
        f"{facts.steps:,} steps of {_moving(_counts(facts.batch_start), _counts(facts.batch_end))}"
    )
    rates = [
        f"{rate:.3g}" for rate in (facts.lr_start, facts.lr_peak, facts.lr_end) if rate is not None
    ]
    yield f"lr {_moving(*rates)} (first step, peak, last step)"
    yield f"mixture: {_mixture(facts)}"
    if facts.epochs:
        yield "epochs: " + ", ".join(_epochs(facts, name) for name in facts.epochs)
    if facts.loss_tokens:
        yield "loss-bearing tokens: " + _named(facts.loss_tokens)


def _epochs(facts: PhaseFacts, name: str) -> str:
    own, all_phases = facts.epochs[name], facts.epochs_total[name]
    since = f" ({all_phases:.2f} with phases before)" if all_phases - own > 0.005 else ""
    read = facts.readings.get(name)
    most = f", its most repeated documents are read {read:.2f} times" if read else ""
    return f"{name} {own:.2f}{since}{most}"


def _mixture(facts: PhaseFacts) -> str:
    start, end = facts.mixture_start, facts.mixture_end
    if isinstance(start, str) or isinstance(end, str) or start is None or end is None:
        drawn = f" (rows: {_named(facts.drawn)})" if facts.drawn else ""
        return f"buckets{drawn}"
    assumed = f" (assumed: {facts.assumed})" if facts.assumed else ""
    shares = ", ".join(
        f"{name} {_moving(_share(start[name]), _share(end[name]))}" for name in start
    )
    return shares + assumed


def _prediction_lines(phase: PhasePrediction, hardware: Hardware | None) -> Iterator[str]:
    if phase.memory is None:
        return
    memory = phase.memory
    limit = f" of {hardware.memory_bytes / 1e9:,.0f}" if hardware else ""
    parts = ", ".join(f"{part} {_gb(size)}" for part, size in memory.parts.items())
    host = f"; {_gb(memory.host)} GB in the host's memory" if memory.host else ""
    yield f"memory a rank: {_gb(memory.total)}{limit} GB: {parts}{host}"
    if phase.cost is not None:
        yield _cost(phase.cost)


def _cost(cost: Cost) -> str:
    return (
        f"{duration(cost.seconds)}, {_rounded(cost.accelerator_hours)} accelerator hours, "
        f"{_amount(cost.kwh, ('kWh', 'MWh', 'GWh'))}, "
        f"{_amount(cost.kg_co2, ('kg', 't', 'kt'))} CO2, ${cost.dollars:,.0f}"
    )


def _disk(disk: Disk) -> str:
    return (
        f"{_bytes(disk.finished)} when trained, {_bytes(disk.running)} more while a phase runs; "
        f"bins {_bytes(disk.bins)} if each token is read once"
    )


def _bytes(size: int) -> str:
    return _amount(size / 1e3, ("kB", "MB", "GB", "TB", "PB"))


def _rounded(value: float) -> str:
    """A whole number, of small ones two digits."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _amount(value: float, units: tuple[str, ...]) -> str:
    for unit in units:
        if value < 1000 or unit == units[-1]:
            return f"{value:,.3g} {unit}" if value < 100 else f"{value:,.0f} {unit}"
        value /= 1000
    raise AssertionError  # the last unit takes all


def _counts(value: int | None) -> str:
    return "?" if value is None else count(value)


def _moving(*values: str) -> str:
    """Values with arrows between those that differ."""
    kept = [value for n, value in enumerate(values) if not n or value != values[n - 1]]
    return " → ".join(kept)


def _share(value: float) -> str:
    return f"{value:.3g}"


def _named(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count(value)}" for name, value in values.items())


def _gb(size: int) -> str:
    gb = size / 1e9
    return f"{gb:.1f}" if gb >= 1 else f"{gb:.2g}"
