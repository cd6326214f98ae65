"""Stage model end to end: grown checkpoints load, old behaviour is kept, new models are
reproducible.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydantic
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from infra.stage import StageError
from tasks.checkpoints.base import open_base
from tasks.checkpoints.weights import INDEX
from tasks.model.stage import STAGE, ModelParameters
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tasks.tokenizer.stage import TokenizerParameters
from tests.stage_harness import data_digests, run_stage
from tests.tasks.checkpoints.samples import ENGLISH, select, write_llama2c
from tests.tasks.model.bases import SIZE, added_tokenizer, base, grown_tokenizer, split

SHAPE: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


@pytest.mark.parametrize("shared", [True, False])
def test_a_grown_checkpoint_equals_the_base_on_old_tokens(tmp_path: Path, shared: bool) -> None:
    source = write_llama2c(tmp_path / "source", shared=shared)
    tokenizer = grown_tokenizer(source, tmp_path)
    parameters = ModelParameters(base=str(source), pad_to_multiple_of=64)
    made = run_stage(STAGE, parameters, {"tokenizer": tokenizer}, tmp_path=tmp_path)
    again = run_stage(STAGE, parameters, {"tokenizer": tokenizer}, tmp_path=tmp_path, force=True)
    assert data_digests(made) == data_digests(again)

    base = AutoModelForCausalLM.from_pretrained(open_base(source, tmp_path / "opened"))
    model = AutoModelForCausalLM.from_pretrained(made.folder("checkpoint"))
    loaded = AutoTokenizer.from_pretrained(made.folder("checkpoint"))
    assert len(loaded) == SIZE
    assert model.config.vocab_size == model.get_input_embeddings().weight.shape[0] == 384
    old = base.config.vocab_size
    ids = torch.tensor([[1, 300, 270, 262, 280]])
    assert torch.equal(model.model(ids).last_hidden_state, base.model(ids).last_hidden_state)
    # A product with a taller matrix may be blocked differently, so logits agree up to rounding.
    assert torch.allclose(model(ids).logits[..., :old], base(ids).logits, atol=1e-6)
    matrices = {"get_input_embeddings", *(() if shared else ("get_output_embeddings",))}
    rows = json.loads(tokenizer.path("new_tokens.json").read_text())
    for matrix in matrices:
        before, after = (
            getattr(base, matrix)().weight.detach(),
            getattr(model, matrix)().weight.detach(),
        )
        assert torch.equal(after[:old], before)
        for row in rows:
            assert torch.equal(after[row["id"]], before[row["base_ids"]].double().mean(0).float())
    statistics = made.statistics
    assert (statistics["new_tokens"], statistics["padding_rows"], statistics["tied"]) == (
        SIZE - old,
        4,
        shared,
    )
    assert set(statistics["mean_row_norm"]) == ({"input"} if shared else {"input", "output"})
    assert 0 < statistics["probability_before_training"]["new_tokens"] < 1


def test_files_are_split_by_size_and_an_artifact_can_be_the_base(tmp_path: Path) -> None:
    source = write_llama2c(tmp_path / "source", shared=False)
    tokenizer = grown_tokenizer(source, tmp_path)
    opened = open_base(source, tmp_path / "opened")
    whole = run_stage(
        STAGE,
        ModelParameters(base=str(opened)),
        {"tokenizer": tokenizer},
        name="whole",
        tmp_path=tmp_path,
    )
    split(opened)
    parameters = ModelParameters(base=str(opened), max_file_bytes=40_000)
    made = run_stage(STAGE, parameters, {"tokenizer": tokenizer}, tmp_path=tmp_path)
    assert made.files("checkpoint/model") == [
        "checkpoint/model-00001-of-00002.safetensors",
        "checkpoint/model-00002-of-00002.safetensors",
        f"checkpoint/{INDEX}",
    ]
    assert made.statistics["files"] == 2
    one = AutoModelForCausalLM.from_pretrained(whole.folder("checkpoint")).state_dict()
    two = AutoModelForCausalLM.from_pretrained(made.folder("checkpoint")).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)

    kept = run_stage(
        TOKENIZER,
        TokenizerParameters(base="artifact:x"),
        {"base": made},
        name="kept",
        tmp_path=tmp_path,
    )
    inputs = {"tokenizer": kept, "base": made}
    third = run_stage(
        STAGE, ModelParameters(base="artifact:x"), inputs, name="third", tmp_path=tmp_path, pins={}
    )
    three = AutoModelForCausalLM.from_pretrained(third.folder("checkpoint")).state_dict()
    assert all(torch.equal(one[name], three[name]) for name in one)
    assert third.statistics["rows_added"] == 0


@pytest.mark.parametrize("tied", [True, False])
def test_a_new_model(tmp_path: Path, tied: bool) -> None:
    text = select({"web-en/part-00000.jsonl": ENGLISH}, tmp_path)
    tokenizer = run_stage(
        TOKENIZER, TokenizerParameters(train={"size": 300}), {"select": text}, tmp_path=tmp_path
    )
    create = {**SHAPE, "tie_word_embeddings": tied, "seed": 5}
    parameters = ModelParameters(create=create, pad_to_multiple_of=64)
    made = run_stage(STAGE, parameters, {"tokenizer": tokenizer}, tmp_path=tmp_path)
    again = run_stage(STAGE, parameters, {"tokenizer": tokenizer}, tmp_path=tmp_path, force=True)
    assert data_digests(made) == data_digests(again)
    model = AutoModelForCausalLM.from_pretrained(made.folder("checkpoint"))
    loaded = AutoTokenizer.from_pretrained(made.folder("checkpoint"))
    assert model.config.vocab_size == 320 and len(loaded) == 300
    assert model.config.bos_token_id == loaded.bos_token_id == 256
    assert model.config.tie_word_embeddings is tied
    assert 0.015 < float(model.model.embed_tokens.weight.detach().std()) < 0.025
    assert torch.equal(model.model.norm.weight, torch.ones(16))
    assert made.statistics["parameters"] == sum(p.numel() for p in model.parameters())
    generation = json.loads(made.path("checkpoint/generation_config.json").read_text())
    assert generation == {"bos_token_id": 256, "eos_token_id": 257}


def test_golden_output(tmp_path: Path) -> None:
    """When the output changes on purpose, raise the stage's version, then update these digests."""
    source = base(tmp_path, tied=False)
    tokenizer = added_tokenizer(source, 60, tmp_path)
    grown = run_stage(
        STAGE, ModelParameters(base=str(source)), {"tokenizer": tokenizer}, tmp_path=tmp_path
    )
    new = run_stage(
        STAGE,
        ModelParameters(create=SHAPE),
        {"tokenizer": tokenizer},
        name="new",
        tmp_path=tmp_path,
    )
    found = [
        data_digests(made)[f"checkpoint/{file}"][:16]
        for made in (grown, new)
        for file in ("model.safetensors", "config.json")
    ]
    assert (STAGE.version, found) == (
        4,
        ["c6e29f3fc2edc6de", "0f4fc3ef430f9efe", "4ddfd08e86699faa", "4eedc538ff2e2c03"],
    )


def test_a_tokenizer_of_another_base_is_refused(tmp_path: Path) -> None:
    source = write_llama2c(tmp_path / "source")
    text = select({"web-en/part-00000.jsonl": ENGLISH}, tmp_path)
    foreign = run_stage(
        TOKENIZER, TokenizerParameters(train={"size": 300}), {"select": text}, tmp_path=tmp_path
    )
    with pytest.raises(StageError, match="have a different id in the tokenizer"):
        run_stage(
            STAGE, ModelParameters(base=str(source)), {"tokenizer": foreign}, tmp_path=tmp_path
        )


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="must be even"):
        ModelParameters(create={**SHAPE, "hidden_size": 18})
    with pytest.raises(pydantic.ValidationError, match="not a multiple of num_key_value_heads"):
        ModelParameters(create={**SHAPE, "num_key_value_heads": 3})
    with pytest.raises(pydantic.ValidationError, match="state a `base`, or"):
        ModelParameters()
    with pytest.raises(pydantic.ValidationError, match=r"model\.layers changes a base"):
        ModelParameters(create=SHAPE, layers=(0,))
    with pytest.raises(pydantic.ValidationError, match=r"model\.context changes a base"):
        ModelParameters(create=SHAPE, context={"positions": 8, "rope": {}})


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ([], "at least 1 item"),
        ([-1], "greater than or equal to 0"),
        ({"first": 0}, "greater than 0"),
        ({}, "none stated"),
        ({"first": 2, "ends": 2}, "first and ends stated"),
        ({"first": 2, "measure": "loss"}, "measure belongs to `important: N`, not to `first`"),
        ({"important": 2, "measure": "magic"}, "'block-influence' or 'loss'"),
        ({"last": 2}, "Extra inputs"),
        (24, r"a list such as \[0, 1, 3\], {first: 24}"),
    ],
)
def test_impossible_layers_are_refused(layers: Any, match: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=match):
        ModelParameters(base="x", layers=layers)
