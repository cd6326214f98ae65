"""Passes are cut where they cost least, and logits are computed of wanted positions only."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tasks.evaluation.cuts import cuts
from tasks.evaluation.forward import Request, logits_of
from tasks.evaluation.model import LoadedModel, load

OVERHEAD, ENOUGH = 32, 512


def cost(lengths: Sequence[int], parts: Sequence[slice], gpu: bool) -> int:
    tokens = [lengths[part][0] * len(lengths[part]) for part in parts]
    return sum(max(count, ENOUGH if gpu else 0) + OVERHEAD for count in tokens)


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("most", [1, 3, 9])
@pytest.mark.parametrize(
    "lengths", [[90, 80, 78, 20, 19, 5], [7] * 8, [400, 300, 10, 9, 8, 7, 6], [3]]
)
def test_no_other_cuts_cost_less(lengths: list[int], most: int, gpu: bool) -> None:
    found = list(cuts(lengths, most, gpu=gpu))
    assert [number for part in found for number in range(len(lengths))[part]] == list(
        range(len(lengths))
    )
    others = []
    for count in range(len(lengths)):
        for inner in itertools.combinations(range(1, len(lengths)), count):
            ends = (0, *inner, len(lengths))
            parts = [slice(low, high) for low, high in itertools.pairwise(ends)]
            if all(part.stop - part.start <= most for part in parts):
                others.append(cost(lengths, parts, gpu))
    assert cost(lengths, found, gpu) == min(others)


def test_no_rows_are_no_passes() -> None:
    assert list(cuts([], 4, gpu=False)) == []


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LoadedModel:
    return load(checkpoint, dtype="auto", device="cpu", max_length=None)


@pytest.fixture(params=["soft cap", "scale"])
def scaled(request: pytest.FixtureRequest, model: LoadedModel) -> LoadedModel:
    """A model that changes its logits after the output matrix."""
    from transformers import Gemma2Config, Gemma2ForCausalLM, GraniteConfig, GraniteForCausalLM

    torch.manual_seed(0)
    shape = {
        "vocab_size": len(model.tokenizer),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.5,
    }
    made = (
        Gemma2ForCausalLM(Gemma2Config(**shape, head_dim=8, final_logit_softcapping=1.5))
        if request.param == "soft cap"
        else GraniteForCausalLM(GraniteConfig(**shape, logits_scaling=7.0))
    )
    return replace(model, model=made.eval())


def test_what_a_model_does_to_its_logits_is_done(scaled: LoadedModel) -> None:
    question, branches = tuple(range(10, 22)), [(30,), (31, 32, 33), (31,)]
    request = Request(tuple(question + branch for branch in branches), (2, 4, 2))
    widths = []
    hook = scaled.model.get_output_embeddings().register_forward_hook(
        lambda _, __, logits: widths.append(logits.shape[:-1].numel())
    )
    found = list(logits_of([request, request], scaled, 8))
    hook.remove()
    seen = 0
    for logits_NV, places in found:
        for place in places:
            ids = request.sequences[place.sequence]
            with torch.inference_mode():
                alone = scaled.model(torch.tensor([ids])).logits[0, -len(place.rows) :]
            torch.testing.assert_close(logits_NV[list(place.rows)], alone, atol=1e-4, rtol=1e-4)
            seen += len(place.rows)
    assert seen == 16 and sum(widths) <= seen, "logits of no other position"
