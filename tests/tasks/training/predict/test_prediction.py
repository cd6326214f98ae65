"""Predictions of a recipe's phases against counts by hand."""

import pytest

from tasks.checkpoints.shapes import SHAPES
from tasks.training.phases.facts import facts
from tasks.training.phases.section import TrainingSection
from tasks.training.predict.prediction import (
    RANKS_PER_MACHINE,
    adapter_setup,
    predict,
    ranks_of,
)
from tasks.training.predict.setup import AbsentTarget, AdapterSetup, targeted
from tasks.training.recipe.adapter import Adapter


def predicted(shape="llama-2-7b", length=4096, **values):
    values.setdefault("batch", "4M")
    values.setdefault("phases", [{"name": "one", "tokens": "1B", "mixture": {"a": 1}}])
    section = TrainingSection.model_validate(values)
    return predict(section, facts(section, length, [], {}), SHAPES[shape])


def test_operations_of_a_phase_by_hand():
    values = {"hardware": {"accelerator": "A100-80G", "count": 8}, "precision": "bf16"}
    phase = predicted(**values).phases[0]
    rows = round(1e9 / 4096)
    matrices = 32 * (4 * 4096**2 + 3 * 4096 * 11008) + 32_000 * 4096
    attention = 12 * 32 * 4096 * rows * (4096 * 4097 // 2)
    assert phase.flops == 6 * matrices * rows * 4096 + attention
    assert phase.cost.seconds == pytest.approx(phase.flops / (8 * 312e12 * 0.40))


def test_frozen_layers_cost_four_operations():
    align = {"name": "one", "tokens": "1B", "mixture": {"a": 1}, "trainable": "embeddings"}
    everything, embeddings = (
        predicted(phases=phases).phases[0] for phases in ([{**align, "trainable": "all"}], [align])
    )
    layers = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    assert everything.flops - embeddings.flops == 2 * layers * round(1e9 / 4096) * 4096


def test_rows_of_a_rank_decide_the_micro_batch():
    hardware = {"accelerator": "H200", "count": 16}
    few = predicted(hardware=hardware, batch="64 rows", micro_batch=8).phases[0].setup
    assert (few.micro_batch, few.accumulates, few.ranks) == (4, False, 16)
    many = predicted(hardware=hardware, batch="512 rows", micro_batch=8).phases[0].setup
    assert (many.micro_batch, many.accumulates) == (8, True)


def test_devices_and_hardware_say_how_ranks_share():
    hardware = {"accelerator": "H200", "count": 4 * RANKS_PER_MACHINE}
    setup = predicted(hardware=hardware, devices={"shard": "hybrid"}).phases[0].setup
    assert (setup.replicas, setup.shards) == (4, RANKS_PER_MACHINE)
    stated = TrainingSection.model_validate(
        {"batch": "4M", "phases": [{"name": "a", "tokens": "1B"}], "devices": {"ranks": 2}}
    )
    assert ranks_of(stated.devices, None) == 2
    more = predicted(hardware={"accelerator": "H200"}, devices={"ranks": 2})
    assert "devices.ranks: 2 ranks on 1 x H200; set ranks to 1" in more.warnings[0]


@pytest.mark.parametrize(
    ("values", "action"),
    [
        ({"micro_batch": 64}, "set recompute: full or lower micro_batch below 64"),
        ({"micro_batch": 64, "recompute": "full"}, "lower micro_batch below 64"),
        ({"micro_batch": 1, "devices": {"shard": "none"}}, "set devices.shard: full"),
        ({"micro_batch": 1, "hardware": {"count": 1}}, "offload: optimizer"),
    ],
)
def test_memory_that_does_not_fit_is_warned_about_with_the_next_action(values, action):
    values = {"precision": "bf16", **values}
    values["hardware"] = {"accelerator": "A100-40G", "count": 8} | values.get("hardware", {})
    [warning] = predicted(**values).warnings
    assert "A100-40G has 40 GB" in warning
    assert action in warning


def test_what_fits_is_not_warned_about():
    hardware = {"accelerator": "H200", "count": 8}
    assert not predicted(precision="bf16", micro_batch=1, hardware=hardware).warnings


def test_without_hardware_memory_is_told_but_no_cost():
    found = predicted(precision="bf16")
    assert found.phases[0].memory.parts["weights"] == 4 * SHAPES["llama-2-7b"].parameters
    assert found.cost is None
    assert found.to_json()["hardware"] is None


def test_phases_add_up():
    phases = [{"name": n, "tokens": "1B", "mixture": {"a": 1}} for n in ("one", "two")]
    found = predicted(phases=phases, hardware={"accelerator": "B200"}, precision="bf16")
    assert found.cost.dollars == pytest.approx(sum(p.cost.dollars for p in found.phases))
    assert found.to_json()["hardware"]["peak_tflops"] == 2250


def test_hardware_is_no_part_of_a_phases_version():
    values = {"batch": "4M", "phases": [{"name": "a", "tokens": "1B", "mixture": {"a": 1}}]}
    plain = TrainingSection.model_validate(values)
    with_hardware = TrainingSection.model_validate(values | {"hardware": {"accelerator": "L40S"}})
    assert plain.node("a", 64).identity() == with_hardware.node("a", 64).identity()


@pytest.mark.parametrize(
    ("adapter", "grows", "expected"),
    [
        ({}, False, AdapterSetup(rank=16)),
        ({"embeddings": "auto"}, True, AdapterSetup(rank=16, embeddings=True)),
        ({"embeddings": "frozen"}, True, AdapterSetup(rank=16)),
        (
            {"kind": "qlora", "r": 128, "dropout": 0.05, "targets": ["q_proj", "mlp.up_proj"]},
            False,
            AdapterSetup(128, targets=("q_proj", "up_proj"), quantised=True, dropout=0.05),
        ),
    ],
)
def test_adapters_are_taken_from_the_recipe(adapter, grows, expected):
    assert adapter_setup(Adapter(**adapter), 32, grows) == expected
    assert predicted(adapter=adapter).phases[0].setup.adapter is not None
    assert adapter_setup(None, 32, grows) is None


def test_a_target_that_no_layer_has_is_refused():
    assert targeted(["layers.31.mlp.up_proj", "o_proj"], 32) == ("o_proj", "up_proj")
    for target in ("q_projj", "layers.32.mlp.up_proj", "proj", "lm_head"):
        with pytest.raises(AbsentTarget, match=f"{target}' is no linear module of the model's 32"):
            targeted([target], 32)
    (wide,) = predicted(adapter={"r": 4096}).warnings
    assert "adapter.r is 4,096, and no matrix that it is added to has a rank above 4,096" in wide
    assert not predicted(adapter={"r": 4095}).warnings
    own = {"name": "b", "tokens": "1B", "mixture": {"a": 1}, "adapter": {"targets": ["norm"]}}
    with pytest.raises(AbsentTarget, match=r"^training\.phases\.b\.adapter\.targets: 'norm'"):
        predicted(phases=[own])
