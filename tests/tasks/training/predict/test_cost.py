"""Time, energy, CO2 and money by hand, and against what papers state."""

import pydantic
import pytest

from tasks.training.predict.cost import Cost, cost_of, total
from tasks.training.recipe.accelerators import ACCELERATORS
from tasks.training.recipe.hardware import Hardware


def test_cost_follows_from_operations_by_hand():
    hardware = Hardware(
        accelerator="A100-80G", count=10, mfu=0.5, watts=500, price_per_hour=2, pue=1.2,
        kg_co2_per_kwh=0.25, peak_tflops=100,
    )  # fmt: skip
    # 3.6e18 operations at 10 x 50 TFLOP/s: two hours, 20 of an accelerator
    cost = cost_of(3_600_000_000_000_000_000, "bf16", hardware)
    assert cost.seconds == pytest.approx(7200)
    assert cost.accelerator_hours == pytest.approx(20)
    assert cost.kwh == pytest.approx(20 * 0.5 * 1.2)
    assert cost.kg_co2 == pytest.approx(12 * 0.25)
    assert cost.dollars == pytest.approx(40)
    assert total([cost, cost, Cost()]).dollars == pytest.approx(80)


def test_energy_and_co2_are_those_of_llamas_paper_for_its_hours():
    # arXiv:2302.13971, table 15: 65B, 1,022,362 hours at 400 W, PUE 1.1: 449 MWh, 173 tCO2eq
    hardware = Hardware(accelerator="A100-80G", count=2048, mfu=1)
    flops = round(1_022_362 * 3600 * 312e12)
    cost = cost_of(flops, "bf16", hardware)
    assert cost.accelerator_hours == pytest.approx(1_022_362)
    assert cost.kwh / 1000 == pytest.approx(449, rel=0.01)
    assert cost.kg_co2 / 1000 == pytest.approx(173, rel=0.01)


def test_the_table_is_used_where_the_recipe_states_nothing():
    known = ACCELERATORS["H200"]
    hardware = Hardware(accelerator="H200")
    assert hardware.peak("bf16") == hardware.peak("fp16") == known.peak_tflops * 1e12
    assert hardware.peak("fp32") == known.peak_fp32_tflops * 1e12
    assert hardware.peak("fp64") is None
    assert cost_of(10**15, "fp64", hardware) is None
    assert hardware.memory_bytes == 141_000_000_000
    assert (hardware.power_watts, hardware.dollars_per_hour) == (700, known.price_per_hour)
    stated = Hardware(accelerator="H200", price_per_hour=0, memory_gb=100, peak_tflops=7)
    assert stated.dollars_per_hour == 0
    assert stated.memory_bytes == 100_000_000_000
    assert stated.peak("fp64") == 7e12


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"accelerator": "A100"}, "not a known accelerator; known: A100-40G.*state peak_tflops"),
        ({"accelerator": "H200", "mfu": 33}, "mfu"),
        ({"accelerator": "H200", "mfu": 0}, "mfu"),
        ({"accelerator": "H200", "count": 0}, "count"),
        ({"accelerator": "H200", "pue": 0.9}, "pue"),
        ({"accelerator": "H200", "watt": 100}, "watt"),
    ],
)
def test_what_cannot_be_is_refused(values, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        Hardware(**values)
