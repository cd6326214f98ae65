"""A phase as axolotl's configuration: equal numbers, notes where it differs, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from infra.stage import StageError
from tasks.export.axolotl import Configuration, configuration, write, write_documents
from tasks.training.stage import TrainingParameters

LLAMA_3_6B: dict[str, Any] = {
    "tokens": "2 epochs",
    "batch": "64 rows",
    "sequence_length": 8192,
    "mixture": {"web": 1.0},
    "adapter": {"kind": "qlora", "r": 128, "alpha": 128, "dropout": 0.05},
    "optimizer": {
        "name": "paged-adamw",
        "lr": 2e-4,
        "betas": [0.9, 0.999],
        "weight_decay": 0,
        "gradient_clip": 1.0,
    },
    "schedule": {"kind": "cosine", "warmup": "100 steps", "final_ratio": 0, "decay": 0.1},
    "precision": "bf16",
    "recompute": "full",
    "micro_batch": 2,
    "devices": {"ranks": 4},
    "seed": 42,
}


def made(*, packing: str = "document", has_sources: bool = False, **changes: Any) -> Configuration:
    parameters = TrainingParameters.model_validate(LLAMA_3_6B | changes)
    return configuration(
        parameters.model_dump(mode="json", by_alias=True),
        packing=packing,
        held_out=True,
        has_sources=has_sources,
    )


def test_a_published_run_keeps_its_numbers(tmp_path: Path) -> None:
    write(tmp_path, made())
    values = yaml.safe_load((tmp_path / "axolotl.yaml").read_text())
    assert {key: values[key] for key in ("adapter", "lora_r", "lora_alpha", "lora_dropout")} == {
        "adapter": "qlora",
        "lora_r": 128,
        "lora_alpha": 128,
        "lora_dropout": 0.05,
    }
    assert values["lora_target_linear"] and values["load_in_4bit"]
    # 64 rows = 2 at once on each of 4 GPUs, 8 times
    assert (values["micro_batch_size"], values["gradient_accumulation_steps"]) == (2, 8)
    assert (values["num_epochs"], values["warmup_steps"], values["seed"]) == (2, 100, 42)
    assert (values["optimizer"], values["learning_rate"]) == ("paged_adamw_32bit", 2e-4)
    assert (values["adam_beta1"], values["adam_beta2"]) == (0.9, 0.999)
    assert (values["lr_scheduler"], values["cosine_min_lr_ratio"]) == ("cosine", 0)
    assert (values["sequence_len"], values["sample_packing"], values["bf16"]) == (8192, False, True)
    assert values["gradient_checkpointing"] and values["weight_decay"] == 0


def test_lengths_in_tokens_become_steps() -> None:
    found = made(
        tokens="1B",
        batch="4M",
        schedule={"kind": "linear", "warmup": 400_000_000, "final_ratio": 0.1, "decay": 0.1},
    )
    # 4M are 488 rows of 8,192
    assert found.values["max_steps"] == -(-1_000_000_000 // (488 * 8192))
    assert found.values["warmup_steps"] == round(400_000_000 / (488 * 8192))
    assert any("ends at 0, not at 0.1" in note for note in found.notes)


def test_packed_rows_mask_documents_where_axolotl_does() -> None:
    packed = made(packing="best-fit")
    assert packed.values["sample_packing"]
    assert packed.values["attn_implementation"] == "flash_attention_2"
    seen = made(packing="best-fit", precision="fp32")
    assert "attn_implementation" not in seen.values
    assert any("see each other" in note for note in seen.notes)


def test_what_differs_is_said(tmp_path: Path) -> None:
    found = made(mixture={"web": 0.7, "wiki": 0.3}, adapter=None, has_sources=True)
    assert "adapter" not in found.values
    assert found.values["datasets"][0]["type"] == "input_output"
    write(tmp_path, found)
    head = (tmp_path / "axolotl.yaml").read_text()
    assert "# - The mixture (web 0.7, wiki 0.3) has no counterpart" in head
    assert "loaded in; here in fp32" in head and "tokenized apart" in head
    assert made(trainable="embeddings", adapter=None).values["unfrozen_parameters"]
    assert made(adapter={"targets": ["q_proj"]}).values["lora_target_modules"] == ["q_proj"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"batch": {"from": "1M", "to": "4M"}}, "a batch that ramps"),
        ({"mixture": {"a": {"from": 0.1, "to": 0.5}, "b": "rest"}}, "shares that ramp"),
        ({"trainable": "new-rows", "adapter": None}, "trainable: new-rows"),
        (
            {"schedule": {"kind": "wsd", "warmup": 0, "final_ratio": 0, "decay": 0.1}},
            "schedule.kind: wsd",
        ),
    ],
)
def test_what_axolotl_has_no_word_for_is_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(StageError, match=f"axolotl has no {word}"):
        made(**changes)


def test_documents_lose_nothing(tmp_path: Path) -> None:
    rows = [
        {"source": "", "target": "plain 公园\n\n text"},
        {"source": "Q: ", "target": "A"},
    ]
    given = tmp_path / "part.jsonl"
    given.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for segments, expected in (
        (None, [{"text": "plain 公园\n\n text"}, {"text": "Q: A"}]),
        (
            ("<s>", "</s>"),
            [
                {
                    "segments": [
                        {"label": False, "text": "<s>" + row["source"]},
                        {"label": True, "text": row["target"] + "</s>"},
                    ]
                }
                for row in rows
            ],
        ),
    ):
        out = tmp_path / "out" / "web.jsonl"
        assert write_documents([given], out, segments=segments) == 2
        assert [json.loads(line) for line in out.read_text().splitlines()] == expected


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--to", "axolotl"], "add --recipe FILE, the recipe of the phase"),
        (["--recipe", "r.yaml"], "add --to axolotl"),
        (["--to", "trl", "--recipe", "r.yaml"], "--to trl: is not known; write --to axolotl"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], told: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", "training/one", str(tmp_path / "out"), *options])
    assert done.exit_code == 2 and told in done.output
