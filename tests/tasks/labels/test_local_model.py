"""Labels from a chat model of Hugging Face that runs here: template, batches, what is refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from infra.stage import Fault, StageError
from infra.store import Artifact
from tasks.labels.check import faults
from tasks.labels.stage import STAGE, LabelsParameters
from tests.stage_harness import pins_of, run_stage
from tests.tables import documents

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def chat_model(folder: Path, template: str | None = TEMPLATE, answer: str = "Scor: 4") -> Path:
    """A Llama of bytes that gives the same answer to everything: its output depends on the last
    token alone, by one-hot embeddings and an output matrix of successors. No letter may repeat.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: id_ for id_, piece in enumerate(alphabet)}
    tokens = {**vocabulary, "<eos>": 256, "<assistant>": 257}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<eos>", "<assistant>"])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<eos>",
        "model_max_length": 512,
    }
    if template is not None:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    size = (len(tokens) + 3) // 4 * 4
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size,
            hidden_size=size,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            max_position_embeddings=256,
            eos_token_id=256,
            pad_token_id=256,
            tie_word_embeddings=False,
        )
    )
    written = [257, *(tokens["Ġ" if letter == " " else letter] for letter in answer), 256]
    following = dict(itertools.pairwise(written))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.fill_(1.0)
        for token, after in following.items():
            model.model.embed_tokens.weight[token, token] = 1.0
            model.lm_head.weight[after, token] = 1.0
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def ask(model: Path, tmp_path: Path, **changes: Any) -> Artifact:
    given = {
        "prompt": "Score it: {text}",
        "model": str(model),
        "sample": 12,
        "max_tokens": 16,
        "repeat": 0.3,
        "score": {"pattern": r"Scor: (\d)"},
    }
    source = documents(tmp_path / "in", "web", [[f"Document {n}" * (n + 1) for n in range(12)]])
    parameters = LabelsParameters.model_validate({**given, **changes})
    return run_stage(STAGE, parameters, {"documents": [source]}, name="edu", tmp_path=tmp_path)


def test_a_model_that_runs_here_answers_in_its_template(tmp_path: Path) -> None:
    made = ask(chat_model(tmp_path / "model"), tmp_path)
    told = made.statistics
    assert told["scored"] == 12 and told["scores"] == {"web": {"4": 12}}
    assert told["agreement"]["same"] == 1 and told["malformed"]["answers"] == 0
    assert told["tokens"]["output"] == (12 + told["agreement"]["documents"]) * len("Scor: 4")
    again = ask(tmp_path / "model", tmp_path, most_malformed=0.5)
    assert again.statistics["requests"]["asked"] == 0


def test_prompts_that_leave_no_room_have_no_score(tmp_path: Path) -> None:
    made = ask(
        chat_model(tmp_path / "model"),
        tmp_path,
        prompt="x" * 180 + "{text}",
        again=0,
        most_malformed=1.0,
    )
    told = made.statistics
    assert 0 < told["scored"] < 12
    assert told["requests"]["refused"] == told["malformed"]["answers"] > 0
    assert "leave no room in 256" in told["malformed"]["examples"][0]


def test_a_model_without_a_chat_template_is_refused_before_and_while(tmp_path: Path) -> None:
    model = chat_model(tmp_path / "model", template=None)
    parameters = LabelsParameters.model_validate({"prompt": "{text}", "model": str(model)})
    (fault,) = faults(parameters, pins_of(parameters), None)  # type: ignore[arg-type]
    assert isinstance(fault, Fault) and "has no chat template" in fault.what
    with pytest.raises(StageError, match="has no chat template"):
        ask(model, tmp_path)


def test_a_template_that_refuses_a_system_message_is_a_sentence(tmp_path: Path) -> None:
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}x"
    with pytest.raises(StageError, match="leave `system` out"):
        ask(chat_model(tmp_path / "model", strict), tmp_path, system="Be fair.")


def test_folders_that_are_no_model_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    folder.mkdir()
    (folder / "readme.txt").write_text("x")
    parameters = LabelsParameters.model_validate({"prompt": "{text}", "model": str(folder)})
    (fault,) = faults(parameters, pins_of(parameters), None)  # type: ignore[arg-type]
    assert "has no config.json" in fault.what
