"""Parts of tensors: any rows of what any number of ranks wrote, and the global norm."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tasks.training.distributed.parts import Part, StoredTensors, write_parts
from tasks.training.distributed.ranks import Ranks
from tasks.training.output import split
from tasks.training.step import gradients


def parts(rows: int, shards: int) -> list[Part]:
    """How FSDP2 splits (rows, 3) over shards."""
    each = -(-rows // shards)
    return [Part((rows, 3), min(i * each, rows), min((i + 1) * each, rows)) for i in range(shards)]


@pytest.mark.parametrize("rows", [1, 5, 7, 12])
def test_what_some_ranks_wrote_others_read(tmp_path: Path, rows: int) -> None:
    whole = torch.randn(rows, 3)
    for writers in (1, 2, 3, 8):
        files = []
        for rank, part in enumerate(parts(rows, writers)):
            path = tmp_path / f"{writers}-{rank}.safetensors"
            if part.last > part.first:
                write_parts(path, {"a/w": whole[part.first : part.last]}, {"a/w": part})
                files.append(path)
        stored = StoredTensors(files, "a/")
        assert list(stored) == ["w"] and stored.shape("w") == (rows, 3)
        assert torch.equal(stored.read("w"), whole)
        for readers in (1, 2, 3, 8):
            read = [stored.read("w", part) for part in parts(rows, readers)]
            assert torch.equal(torch.cat(read), whole)
        if len(files) > 1:
            with pytest.raises(ValueError, match=r"rows \d+ to \d+ of w are not stored"):
                StoredTensors(files[:-1], "a/").read("w")


def test_plain_files_and_scalars_are_read(tmp_path: Path) -> None:
    save_file({"x": torch.arange(6.0), "step": torch.tensor(4.0)}, tmp_path / "plain.safetensors")
    stored = StoredTensors([tmp_path / "plain.safetensors"])
    assert torch.equal(stored.read("x", Part((6,), 2, 4)), torch.tensor([2.0, 3.0]))
    assert float(stored.read("step")) == 4
    assert not list(StoredTensors()) and "x" not in StoredTensors()


def test_rows_within_a_part() -> None:
    part = Part((10, 2), 4, 8)
    assert part.within((0, 10)) == slice(0, 4)
    assert part.within((5, 6)) == slice(1, 2)
    assert part.within((8, 10)) == slice(4, 4)
    assert part.within((0, 4)) == slice(0, 0)


@pytest.mark.parametrize("elements", [1, 1000, 3_000_001])
def test_the_norm_is_exact(elements: int) -> None:
    draw = torch.Generator().manual_seed(elements)
    values = torch.randn(elements, generator=draw) * 1e-3 + 1
    exact = math.sqrt(math.fsum((values.double() ** 2).tolist()))
    assert gradients.norm([values], Ranks()) == pytest.approx(exact, rel=1e-12)
    assert gradients.norm([values[::2], values[1::2]], Ranks()) == pytest.approx(exact, rel=1e-12)


def test_clipping_scales_to_the_limit_and_leaves_the_rest_alone() -> None:
    values = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    assert gradients.clip(values, 0, Ranks()) == 5
    assert gradients.clip(values, 6, Ranks()) == 5
    assert values[1].item() == 4
    assert gradients.clip(values, 1, Ranks()) == 5
    assert gradients.norm(values, Ranks()) == pytest.approx(1, rel=1e-6)
    bad = [torch.tensor([float("nan"), 1.0])]
    assert math.isnan(gradients.clip(bad, 1, Ranks())) and bad[0][1] == 1


def test_files_of_a_bounded_size() -> None:
    assert split({}, 10) == [[]]
    assert split({"a": 4, "b": 6, "c": 1, "d": 99, "e": 1}, 10) == [["a", "b"], ["c"], ["d"], ["e"]]
