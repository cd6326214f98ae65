"""Settings that exclude each other are refused with the recipe, before anything runs."""

import pytest

from tasks.training.phases.section import TrainingSection

PHASE = {"name": "one", "tokens": "64K", "mixture": {"a": 1}}


def node(**values):
    """A phase of 64 rows in steps of 4, with `values` in the section around it."""
    section = TrainingSection.model_validate({"batch": "4K", "phases": [PHASE], **values})
    return section.node("one", 1000)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"devices": {"ranks": 5}}, r"devices.ranks: 5, but a step has at most 4 rows, so 1 of"),
        ({"devices": {"ranks": 65}, "batch": "1M"}, r"at most 64 rows, so 1 of them"),
        ({"devices": {"ranks": 5}, "batch": {"from": "1K", "to": "4K"}}, r"at most 4 rows"),
        ({"precision": "fp16", "devices": {"ranks": 2}}, r"precision: fp16 on 2 ranks.*use bf16"),
        (
            {"optimizer": {"name": "paged-adamw-8bit"}, "devices": "cpu"},
            r"silently not page: set name: adamw-8bit",
        ),
        (
            {"optimizer": {"name": "adamw-8bit"}, "precision": "fp64"},
            r"precision: fp64 makes them float64; set name: adamw",
        ),
        (
            {"optimizer": {"name": "adamw-8bit"}, "devices": {"offload": "optimizer"}},
            r"set name: adamw, or offload: none",
        ),
        ({"attention": "flash", "devices": "cpu", "precision": "bf16"}, r"not on cpu. Use attent"),
        ({"attention": "varlen"}, r"attention: varlen cannot be used: .* set precision: bf16"),
    ],
)
def test_settings_that_no_machine_can_have_together(values, reason):
    with pytest.raises(ValueError, match=reason):
        node(**values)


def test_settings_that_some_machine_can_have_together():
    """What `auto` becomes is known on the machine."""
    assert node(devices={"ranks": 4}).devices.ranks == 4
    assert node(devices={"ranks": 4}, batch={"from": "1K", "to": "4K"}).devices.ranks == 4
    half = node(precision="fp16", devices={"kind": "cuda"})
    assert (half.precision, half.devices.kind) == ("fp16", "cuda")
    assert node(optimizer={"name": "paged-adamw"}).optimizer.name == "paged-adamw"
    assert node(attention="flash", precision="bf16").attention == "flash"
    assert node(attention="sdpa", devices="cpu").devices.kind == "cpu"
