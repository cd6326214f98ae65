"""Evaluation scores the ids that the bins hold, and counts those for which training has a loss."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.binning.stage import STAGE as BINNING
from tasks.binning.stage import BinningParameters
from tasks.checkpoints.base import open_base
from tasks.documents.rows import Rows
from tasks.evaluation.bits_per_byte import score
from tasks.evaluation.long_text import score as score_long
from tasks.evaluation.model import LoadedModel, load
from tasks.evaluation.stage import LongText
from tests.stage_harness import run_stage
from tests.tasks.binning.inputs import artifact, line
from tests.tasks.checkpoints.samples import write_llama2c

PAIRS = [
    ("", "Once upon a time, 很久很久以前。"),
    ("Question: who? ", "the other one"),  # the blank and the word may be one token
    ("Question: who?\nAnswer:", " the other one"),
    ("问题：谁？答案：", "另一个😀"),
    ("问", "题：答案："),
    ("A literal <s> and </s> ", "in a page </s><s>."),
    ("  two  blanks  ", "  and  more \n\t"),
    ("x", "y"),
    ("", " begins with a blank"),
]


@pytest.fixture(scope="module", params=["byte-level", "sentencepiece"])
def folder(
    request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model by its kind of tokenizer; sentencepiece's adds a blank before every text."""
    if request.param == "byte-level":
        return checkpoint
    scratch = tmp_path_factory.mktemp("sentencepiece")
    return open_base(write_llama2c(scratch / "source"), scratch)


@pytest.fixture(scope="module")
def model(folder: Path) -> LoadedModel:
    """The model with a context in which every text is one window."""
    return dataclasses.replace(
        load(folder, dtype="auto", device="cpu", max_length=None), max_length=512
    )


def binned(folder: Path, tmp_path: Path) -> tuple[list[list[int]], int]:
    """The ids of every document of `PAIRS` as in the bins, and the number of tokens with a loss."""
    files = {
        f"tokenizer/{name}": (folder / name).read_text()
        for name in ("tokenizer.json", "tokenizer_config.json")
    }
    text = "".join(line(number, target, source) for number, (source, target) in enumerate(PAIRS))
    inputs = {
        "select": [artifact("select", "books", {"web/part-0.jsonl": text}, tmp_path)],
        "tokenizer": artifact("tokenizer", "main", files, tmp_path),
    }
    made = run_stage(
        BINNING,
        BinningParameters(sequence_length=32, bins=1),
        inputs,
        name="web",
        tmp_path=tmp_path,
    )
    rows = Rows([made.folder("bin-00")])
    pieces: dict[str, list[tuple[int, list[int]]]] = {}
    for index in range(len(rows)):
        ids = rows.batch([index])["input_ids"][0]
        for span in rows.provenance(index):
            pieces.setdefault(span.id, []).append(
                (span.offset, ids[span.start : span.start + span.length].tolist())
            )
    documents = [
        [token for _, part in sorted(pieces[id]) for token in part] for id in sorted(pieces)
    ]
    return documents, made.statistics["loss_tokens"]


def test_the_ids_equal_those_in_the_bins(folder: Path, model: LoadedModel, tmp_path: Path) -> None:
    documents, loss_tokens = binned(folder, tmp_path)
    encoded = model.encode_documents(PAIRS)
    assert len(documents) == len(PAIRS)
    end = model.tokenizer.eos_token_id
    for (ids, _), document in zip(encoded, documents, strict=True):
        assert [model.bos, *ids, end] == document
    # Training also learns the end token of each document.
    assert sum(len(ids) - source for ids, source in encoded) + len(PAIRS) == loss_tokens


def test_bits_per_byte_is_the_cost_of_the_tokens_that_are_learned(model: LoadedModel) -> None:
    """Compared with a plain pass over each document, counting only the learned tokens."""
    nats, size = 0.0, 0
    for (source, target), (ids, prompt) in zip(PAIRS, model.encode_documents(PAIRS), strict=True):
        with torch.inference_mode():
            logits = model.model(torch.tensor([[model.bos, *ids[:-1]]])).logits[0].double()
        costs = -torch.log_softmax(logits, -1).gather(1, torch.tensor(ids)[:, None])[:, 0]
        nats += float(costs[prompt:].sum())
        size += len(target.encode())
        assert source or prompt == 0
    row = score(iter(PAIRS), model, 4)
    assert row["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert row["characters"] == sum(len(target) for _, target in PAIRS)


def test_a_tokenizer_adds_one_blank_before_a_pair(tmp_path: Path) -> None:
    model = load(
        open_base(write_llama2c(tmp_path / "source"), tmp_path),
        dtype="auto",
        device="cpu",
        max_length=None,
    )
    ((joined, source),) = model.encode_documents([("问", "题")])
    apart = [
        id for text in ("问", "题") for ids, _ in model.encode_documents([("", text)]) for id in ids
    ]
    assert len(apart) == len(joined) + 1
    assert (
        model.tokenizer.convert_ids_to_tokens(joined)[source:]
        == model.tokenizer.convert_ids_to_tokens(apart)[-3:]
    )


@settings(max_examples=30, deadline=None)
@given(source=st.text(max_size=12), target=st.text(min_size=1, max_size=12))
def test_long_text_reads_the_same_ids_after_the_same_source(
    model: LoadedModel, source: str, target: str
) -> None:
    ((ids, prompt),) = model.encode_documents([(source, target)])
    located, same, ends = model.encode_located(source, target)
    assert (located, same) == (ids, prompt) and len(ends) == len(ids) - prompt
    assert all(0 <= end <= len(target) for end in ends)


def test_long_text_of_pairs_costs_what_bits_per_byte_costs(model: LoadedModel) -> None:
    """With a span of the whole document, both read the source and do not count it."""
    target = "the other one 问题 " * 4
    size = len(target.encode())
    asked = LongText.model_construct(length_bytes=size, documents=1, bucket_bytes=size)
    for source in ("", "Question: who?", "问题："):
        rows, counts = score_long(iter([(source, target)]), asked, model)
        bits_per_byte = score(iter([(source, target)]), model, 1)
        assert rows[""]["bits_per_byte"] == pytest.approx(bits_per_byte["bits_per_byte"], rel=1e-5)
        assert rows[""]["tokens_per_byte"] == bits_per_byte["tokens_per_byte"]
        assert counts["tokens"] == 1 + len(model.encode_documents([(source, target)])[0][0])


@pytest.mark.real
def test_a_real_sentencepiece_base_adds_no_blank_between_question_and_answer(
    real_data: Path, stories260k: Path, tmp_path: Path
) -> None:
    path = real_data / "benchmarks/llm-foundry/world_knowledge/arc_easy.jsonl"
    rows: list[dict[str, Any]] = [json.loads(text) for text in path.read_text().splitlines()[:50]]
    pairs = [(f"{row['query']}\nAnswer: ", row["choices"][row["gold"]]) for row in rows]
    model = load(open_base(stories260k, tmp_path), dtype="auto", device="cpu", max_length=None)
    joined = score(iter(pairs), model, 16)
    ids = model.encode_documents(pairs)
    expected = [
        model.tokenizer(source + target, add_special_tokens=False)["input_ids"]
        for source, target in pairs
    ]
    assert [document_ids for document_ids, _ in ids] == expected
    apart = [model.tokenizer(target, add_special_tokens=False)["input_ids"] for _, target in pairs]
    # Tokenized separately, every answer would get a second blank: its question ends with one.
    assert joined["tokens_per_byte"] * sum(len(target.encode()) for _, target in pairs) <= sum(
        map(len, apart)
    )
