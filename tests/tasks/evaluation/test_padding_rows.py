"""Rows of the output matrix without a token change no score and are never generated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.benchmarks.model import Benchmark
from tasks.evaluation.bits_per_byte import score
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.harness_model import harness_model
from tasks.evaluation.long_text import score as score_long
from tasks.evaluation.measured import Spec
from tasks.evaluation.model import LoadedModel, load
from tasks.evaluation.stage import EvaluationParameters, LongText

TEXTS = ["Once upon a time, 很久很久以前。", "Answer: the other one. " * 12]


@pytest.fixture(scope="module")
def padded(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint with seven more rows, long vectors that take much of the probability."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("padded") / "checkpoint"
    shutil.copytree(checkpoint, folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokens = model.config.vocab_size
    model.resize_token_embeddings(tokens + 7, mean_resizing=False)
    with torch.no_grad():
        model.lm_head.weight[tokens:] = model.lm_head.weight[:7] * 3
    model.save_pretrained(folder)
    return folder


def opened(folder: Path) -> LoadedModel:
    return load(folder, dtype="auto", device="cpu", max_length=None)


def test_padding_rows_do_not_change_bits_per_byte_and_their_share_is_reported(
    checkpoint: Path, padded: Path
) -> None:
    plain, wide = opened(checkpoint), opened(padded)
    assert plain.padding_rows.tolist() == []
    assert wide.padding_rows.tolist() == list(range(plain.vocabulary, plain.vocabulary + 7))
    expected = score(iter([("a prompt ", text) for text in TEXTS]), plain, 2)
    row = score(iter([("a prompt ", text) for text in TEXTS]), wide, 2)
    share = row.pop("padding_share")
    assert row == pytest.approx(expected, rel=1e-5)

    total, count = 0.0, 0
    for text in TEXTS:
        ((ids, source),) = wide.encode_documents([("a prompt ", text)])
        with torch.inference_mode():
            logits = wide.model(torch.tensor([[wide.bos, *ids]])).logits[0, source:-1]
        total += float(logits.softmax(-1)[:, plain.vocabulary :].sum())
        count += len(ids) - source
    assert share == pytest.approx(total / count, rel=1e-4)
    assert share > 0.01

    long = [text * 20 for text in TEXTS]
    asked = LongText(length_bytes=128, documents=2, bucket_bytes=64)
    assert score_long(iter([("", text) for text in long]), asked, wide)[0][""] == pytest.approx(
        score_long(iter([("", text) for text in long]), asked, plain)[0][""], rel=1e-5
    )


def test_padding_rows_do_not_change_the_harness(
    checkpoint: Path, padded: Path, tmp_path: Path
) -> None:
    rows = [
        {
            "id": str(n),
            "question": f"{n}加{n}等于几？",
            "choices": ["多", f"{n} and a long answer", "x"],
            "answer": 1,
        }
        for n in range(8)
    ]
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    benchmark = Benchmark(format="multiple-choice", paths=(str(path),), language="zh")
    parameters = EvaluationParameters(
        benchmarks={"b": benchmark}, protocols=("harness", "first-token")
    )

    def samples(folder: Path) -> list[dict[str, Any]]:
        output = tmp_path / folder.name / folder.parent.name
        spec = Spec(
            str(folder),
            parameters.model_dump(mode="json"),
            {"b": [str(path)]},
            {},
            {},
            str(output),
            1,
        )
        evaluate(spec, lambda done, total: None)
        return [
            json.loads(line) for line in (output / "data/samples/b.jsonl").read_text().splitlines()
        ]

    for masked, expected in zip(samples(padded), samples(checkpoint), strict=True):
        assert masked["loglikelihoods"] == pytest.approx(expected["loglikelihoods"], abs=2e-3)
        assert masked["prediction"] == expected["prediction"]


def test_a_padding_row_is_never_generated(padded: Path) -> None:
    wide = opened(padded)
    lm = harness_model(wide, 1)
    ids = torch.tensor([wide.encode_prompt("Question: Which of these")])
    chosen = lm._model_generate(ids, max_length=ids.shape[1] + 30, stop=[], do_sample=False)
    assert int(chosen.max()) < int(wide.padding_rows[0])
    free = wide.model.generate(ids, max_new_tokens=30, do_sample=False, pad_token_id=1)
    assert int(free.max()) >= int(wide.padding_rows[0])
