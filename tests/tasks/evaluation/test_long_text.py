"""Loss by position equals a plain pass over the span, and the text read does not depend on the
tokenizer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydantic
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers
from transformers import AutoTokenizer

from tasks.checkpoints.base import open_base
from tasks.evaluation import bits_per_byte
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.long_text import between, long_spans, score, tokens_of
from tasks.evaluation.measured import Spec
from tasks.evaluation.model import LoadedModel, load
from tasks.evaluation.stage import STAGE, EvaluationParameters, LongText
from tests.stage_harness import run_stage
from tests.tasks.checkpoints.samples import write_llama2c

SHORT = "一个短文。"
LONG = [f"Answer {n}: the other one 问题😀 {n * n}. " * 120 for n in range(3)]


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LoadedModel:
    return load(checkpoint, dtype="auto", device="cpu", max_length=None)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A model with another tokenizer (dummy prefix, byte fallback) and a context of 32."""
    folder = tmp_path_factory.mktemp("other")
    return load(
        open_base(write_llama2c(folder / "source"), folder),
        dtype="auto",
        device="cpu",
        max_length=None,
    )


def documents(*texts: str) -> Iterator[tuple[str, str]]:
    return iter([("", text) for text in texts])


def nats(model: LoadedModel, text: str) -> tuple[list[int], torch.Tensor]:
    """(ids, cost of each) of a text, from a plain pass."""
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = model.model(torch.tensor([[model.bos, *ids]])).logits[0, :-1].double()
    return ids, -torch.log_softmax(logits, -1).gather(1, torch.tensor(ids)[:, None])[:, 0]


def test_buckets_add_up_to_a_plain_pass(model: LoadedModel) -> None:
    """1,600 bytes are more tokens than the context of 256 that the configuration states."""
    asked = LongText(length_bytes=1600, documents=2, bucket_bytes=400)
    rows, counts = score(documents(SHORT, *LONG), asked, model)
    assert (counts["long"], counts["read"], counts["longest"]) == (2, 3, len(LONG[0].encode()))
    assert list(rows) == ["", "0-399", "400-799", "800-1199", "1200-1599"]
    assert all(row["n"] == 2 for row in rows.values())
    spans, costs = [], []
    for text in LONG[:2]:
        spans.append(text.encode()[:1600].decode(errors="ignore"))
        ids, cost = nats(model, spans[-1])
        costs.append(cost)
        assert len(ids) + 1 <= counts["tokens"] and counts["tokens"] > 256
    size, tokens = sum(len(span.encode()) for span in spans), sum(map(len, costs))
    total_bits = sum(float(cost.sum()) for cost in costs) / math.log(2)
    assert rows[""]["bits_per_byte"] == pytest.approx(total_bits / size, rel=1e-5)
    assert rows[""]["tokens_per_byte"] == pytest.approx(tokens / size)
    residuals = [float(cost.sum()) / math.log(2) / 1600 - total_bits / size for cost in costs]
    assert rows[""]["bits_per_byte_stderr"] == pytest.approx(
        math.hypot(*residuals) / math.sqrt(2), rel=1e-2
    )

    # The first bucket by hand: tokens inside it count fully, the one across its end by its share.
    expected = 0.0
    for span, cost in zip(spans, costs, strict=True):
        *_, ends = tokens_of("", span, model)
        for low, high in pairwise([0, *sorted(set(ends.tolist()))]):
            own = sum(
                float(value) for value, end in zip(cost, ends.tolist(), strict=True) if end == high
            )
            expected += own * max(0, min(high, 400) - low) / (high - low)
    assert rows["0-399"]["bits_per_byte"] == pytest.approx(expected / math.log(2) / 800, rel=1e-5)


def test_models_with_other_tokenizers_read_the_same_text(
    model: LoadedModel, other: LoadedModel
) -> None:
    """A bucket is the same bytes of the same documents for every model; only the nats differ."""
    asked = LongText(length_bytes=640, documents=3, bucket_bytes=160)
    texts = [SHORT, "问题" * 120, *LONG]
    (ours, found), (theirs, others_found) = (
        score(documents(*texts), asked, m) for m in (model, other)
    )
    assert (
        {key: found[key] for key in ("read", "long", "longest")}
        == {key: others_found[key] for key in ("read", "long", "longest")}
        == {"read": 4, "long": 3, "longest": len(LONG[0].encode())}
    )
    assert list(ours) == list(theirs) and found["tokens"] != others_found["tokens"]
    for row in ours.values():
        assert row["n"] == 3
    assert ours[""]["tokens_per_byte"] != theirs[""]["tokens_per_byte"]
    spans, _ = long_spans(documents(*texts), 640, 3)
    assert [len(span.encode()) for _, span in spans] == [
        639,
        638,
        638,
    ]  # each ends before a cut character
    for _, text in spans:
        for reader in (model, other):
            ids, _, ends = tokens_of("", text, reader)
            assert (
                len(ids) == len(ends)
                and ends[-1] == len(text.encode())
                and (np.diff(ends) >= 0).all()
            )


def test_bytes_of_split_characters_count_once(model: LoadedModel, other: LoadedModel) -> None:
    ids, _, ends = tokens_of("", "😀" * 40, model)
    assert len(ids) == 160 and ends[:8].tolist() == [4, 4, 4, 4, 8, 8, 8, 8] and ends[-1] == 160
    *_, ends = tokens_of("", "😀a", other)  # a dummy prefix, four bytes, a letter
    assert ends.tolist() == [4, 4, 4, 4, 4, 5]
    assert between([0, 2, 4, 5], ends, np.array([1.0, 2, 2, 2, 2, 5])).tolist() == [4.5, 4.5, 5]


@given(
    st.lists(st.tuples(st.integers(0, 6), st.floats(0, 20)), min_size=1, max_size=40),
    st.lists(st.integers(0, 100), max_size=8),
)
def test_nothing_is_lost_between_borders(tokens: list[tuple[int, float]], cuts: list[int]) -> None:
    ends = np.cumsum([size for size, _ in tokens])
    values = np.array([value for _, value in tokens])
    borders = sorted({0, int(ends[-1]), *(cut for cut in cuts if cut < ends[-1])})
    if len(borders) > 1:
        sums = between(borders, ends, values)
        assert (sums >= -1e-9).all() and sums.sum() == pytest.approx(values.sum())


def test_only_real_long_documents_count(model: LoadedModel) -> None:
    rows, counts = score(documents(*[SHORT] * 50), LongText(length_bytes=2048, documents=2), model)
    assert rows == {} and counts == {
        "read": 50,
        "long": 0,
        "longest": len(SHORT.encode()),
        "tokens": 0,
    }


def test_text_for_which_a_tokenizer_has_no_tokens(
    model: LoadedModel, checkpoint: Path, tmp_path: Path
) -> None:
    """It costs nothing with that model, and its bytes count as they do for other models."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.backend_tokenizer.normalizer = normalizers.Strip()
    tokenizer.save_pretrained(tmp_path)
    stripping = LoadedModel(model.model, tokenizer, model.max_length, tmp_path)
    asked = LongText(length_bytes=128, documents=2, bucket_bytes=64)
    rows, counts = score(documents(" " * 200, LONG[0]), asked, stripping)
    alone, _ = score(documents(LONG[0]), asked, stripping)
    assert (counts["long"], rows[""]["n"]) == (2, 2)
    for name, row in rows.items():
        assert row["bits_per_byte"] == pytest.approx(alone[name]["bits_per_byte"] / 2, rel=0.03)
    empty, _ = score(documents(" " * 200), asked, stripping)
    assert empty[""] == {"bits_per_byte": 0, "tokens_per_byte": 0, "n": 1}
    assert bits_per_byte.score(iter([("", " " * 9)]), stripping, 1)["bits_per_byte"] == 0


def test_the_stage_reports_buckets_and_says_what_was_too_short(
    checkpoint: Path, tmp_path: Path
) -> None:
    files = {"web-en": LONG, "web-zh": [SHORT, "中文" * 80]}
    heldout = {}
    for category, texts in files.items():
        path = tmp_path / f"{category}.jsonl"
        path.write_text("".join(json.dumps({"target": text}) + "\n" for text in texts))
        heldout[category] = [str(path)]
    parameters = EvaluationParameters(
        protocols=("bits-per-byte",),
        heldout_documents=1,
        long_text=LongText(length_bytes=1024, documents=2, bucket_bytes=512),
    )

    def do(
        given: dict[str, list[str]], folder: str
    ) -> tuple[dict[str, dict[str, float]], list[str]]:
        dumped = parameters.model_dump(mode="json")
        output = tmp_path / folder
        rows = evaluate(
            Spec(str(checkpoint), dumped, {}, {}, given, str(output), 1), lambda done, total: None
        )
        notes = output / "data" / "notes.json"
        return rows, json.loads(notes.read_text()) if notes.exists() else []

    rows, notes = do(heldout, "out")
    assert [row for row in rows if row.startswith("long")] == [
        "long-text/web-en",
        "long-text/web-en/0-511",
        "long-text/web-en/512-1023",
        "long-text/web-zh",
    ]
    assert rows["long-text/web-zh"] == {"bits_per_byte": None, "n": 0, "reason": "no long document"}
    assert rows["heldout/web-en"]["n"] == 1 and rows["long-text/web-en"]["n"] == 2
    assert [note for note in notes if note.startswith("long")] == [
        "long text: 1,024 bytes of web-en are up to 405 tokens, more than the context of 256",
        "long text: 0 of the 2 held-out documents of web-zh have 1,024 bytes (2 were asked for); "
        "the longest has 480",
    ]
    none = [
        f"{what}: there is no held-out text; hold some out in `select`"
        for what in ("bits per byte", "long text")
    ]
    assert do({}, "none") == ({}, none)

    built = run_stage(
        STAGE,
        parameters.model_copy(update={"model": str(checkpoint)}),
        name="base",
        tmp_path=tmp_path,
    )
    assert built.statistics["notes"] == none


def test_buckets_must_divide_the_length() -> None:
    with pytest.raises(
        pydantic.ValidationError, match="length_bytes 5000 is not a multiple of bucket_bytes 2048"
    ):
        LongText(length_bytes=5000)
    assert EvaluationParameters(long_text={"length_bytes": "4096"}).long_text == LongText(
        length_bytes=4096
    )
