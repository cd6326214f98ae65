"""The report against tokenizers grown to every size, and against counting by hand."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from tasks.checkpoints.tokenizer_files import size_of
from tasks.tokenizer.append import NewToken
from tasks.tokenizer.expand import grow
from tasks.tokenizer.measure import parts_of, piece_names, plain_ids, report, write_report
from tasks.tokenizer.texts import SampleText
from tasks.tokenizer.train import bytes_only
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH, sentencepiece_base

GROWTH = 40
BASES = {
    "byte-level": grow(bytes_only(), ENGLISH, 320).tokenizer,
    "sentencepiece": sentencepiece_base(),
}
FAMILIES = sorted(BASES)
SENTENCE = "今天我们去公园看花，天气不错，公园里有很多人。"
ENGLISH_SENTENCE = "The cat sat on the mat, isn't it?"
SAMPLE = {
    "web-zh": [
        SampleText(text, "web-zh", "zh") for text in (f"公园。{SENTENCE}我不去。", "公园里有人。")
    ],
    "web-en": [SampleText(f"{ENGLISH_SENTENCE} Yes.", "web-en", "en")],
}


def reported(family: str) -> tuple[dict[str, Any], Tokenizer, list[NewToken]]:
    base = BASES[family]
    grown = grow(base, CHINESE + ENGLISH, size_of(base) + GROWTH)
    found = report(base, grown.tokenizer, grown.tokens, grown.steps, grown.tokens_before, SAMPLE)
    return found, grown.tokenizer, grown.tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_the_curve_equals_tokenizers_grown_to_each_size(family: str) -> None:
    base = BASES[family]
    found, _, _ = reported(family)
    points = found["curve"]["points"]
    assert [points[0]["size"], points[-1]["size"]] == [size_of(base), size_of(base) + GROWTH]
    assert len(points) > 8
    for point in points:
        at = base
        if point["size"] > size_of(base):
            at, _ = grow(base, CHINESE + ENGLISH, point["size"])[:2]
        for language, category in (("zh", "web-zh"), ("en", "web-en")):
            texts = [document.text for document in SAMPLE[category]]
            tokens = sum(len(ids) for ids in plain_ids(at, texts))
            assert point["languages"][language] == round(tokens / sum(map(len, texts)), 6)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_training_curve_falls_by_what_the_grown_tokenizer_saves(family: str) -> None:
    base, texts = BASES[family], CHINESE + ENGLISH
    grown = grow(base, texts, size_of(base) + GROWTH)
    found = report(base, grown.tokenizer, grown.tokens, grown.steps, grown.tokens_before, SAMPLE)
    shares = [point["training"] for point in found["curve"]["points"]]
    assert shares[0] == 1.0 and shares == sorted(shares, reverse=True)
    before, after = (sum(len(ids) for ids in plain_ids(t, texts)) for t in (base, grown.tokenizer))
    assert shares[-1] == pytest.approx(1 - (before - after) / grown.tokens_before, abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_are_used_or_steps_or_unused(family: str) -> None:
    found, grown, tokens = reported(family)
    pieces = found["pieces"]
    assert (
        sum(pieces[kind]["count"] for kind in ("used", "steps", "unused"))
        == len(tokens)
        == pieces["new"]
    )
    uses = Counter(
        i
        for documents in SAMPLE.values()
        for ids in plain_ids(grown, [d.text for d in documents])
        for i in ids
    )
    assert pieces["used"]["count"] == sum(uses[token.id] > 0 for token in tokens)
    of_text = sum(uses[token.id] for token in tokens) / uses.total()
    assert pieces["share_of_tokens"] == round(of_text, 6) > 0.2
    whole = "".join(document.text for documents in SAMPLE.values() for document in documents)
    texts = {token.text for token in tokens}
    for piece in pieces["steps"]["examples"]:
        assert piece["uses"] > 0
        if piece["text"] in texts:
            assert piece["text"].strip() in whole, "a step occurs in the text"
    lengths = [len(piece["text"]) for piece in pieces["longest"] if piece["text"] in texts]
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_examples_mark_the_new_tokens_and_spell_the_sentence(family: str) -> None:
    found, _, tokens = reported(family)
    (example,) = found["examples"]["zh"]
    spelled = "".join(piece for piece, _ in example["after"] if not piece.startswith("<")).strip()
    assert spelled == "".join(char for char in SENTENCE if char in spelled) and len(spelled) > 12
    new = {piece for piece, is_new in example["after"] if is_new}
    assert "公园" in "".join(new) and len(example["after"]) < len(example["before"])
    assert not any(is_new for _, is_new in example["before"])
    assert all(
        piece in {piece_names(BASES[family])(token.token) for token in tokens} for piece in new
    )
    (english,) = found["examples"]["en"]
    assert "".join(piece for piece, _ in english["before"]).strip() == ENGLISH_SENTENCE


def test_names_of_pieces() -> None:
    byte_level, sentencepiece = (piece_names(BASES[family]) for family in FAMILIES)
    assert byte_level("Ġcat") == " cat"
    assert byte_level("åħ¬") == "公" and byte_level("åħ") == "<E5><85>"
    assert (
        sentencepiece("▁cat") == " cat"
        and sentencepiece("<0xE5>") == "<E5>"
        and sentencepiece("é") == "é"
    )


def test_nothing_learned_and_training_from_nothing(tmp_path: Path) -> None:
    base = BASES["sentencepiece"]
    kept = report(base, base, [], [], 0, SAMPLE)
    assert kept["curve"] is None and kept["pieces"]["new"] == 0
    assert all(example["before"] is None for example in kept["examples"]["zh"])
    assert report(base, base, [], [], 0, {})["measured"] == {"documents": 0, "characters": 0}

    made = grow(bytes_only(), CHINESE, 300)
    fresh = report(None, made.tokenizer, made.tokens, made.steps, made.tokens_before, SAMPLE)
    assert (fresh["base_size"], fresh["size"]) == (259, 300)
    assert fresh["curve"]["points"][0]["languages"]["en"] == 1.0, "a token a byte"
    write_report(tmp_path / "report.json", fresh)
    assert json.loads((tmp_path / "report.json").read_text()) == fresh


def test_pieces_that_several_merges_reach_have_no_curve() -> None:
    base = BASES["sentencepiece"]
    grown, tokens = grow(base, CHINESE, size_of(base) + GROWTH)[:2]
    state = json.loads(grown.to_str())
    model = state["model"]
    piece = next(token.token for token in tokens if token.text and len(token.text) == 3)
    for part in (piece[:1], piece[:2], piece[1:], piece[2:]):
        model["vocab"].setdefault(part, len(model["vocab"]))
    wanted = [[piece[:1], piece[1:]], [piece[:2], piece[2:]]]
    model["merges"].extend(merge for merge in wanted if merge not in model["merges"])
    again = Tokenizer.from_str(json.dumps(state))
    assert parts_of(grown, tokens) is not None
    assert parts_of(again, tokens) is None
    assert report(base, again, tokens, [], 0, SAMPLE)["curve"] is None
