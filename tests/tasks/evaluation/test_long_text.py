"""Loss by position equals a plain pass over the whole document, in nats and over the bytes that each bucket spells."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pydantic
import pytest
import torch

from tasks.evaluation.evaluate import Spec, evaluate
from tasks.evaluation.long_text import long_documents, score
from tasks.evaluation.model import LoadedModel, load
from tasks.evaluation.stage import STAGE, EvaluationParameters, LongText
from tests.stage_harness import run_stage

SHORT = "一个短文。"
LONG = [f"Answer {n}: the other one 问题😀 {n * n}. " * 120 for n in range(3)]


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LoadedModel:
    return load(checkpoint, dtype="auto", device="cpu", max_length=None)


def nats(model: LoadedModel, text: str, length: int) -> tuple[list[int], torch.Tensor]:
    """(ids, cost of each) of the first `length` tokens, position by position."""
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"][:length]
    with torch.inference_mode():
        logits = model.model(torch.tensor([[model.bos, *ids]])).logits[0, :-1].double()
    return ids, -torch.log_softmax(logits, -1).gather(1, torch.tensor(ids)[:, None])[:, 0]


def test_buckets_add_up_to_a_plain_pass(model: LoadedModel) -> None:
    """640 tokens are more than the context of 256 that the configuration states."""
    rows, found = score(iter([SHORT, *LONG]), LongText(length=640, documents=2, bucket=160), model)
    assert found["long"] == 2 and found["read"] == 3
    assert list(rows) == ["", "0-159", "160-319", "320-479", "480-639"]
    costs, spelled = [], []
    for text in LONG[:2]:
        ids, cost = nats(model, text, 640)
        costs.append(cost)
        spelled.append(len(model.tokenizer.decode(ids).encode()))
    first = torch.stack(costs)[:, :160]
    assert rows["0-159"]["nats_per_token"] == pytest.approx(float(first.mean()), rel=1e-5)
    assert rows[""]["nats_per_token"] == pytest.approx(float(torch.stack(costs).mean()), rel=1e-5)
    means = first.mean(1)
    assert rows["0-159"]["nats_per_token_stderr"] == pytest.approx(abs(float(means[0] - means[1])) / 2, rel=1e-3)
    assert all(row["n"] == 2 for row in rows.values())
    parts = [rows[name]["nats_per_token"] for name in list(rows)[1:]]
    assert sum(parts) / 4 == pytest.approx(rows[""]["nats_per_token"])
    whole = sum(float(cost.sum()) for cost in costs) / math.log(2)
    assert whole / rows[""]["bits_per_byte"] == pytest.approx(sum(spelled), abs=6)


def test_bytes_of_split_characters_count_once(model: LoadedModel) -> None:
    documents, found = long_documents(iter(["", "😀" * 40]), 64, 5, model)
    assert found == {"read": 2, "long": 1, "longest": 160}
    upto = documents[0].bytes_upto
    assert upto[:8] == (4, 4, 4, 4, 8, 8, 8, 8) and upto[-1] == 64


def test_only_real_long_documents_count(model: LoadedModel) -> None:
    rows, found = score(iter([SHORT] * 50), LongText(length=512, documents=2), model)
    assert rows == {} and found["long"] == 0 and found["read"] == 50


def test_the_stage_reports_buckets_and_says_what_was_too_short(checkpoint: Path, tmp_path: Path) -> None:
    files = {"web-en": LONG, "web-zh": [SHORT, "中文" * 80]}
    heldout = {}
    for category, texts in files.items():
        path = tmp_path / f"{category}.jsonl"
        path.write_text("".join(json.dumps({"target": text}) + "\n" for text in texts))
        heldout[category] = [str(path)]
    parameters = EvaluationParameters(
        protocols=("bits-per-byte",), heldout_documents=1, long_text=LongText(length=512, documents=2, bucket=256)
    )

    def do(given: dict[str, list[str]], folder: str) -> tuple[dict[str, dict[str, float]], list[str]]:
        dumped = parameters.model_dump(mode="json")
        output = tmp_path / folder
        rows = evaluate(Spec(str(checkpoint), dumped, {}, {}, given, str(output), 1), lambda done, total: None)
        notes = output / "data" / "notes.json"
        return rows, json.loads(notes.read_text()) if notes.exists() else []

    rows, notes = do(heldout, "out")
    assert [row for row in rows if row.startswith("long")] == [
        "long-text/web-en", "long-text/web-en/0-255", "long-text/web-en/256-511",
    ]  # fmt: skip
    assert rows["heldout/web-en"]["n"] == 1 and rows["long-text/web-en"]["n"] == 2
    assert notes == [
        "long text: 0 of the 2 held-out documents of web-zh have 512 tokens (2 were asked for); the longest has 480"
    ]
    assert do({}, "none") == ({}, ["long text: there is no held-out text; hold some out in `select`"])

    built = run_stage(STAGE, parameters.model_copy(update={"model": str(checkpoint)}), name="base", tmp_path=tmp_path)
    assert built.statistics["notes"] == ["long text: there is no held-out text; hold some out in `select`"]


def test_buckets_must_divide_the_length() -> None:
    with pytest.raises(pydantic.ValidationError, match="length 1000 is no multiple of bucket 512"):
        LongText(length=1000)
    assert EvaluationParameters(long_text={"length": 1024}).long_text == LongText(length=1024)
