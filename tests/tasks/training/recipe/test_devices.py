"""`training.devices:` in the recipe."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from tasks.training.recipe.devices import DeviceError, Devices
from tests.tasks.training.toys import parameters


def test_a_word_is_a_kind_and_devices_are_not_part_of_the_version() -> None:
    assert Devices.model_validate("cuda") == Devices(kind="cuda")
    several = parameters(devices={"ranks": 4, "shard": "hybrid", "replicas": 2}, keep=5)
    assert several.identity() == parameters().identity()


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ({"tensor_parallel": 2}, "tensor parallel is not offered; set shard: full"),
        ({"pp": 4}, "pipeline parallel is not offered; set shard: full"),
        ({"shard": "tensor"}, "tensor parallel is not offered; set shard: full"),
        ({"replicas": 2}, "read with shard: hybrid only, and shard is auto"),
        ({"ranks": 6, "shard": "hybrid", "replicas": 4}, "set replicas to one of 1, 2, 3, 6"),
        ({"ranks": 0}, "greater than 0"),
        ("tpu", "'auto', 'cpu' or 'cuda'"),
        ({"launcher": ["srun", ""]}, "at least 1 character"),
    ],
)
def test_what_cannot_be_done_is_refused(devices: Any, message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        Devices.model_validate(devices)


def test_ranks_are_laid_out_by_replicas_and_shards() -> None:
    assert Devices().mesh_shape(8, 4) == (1, 8)
    assert Devices(shard="none").mesh_shape(8, 4) == (8, 1)
    assert Devices(shard="hybrid").mesh_shape(8, 4) == (2, 4)
    assert Devices(shard="hybrid", replicas=4).mesh_shape(8, 8) == (4, 2)
    with pytest.raises(DeviceError, match="3 groups cannot share 8 ranks evenly"):
        Devices(shard="hybrid", replicas=3).mesh_shape(8, 8)
