"""Surgery end to end: old behaviour is kept, layers and positions are as requested, killed runs
resume.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoTokenizer

from infra.stage import StageError
from infra.store import Artifact
from tasks.model import surgery as stage_surgery
from tasks.model.mass import SAMPLE
from tasks.model.stage import STAGE, ModelParameters
from tasks.model.texts import sample_texts
from tests.stage_harness import data_digests, run_stage
from tests.tasks.model.bases import (
    SIZE,
    added_tokenizer,
    base,
    change_config,
    grown_tokenizer,
    kept_tokenizer,
    texts,
)

IDS = torch.tensor([[1, 300, 270, 262, 280, 5, 301]])


def surgery(folder: Path, tokenizer: Artifact, tmp_path: Path, **parameters: Any) -> Artifact:
    inputs = {"tokenizer": tokenizer, "select": texts(tmp_path)}
    return run_stage(
        STAGE, ModelParameters(base=str(folder), **parameters), inputs, tmp_path=tmp_path
    )


def load(folder: Path, **settings: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto", **settings).eval()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("pad", "multiple"), [(0, 1), (0, 64), (40, 1), (40, 128), (200, 1)])
@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_text_without_new_tokens_reads_as_before(
    tied: bool, pad: int, multiple: int, dtype: str, tmp_path: Path
) -> None:
    folder = base(tmp_path, tied=tied, dtype=dtype, pad=pad)
    made = surgery(folder, grown_tokenizer(folder, tmp_path), tmp_path, pad_to_multiple_of=multiple)
    before, after = load(folder), load(made.folder("checkpoint"))
    assert after.dtype == before.dtype == getattr(torch, dtype)
    rows = after.config.vocab_size
    assert rows % multiple == 0 and rows >= max(SIZE, before.config.vocab_size)
    old = before.config.vocab_size - pad
    hidden = after.model(IDS).last_hidden_state
    assert torch.equal(hidden, before.model(IDS).last_hidden_state)
    # Logits are equal to the bit if the matrix has the base's shape.
    same_head = before.lm_head.weight.clone()
    same_head[:old] = after.lm_head.weight[:old]
    assert torch.equal(torch.nn.functional.linear(hidden, same_head), before(IDS).logits)
    expected, found = before(IDS).logits[..., :old], after(IDS).logits[..., :old]
    if dtype == "bfloat16":
        # One rounding step of bfloat16: a product with a taller matrix may add in another order.
        assert torch.allclose(found.float(), expected.float(), rtol=2**-8, atol=1e-6)
    else:
        assert torch.allclose(found, expected, rtol=1e-6, atol=1e-6)
    generation = json.loads(made.path("checkpoint/generation_config.json").read_text())
    assert generation.get("suppress_tokens", []) == list(range(SIZE, rows))
    assert made.statistics["padding_rows"] == made.statistics["unused_rows"] == rows - SIZE
    assert (
        after.config.tokenizer_size
        == len(AutoTokenizer.from_pretrained(made.folder("checkpoint")))
        == SIZE
    )


@torch.no_grad()
def test_padding_is_never_sampled(tmp_path: Path) -> None:
    folder = base(tmp_path, tied=False, pad=1000)
    made = surgery(folder, kept_tokenizer(folder, tmp_path), tmp_path)
    model = load(made.folder("checkpoint"))
    size = made.statistics["tokenizer_size"]
    assert 0 < made.statistics["probability_before_training"]["padding"] < 1
    torch.manual_seed(0)
    drawn = model.generate(
        IDS,
        do_sample=True,
        temperature=5.0,
        max_new_tokens=50,
        num_return_sequences=8,
        eos_token_id=-1,
    )
    assert drawn.shape == (8, 57) and int(drawn.max()) < size
    model.generation_config.suppress_tokens = None
    assert (
        int(
            model.generate(
                IDS, do_sample=True, temperature=5.0, max_new_tokens=50, eos_token_id=-1
            ).max()
        )
        >= size
    )


@torch.no_grad()
def test_the_mass_of_new_rows_is_that_of_the_whole_model(tmp_path: Path) -> None:
    folder = base(tmp_path, tied=False)
    made = surgery(folder, grown_tokenizer(folder, tmp_path), tmp_path, pad_to_multiple_of=64)
    ids = AutoTokenizer.from_pretrained(folder)(SAMPLE, return_tensors="pt")["input_ids"][:, :64]
    shares_V = load(made.folder("checkpoint"))(ids).logits.softmax(-1).double().mean((0, 1))
    old = made.statistics["tokenizer_size"] - made.statistics["new_tokens"]
    found = made.statistics["probability_before_training"]
    assert found["new_tokens"] == pytest.approx(float(shares_V[old:SIZE].sum()), rel=1e-4)
    assert found["padding"] == pytest.approx(float(shares_V[SIZE:].sum()), rel=1e-4)
    assert found["padding"] <= made.statistics["padding_rows"] / old


def test_new_tokens_may_come_into_padding_that_was_suppressed(tmp_path: Path) -> None:
    folder = base(tmp_path, pad=90)
    old = json.loads((folder / "config.json").read_text())["vocab_size"] - 90
    settings = {"suppress_tokens": [0, *range(old, old + 90)], "max_length": 64, "temperature": 0.6}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    context = {"positions": 256, "rope": {"type": "linear"}}
    made = surgery(folder, grown_tokenizer(folder, tmp_path), tmp_path, context=context)
    found = json.loads(made.path("checkpoint/generation_config.json").read_text())
    assert found == {
        "suppress_tokens": [0, *range(SIZE, old + 90)],
        "max_length": 256,
        "temperature": 0.6,
    }


@pytest.mark.parametrize("grown", [True, False])
def test_added_tokens_without_rows_get_rows(tmp_path: Path, grown: bool) -> None:
    folder = base(tmp_path, tied=False)
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["<pad>"])
    tokenizer.add_tokens(["the th"])
    tokenizer.save(str(folder / "tokenizer.json"))
    artifact = (grown_tokenizer if grown else kept_tokenizer)(folder, tmp_path)
    made = surgery(folder, artifact, tmp_path)
    before, after = (
        load_file(folder / "model.safetensors"),
        load_file(made.path("checkpoint/model.safetensors")),
    )
    vocabulary = tokenizer.get_vocab()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(after[name][:rows], before[name])
        for text in ("<pad>", "the th"):
            ids = [token.id for token in tokenizer.model.tokenize(text.replace(" ", "▁"))]
            assert len(ids) > 1 and max(ids) < rows
            assert torch.equal(
                after[name][vocabulary[text]], before[name][ids].double().mean(0).float()
            )
    assert (
        made.statistics["new_tokens"]
        == made.statistics["tokenizer_size"] - rows
        == len(after[name]) - rows
    )
    change_config(folder, vocab_size=rows - 5)
    cut = {key: value[: rows - 5] if len(value) == rows else value for key, value in before.items()}
    save_file(cut, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StageError, match="checkpoint and tokenizer do not belong together"):
        surgery(folder, artifact, tmp_path)


def test_each_matrix_may_have_its_own_method(tmp_path: Path) -> None:
    folder = base(tmp_path, tied=False)
    tokenizer = grown_tokenizer(folder, tmp_path)
    made = surgery(folder, tokenizer, tmp_path, embeddings={"input": "mean", "output": "first"})
    before = load_file(folder / "model.safetensors")
    after = load_file(made.path("checkpoint/model.safetensors"))
    for row in json.loads(tokenizer.path("new_tokens.json").read_text()):
        mean_D = before["model.embed_tokens.weight"][row["base_ids"]].double().mean(0).float()
        assert torch.equal(after["model.embed_tokens.weight"][row["id"]], mean_D)
        assert torch.equal(
            after["lm_head.weight"][row["id"]], before["lm_head.weight"][row["base_ids"][0]]
        )
    assert made.statistics["embeddings"] == {"input": "mean", "output": "first"}


def test_a_base_that_has_the_new_tokens_keeps_their_rows(tmp_path: Path) -> None:
    folder = base(tmp_path)
    tokenizer = grown_tokenizer(folder, tmp_path)
    trained = surgery(folder, tokenizer, tmp_path).folder("checkpoint")
    continued = surgery(trained, tokenizer, tmp_path)
    assert continued.statistics["new_tokens"] == continued.statistics["rows_added"] == 0
    before = load_file(trained / "model.safetensors")
    after = load_file(continued.path("checkpoint/model.safetensors"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_tied_base_has_one_method(tmp_path: Path) -> None:
    folder = base(tmp_path)
    tokenizer = grown_tokenizer(folder, tmp_path)
    with pytest.raises(
        StageError, match="states mean for the input and first for the output, but the base is tied"
    ):
        surgery(folder, tokenizer, tmp_path, embeddings={"input": "mean", "output": "first"})
    made = surgery(folder, tokenizer, tmp_path, embeddings={"input": "last", "output": "last"})
    assert made.statistics["embeddings"] == {"input": "last"}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([0, 2, 3], (0, 2, 3)),
        ({"first": 3}, (0, 1, 2)),
        ({"ends": 4}, (0, 1, 3, 4)),
        ([4, 0, 0], (4, 0, 0)),
        ({"important": 2}, None),
        ({"important": 2, "measure": "loss"}, None),
    ],
)
@torch.no_grad()
def test_layers(layers: Any, expected: tuple[int, ...] | None, tmp_path: Path) -> None:
    folder = base(tmp_path, layers=5)
    change_config(folder, layer_types=["full_attention"] * 5)
    made = surgery(
        folder, kept_tokenizer(folder, tmp_path), tmp_path, layers=layers, max_file_bytes=20_000
    )
    chosen = tuple(made.statistics["layers"])
    if expected is None:
        scores = made.statistics["importance"]
        assert len(scores) == 5 and sorted(chosen) == list(chosen)
        assert set(chosen) == set(sorted(range(5), key=lambda index: -scores[index])[:2])
    else:
        assert chosen == expected
    model, reference = load(made.folder("checkpoint")), load(folder)
    assert model.config.num_hidden_layers == len(model.model.layers) == len(chosen)
    assert model.config.layer_types == ["full_attention"] * len(chosen)
    reference.model.layers = torch.nn.ModuleList(
        [reference.model.layers[index] for index in chosen]
    )
    assert torch.equal(model(IDS, use_cache=False).logits, reference(IDS, use_cache=False).logits)
    assert made.statistics["parameters"] == sum(p.numel() for p in model.parameters())
    assert made.statistics["probability_before_training"] is None


@pytest.mark.parametrize("family", ["qwen3", "gemma2", "phi3", "mixtral"])
@torch.no_grad()
def test_other_families(family: str, tmp_path: Path) -> None:
    folder = base(tmp_path)
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    shape = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    config = CONFIG_MAPPING[family](
        **shape,
        num_hidden_layers=4,
        vocab_size=size,
        num_local_experts=4,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    (folder / "model.safetensors").unlink()
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    change_config(folder, tie_word_embeddings=None)  # only Gemma is tied by default
    tokenizer = added_tokenizer(folder, 20, tmp_path)
    made = surgery(folder, tokenizer, tmp_path, layers=[0, 3], pad_to_multiple_of=64)
    after, before = load(made.folder("checkpoint")), load(folder)
    before.model.layers = torch.nn.ModuleList([before.model.layers[0], before.model.layers[3]])
    expected, found = before(IDS, use_cache=False).logits, after(IDS, use_cache=False).logits
    assert after.config.vocab_size == 384 and after.config.num_hidden_layers == 2
    assert torch.allclose(found[..., :size], expected, atol=1e-6)
    assert made.statistics["tied"] == (family == "gemma2")
    assert (made.statistics["probability_before_training"] is not None) == (family == "qwen3")


def test_impossible_layers_are_refused(tmp_path: Path) -> None:
    folder = base(tmp_path)
    tokenizer = kept_tokenizer(folder, tmp_path)
    with pytest.raises(StageError, match="names layer 2, but the base has 2, 0 to 1"):
        surgery(folder, tokenizer, tmp_path, layers=[0, 2])
    with pytest.raises(StageError, match="asks for 3 layers, but the base has 2"):
        surgery(folder, tokenizer, tmp_path, layers={"ends": 3})
    with pytest.raises(
        StageError, match="is measured on the text of the recipe's sources, but there is none"
    ):
        parameters = ModelParameters(base=str(folder), layers={"important": 1})
        run_stage(STAGE, parameters, {"tokenizer": tokenizer}, tmp_path=tmp_path)


def test_held_out_text_is_not_measured(tmp_path: Path) -> None:
    found = sample_texts([texts(tmp_path), texts(tmp_path)], 1000)
    assert len(found) == 60 and "HELD OUT" not in found
    assert found[0] == found[1]  # from both files in turn


@torch.no_grad()
def test_context(tmp_path: Path) -> None:
    folder = base(tmp_path)
    change_config(folder, rope_parameters=None, rope_theta=5000.0)
    context = {"positions": 256, "rope": {"type": "linear"}}
    made = surgery(folder, kept_tokenizer(folder, tmp_path), tmp_path, context=context)
    model, before = load(made.folder("checkpoint")), load(folder)
    assert model.config.max_position_embeddings == 256
    assert torch.allclose(model.model.rotary_emb.inv_freq, before.model.rotary_emb.inv_freq / 4)
    # Interpolated positions 0, 4, 8, ... are the base's 0, 1, 2, ...
    stretched = torch.arange(IDS.shape[1])[None] * 4
    assert torch.allclose(model(IDS, position_ids=stretched).logits, before(IDS).logits, atol=1e-5)
    assert AutoTokenizer.from_pretrained(made.folder("checkpoint")).model_max_length == 256
    assert made.statistics["positions"] == 256
    assert made.statistics["rope"] == {"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0}


class Killed(BaseException):
    pass


def test_a_kill_keeps_finished_files_and_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = base(tmp_path, tied=False, layers=5)
    tokenizer = grown_tokenizer(folder, tmp_path)
    parameters: dict[str, Any] = {"layers": {"first": 4}, "max_file_bytes": 10_000}
    whole = data_digests(surgery(folder, tokenizer, tmp_path / "whole", **parameters))
    written: list[str] = []

    def write_file(path: Path, tensors: Any) -> None:
        written.append(path.name)
        real(path, tensors[:2] if len(written) == 3 else tensors)
        if len(written) == 3:
            raise Killed

    real = stage_surgery.write_file
    monkeypatch.setattr(stage_surgery, "write_file", write_file)
    with pytest.raises(Killed):
        surgery(folder, tokenizer, tmp_path / "killed", **parameters)
    files = len([name for name in whole if name.endswith(".safetensors")])
    assert files > 5
    written[:] = [""] * 10  # from now on nothing is killed
    again = surgery(folder, tokenizer, tmp_path / "killed", **parameters)
    assert len(written) - 10 == files - 2
    assert data_digests(again) == whole
