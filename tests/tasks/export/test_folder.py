"""The exported folder: complete, checked, and loading with the same logits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from infra.stage import StageError
from tasks.export.folder import INDEX, write_folder
from tests.tasks.export.checkpoints import byte_level, sentencepiece
from tests.tasks.model.bases import change_config


def test_an_export_loads_with_the_same_logits_and_ids(tmp_path: Path) -> None:
    source = sentencepiece(tmp_path).folder("checkpoint")
    target = tmp_path / "exported"
    facts = write_folder(source, target)
    text = "我们今天去公园看花 the cat"
    logits = []
    for folder in (source, target):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert model.config.vocab_size == facts["rows"] and len(tokenizer) == facts["tokens"]
        logits.append(model(**tokenizer(text, return_tensors="pt")).logits)
    assert torch.equal(*logits)


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    checkpoint, _, _ = byte_level(tmp_path / "model")
    target = tmp_path / "mine"
    target.mkdir()
    with pytest.raises(StageError, match="exists"):
        write_folder(checkpoint, target)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    ("rows", "said"), [(380, "384 rows, but config.json says vocab_size 380"), (None, "vocab_size")]
)
def test_parts_that_contradict_each_other_are_refused(
    tmp_path: Path, rows: int | None, said: str
) -> None:
    checkpoint, _, _ = byte_level(tmp_path / "model")
    change_config(checkpoint, vocab_size=rows)
    with pytest.raises(StageError, match=said):
        write_folder(checkpoint, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    checkpoint, _, _ = byte_level(tmp_path / "model")
    (checkpoint / INDEX).write_text(json.dumps({"weight_map": {"lm_head.bias": "other"}}))
    with pytest.raises(StageError, match=r"lm_head\.bias"):
        write_folder(checkpoint, tmp_path / "exported")
