"""Bits per byte equal a plain sum over all tokens, whatever the windows and batches."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infra.stage import StageError
from tasks.documents.heldout import read_heldout, windows
from tasks.evaluation.bits_per_byte import score
from tasks.evaluation.model import LoadedModel, load

TEXTS = [
    "Once upon a time, 很久很久以前。",
    "x",
    "A literal </s> in a page. " * 12,
    "中文没有空格，" * 16,
]


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LoadedModel:
    return load(checkpoint, dtype="auto", device="cpu", max_length=64)


@given(st.integers(1, 40), st.integers(1, 9), st.data())
def test_windows_predict_every_counted_token_once_with_its_predecessor(
    n: int, length: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(1, n))
    ids = list(range(100, 100 + n + 1))
    cut = list(windows(0, ids, first, length))
    counted = [target for window in cut for target in window.targets[window.first_target :]]
    assert counted == ids[first:]
    for window in cut:
        assert len(window.inputs) == len(window.targets) <= length
        assert [target - 1 for target in window.targets] == list(window.inputs)
        assert len(window.inputs) == min(length, window.targets[-1] - 100)


def naive_nats(model: LoadedModel, text: str) -> float:
    """The cost in nats by the harness's rolling windows, one at a time."""
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    ids = model.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    total = 0.0
    for window in get_rolling_token_windows(
        ids, prefix_token=0, max_seq_len=model.max_length, context_len=1
    ):
        context, targets = make_disjoint_window(window)
        all_ids = [*context, *targets]
        with torch.inference_mode():
            logits = model.model(input_ids=torch.tensor([all_ids[:-1]])).logits[0].double()
        chosen = torch.log_softmax(logits, -1).gather(1, torch.tensor(all_ids[1:])[:, None])[:, 0]
        total -= float(chosen[-len(targets) :].sum())
    return total


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_sum_equals_the_harness_rolling_likelihood(model: LoadedModel, batch_size: int) -> None:
    row = score(iter([("", text) for text in TEXTS]), model, batch_size)
    size = sum(len(text.encode()) for text in TEXTS)
    expected = sum(naive_nats(model, text) for text in TEXTS) / math.log(2) / size
    assert row["bits_per_byte"] == pytest.approx(expected, rel=1e-5)
    assert row["n"] == len(TEXTS)
    tokens = sum(len(ids) for ids, _ in model.encode_documents([("", text) for text in TEXTS]))
    assert row["tokens_per_byte"] == tokens / size
    assert row["tokens_per_character"] == tokens / sum(map(len, TEXTS))
    assert 0 < row["bits_per_byte_stderr"] < row["bits_per_byte"]


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "dynamic", "factor": 4.0},
        {"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 64}
        | {"short_factor": [1.0] * 8, "long_factor": [float(n) for n in range(1, 9)]},
    ],
    ids=["dynamic", "longrope"],
)
def test_a_text_costs_the_same_in_a_batch_with_longer_ones(
    checkpoint: Path, tmp_path: Path, rope: dict[str, Any]
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    positions = 64 if rope["rope_type"] == "dynamic" else 256
    changed = {
        "rope_parameters": rope | {"rope_theta": 10_000.0},
        "max_position_embeddings": positions,
    }
    (folder / "config.json").write_text(json.dumps(config | changed))
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {
        "model_max_length": 256
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))

    def opened() -> LoadedModel:
        return load(folder, dtype="auto", device="cpu", max_length=None)

    texts = [("", "the other one " * count) for count in (1, 14, 30, 3, 1, 9)]
    alone = [score(iter([text]), opened(), 1)["bits_per_byte"] * len(text[1]) for text in texts]
    size = sum(len(text) for _, text in texts)
    for batch_size in (1, 2, 16):
        together = score(iter(texts), opened(), batch_size)["bits_per_byte"]
        assert together == pytest.approx(sum(alone) / size, rel=1e-6)


def test_prompts_are_read_but_not_counted(model: LoadedModel) -> None:
    alone = score(iter([("", "an answer")]), model, 4)
    prompted = score(iter([("a prompt ", "an answer")]), model, 4)
    assert prompted["tokens_per_byte"] == alone["tokens_per_byte"]
    assert prompted["bits_per_byte"] != alone["bits_per_byte"]
    assert "bits_per_byte_stderr" not in alone
    assert score(iter([("", "")]), model, 4) == {}


def test_heldout_lines_are_limited_and_bad_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "part-00000.jsonl"
    path.write_text(
        json.dumps({"target": "a"}) + "\n" + json.dumps({"source": "s", "target": "b"}) + "\n{}\n"
    )
    assert list(read_heldout([path], 2)) == [("", "a"), ("s", "b")]
    with pytest.raises(
        StageError, match=r"part-00000.jsonl, line 3: expected a JSON object with a .target. key"
    ):
        list(read_heldout([path], None))
