"""The recipe's `training.hardware:`: what a plan's time, energy, CO2 and money are computed on.

The report tells what the time that training held it has cost. It decides nothing else of a run.
Imports are light: pydantic and the standard library.
"""

from __future__ import annotations

from typing import Annotated

import pydantic

from infra.stage import Parameters
from tasks.training.recipe.accelerators import ACCELERATORS

MFU = 0.40
"""Assumed where a recipe states none. Published runs of dense models in 16 bits reach 0.33 to 0.56
(docs/benchmarks/predictions.md).
"""

PUE = 1.1
"""Power usage effectiveness: energy of a data centre per energy of its machines, as Llama's papers
assume it (arXiv:2302.13971, section 6).
"""

KG_PER_KWH = 0.385
"""Carbon intensity of the grid, kg CO2eq/kWh: the US average that Llama's papers use."""


def _known(name: str) -> str:
    if name not in ACCELERATORS:
        raise ValueError(
            f"{name!r} is not a known accelerator; known: {', '.join(ACCELERATORS)}; for another, "
            "take the closest and state peak_tflops, memory_gb, watts and price_per_hour"
        )
    return name


Positive = Annotated[float, pydantic.Field(gt=0)]


class Hardware(Parameters):
    """Accelerators that a plan is computed for; what is not stated is the table's.

    - `accelerator`, `count`: which, and how many of them train together.
    - `mfu`: share of `peak_tflops` that training reaches (model FLOPs utilisation): an assumption.
    """

    accelerator: Annotated[str, pydantic.AfterValidator(_known)]
    count: int = pydantic.Field(default=1, gt=0, description="accelerators that train together")
    mfu: float = pydantic.Field(
        default=MFU,
        gt=0,
        le=1,
        description="share of the datasheet's peak that training is assumed to reach",
    )
    peak_tflops: Positive | None = pydantic.Field(
        default=None, description="TFLOP/s of dense matrix products in the precision of the recipe"
    )
    memory_gb: Positive | None = pydantic.Field(
        default=None, description="memory of one accelerator, in 10^9 bytes"
    )
    watts: Positive | None = pydantic.Field(
        default=None, description="power of one accelerator, with its part of the host if wanted"
    )
    price_per_hour: float | None = pydantic.Field(
        default=None, ge=0, description="US dollars for an hour of one accelerator"
    )
    pue: float = pydantic.Field(
        default=PUE, ge=1, description="energy of the data centre per energy of its machines"
    )
    kg_co2_per_kwh: float = pydantic.Field(
        default=KG_PER_KWH, ge=0, description="carbon intensity of the grid, kg CO2eq per kWh"
    )

    def peak(self, precision: str) -> float | None:
        """FLOP/s of one accelerator's peak in a precision; None where it is not known (fp64)."""
        known = ACCELERATORS[self.accelerator]
        table = {
            "bf16": known.peak_tflops,
            "fp16": known.peak_tflops,
            "fp32": known.peak_fp32_tflops,
        }
        stated = self.peak_tflops or table.get(precision)
        return None if stated is None else stated * 1e12

    @property
    def memory_bytes(self) -> int:
        """Memory of one accelerator."""
        return round(1e9 * (self.memory_gb or ACCELERATORS[self.accelerator].memory_gb))

    @property
    def power_watts(self) -> float:
        """Power of one accelerator."""
        return self.watts or ACCELERATORS[self.accelerator].watts

    @property
    def dollars_per_hour(self) -> float:
        """Price of an hour of one accelerator."""
        if self.price_per_hour is not None:
            return self.price_per_hour
        return ACCELERATORS[self.accelerator].price_per_hour
