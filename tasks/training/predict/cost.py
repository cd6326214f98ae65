"""Time, energy, CO2 and money of training, from its floating-point operations.

seconds = operations / (accelerators x peak x MFU); energy = seconds x accelerators x power x PUE;
CO2 = energy x carbon intensity of the grid (the method of Llama's papers, arXiv:2302.13971).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from tasks.training.recipe.hardware import Hardware


@dataclass(frozen=True)
class Cost:
    """What a phase, or all of them, takes."""

    seconds: float = 0.0
    accelerator_hours: float = 0.0
    kwh: float = 0.0
    kg_co2: float = 0.0
    dollars: float = 0.0

    def to_json(self) -> dict[str, float]:
        """The figures by name."""
        return asdict(self)


def cost_of(flops: int, precision: str, hardware: Hardware) -> Cost | None:
    """The cost of so many operations; None where the peak in this precision is not known."""
    peak = hardware.peak(precision)
    if peak is None:
        return None
    seconds = flops / (hardware.count * peak * hardware.mfu)
    hours = seconds * hardware.count / 3600
    kwh = hours * hardware.power_watts / 1000 * hardware.pue
    return Cost(
        seconds=seconds,
        accelerator_hours=hours,
        kwh=kwh,
        kg_co2=kwh * hardware.kg_co2_per_kwh,
        dollars=hours * hardware.dollars_per_hour,
    )


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of costs."""
    listed = [asdict(cost) for cost in costs]
    return Cost(**{name: sum(cost[name] for cost in listed) for name in asdict(Cost())})
