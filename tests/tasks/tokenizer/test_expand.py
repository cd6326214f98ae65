"""Growth: base ids stay, new tokens are reachable, undoing them gives the base's segmentation,
nothing is lost.
"""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer

from infra.stage import StageError
from tasks.checkpoints.base import open_base
from tasks.checkpoints.fast_tokenizers import byte_level_content
from tasks.checkpoints.tokenizer_files import read_tokenizer, size_of, write_tokenizer
from tasks.tokenizer.append import NewToken, undone, unreachable
from tasks.tokenizer.byte_level import whole_characters_or_step
from tasks.tokenizer.expand import grow
from tasks.tokenizer.measure import plain_ids
from tasks.tokenizer.train import BOS, EOS, PAD, bytes_only
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH, MIXED, sentencepiece_base


def byte_level_base() -> Tokenizer:
    return grow(bytes_only(), ENGLISH, 320).tokenizer


BASES = {"byte-level": byte_level_base(), "sentencepiece": sentencepiece_base()}
GROWN: dict[str, tuple[Tokenizer, list[NewToken]]] = {
    name: grow(base, CHINESE + ENGLISH, size_of(base) + 40)[:2] for name, base in BASES.items()
}
FAMILIES = sorted(BASES)


@pytest.mark.parametrize("family", FAMILIES)
def test_base_ids_stay_and_new_ids_follow(family: str) -> None:
    base, (grown, tokens) = BASES[family], GROWN[family]
    vocabulary = grown.get_vocab()
    assert all(vocabulary[token] == index for token, index in base.get_vocab().items())
    assert [token.id for token in tokens] == list(range(size_of(base), size_of(base) + 40))
    assert sorted(vocabulary.values()) == list(range(size_of(base) + 40))
    assert any(token.text and "公园" in token.text for token in tokens)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_new_token_is_reached_through_merges(family: str) -> None:
    grown, tokens = GROWN[family]
    assert unreachable(grown, tokens) == []


@pytest.mark.parametrize("family", FAMILIES)
@given(
    text=st.one_of(
        st.text(max_size=60),
        st.text(st.sampled_from("今天公园花好我们去不，the cat\n  sat😀"), max_size=60),
    )
)
def test_undoing_new_tokens_gives_the_base_segmentation_and_nothing_is_lost(
    family: str, text: str
) -> None:
    text = text.replace("\u2581", "_")
    base, (grown, tokens) = BASES[family], GROWN[family]
    (old,), (new,) = plain_ids(base, [text]), plain_ids(grown, [text])
    assert undone(new, {token.id: token.base_ids for token in tokens}) == old
    assert grown.decode(new, skip_special_tokens=False) == text


@pytest.mark.parametrize("family", FAMILIES)
def test_base_ids_of_a_token_spell_its_text_without_dummy_prefix(family: str) -> None:
    base, (_, tokens) = BASES[family], GROWN[family]
    for token in tokens:
        assert [part.id for part in base.model.tokenize(token.token)] == list(token.base_ids)


def test_pieces_are_whole_characters_or_steps_of_one() -> None:
    for token in GROWN["byte-level"][1]:
        content = byte_level_content(token.token)
        assert content is not None and whole_characters_or_step(content, 16)


@pytest.mark.parametrize(
    ("content", "allowed"),
    [
        ("公".encode(), True),
        ("公".encode()[:2], True),
        (b" \xe5", False),
        (b"\xe5\x85x", False),
        (b"\x85\xac", False),
        ("公".encode() + b"\xe5", False),
        (b"x" * 17, False),
        ("😀".encode()[:3], True),
    ],
)
def test_what_may_be_a_piece(content: bytes, allowed: bool) -> None:
    assert whole_characters_or_step(content, 16) is allowed


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_in_the_text_are_text(family: str) -> None:
    grown, _ = GROWN[family]
    specials = {index for index, added in grown.get_added_tokens_decoder().items() if added.special}
    assert not specials & {index for ids in plain_ids(grown, MIXED * 3) for index in ids}
    text = "<s>公园</s>" if family == "sentencepiece" else f"{BOS}公园{EOS}"
    again, tokens = grow(BASES[family], [text] * 20, size_of(BASES[family]) + 2)[:2]
    assert not specials & {index for token in tokens for index in token.base_ids}
    assert unreachable(again, tokens) == []


def write_qwen_like(folder: Path, first: int) -> None:
    """Added tokens from `first` on, above the vocabulary; NFC, `ignore_merges`, a token not marked
    special.
    """
    state = json.loads(byte_level_base().to_str())
    kept = [token for token in state["model"]["vocab"] if token not in (BOS, EOS, PAD)]
    state["model"]["vocab"] = {token: index for index, token in enumerate(kept)}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    state["added_tokens"] = [
        {"id": first, "content": "<|endoftext|>", "special": True, **flags},
        {"id": first + 1, "content": "<tool_call>", "special": False, **flags},
    ]
    state["model"]["ignore_merges"] = True
    state["normalizer"] = {"type": "NFC"}
    state["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(state))


@pytest.mark.parametrize("first", [317, 330])
def test_a_base_with_added_tokens_above_and_with_holes(tmp_path: Path, first: int) -> None:
    write_qwen_like(tmp_path, first)
    base = read_tokenizer(tmp_path)
    assert size_of(base) == first + 2 and len(base.get_vocab()) == 319
    grown, tokens = grow(base, CHINESE + ENGLISH + ["<tool_call> <|endoftext|>"] * 20, 400)[:2]
    vocabulary = grown.get_vocab()
    assert all(vocabulary[token] == index for token, index in base.get_vocab().items())
    assert [token.id for token in tokens] == list(range(first + 2, 400)) and unreachable(
        grown, tokens
    ) == []
    assert not any(
        "<tool_call>" in (token.text or "") or "<|endoftext|>" in (token.text or "")
        for token in tokens
    )
    spelled = {token.id: token.base_ids for token in tokens}
    for text in [*CHINESE, *ENGLISH, "e\u0301 cafe\u0301", "<|endoftext|>公园"]:
        (old,), (new,) = plain_ids(base, [text]), plain_ids(grown, [text])
        assert undone(new, spelled) == old and first not in new
        assert grown.decode(new, skip_special_tokens=False) == unicodedata.normalize("NFC", text)
    write_tokenizer(grown, tmp_path, {"eos_token": "<|endoftext|>"})
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert len(loaded) == len(vocabulary) and loaded("<|endoftext|>公园")["input_ids"][0] == first
    assert loaded("<tool_call>公园")["input_ids"][0] == first + 1
    assert first not in loaded("<|endoftext|>公园", split_special_tokens=True)["input_ids"]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_new_piece_holds_an_added_token(family: str) -> None:
    base = Tokenizer.from_str(BASES[family].to_str())
    base.add_tokens([AddedToken("公园", normalized=False)])
    grown, tokens = grow(base, CHINESE + ENGLISH, size_of(base) + 40)[:2]
    assert not any("公园" in (token.text or "") for token in tokens)
    assert all(
        "公园" not in json.dumps(merge, ensure_ascii=False)
        for merge in json.loads(grown.to_str())["model"]["merges"]
    )


def test_a_special_token_that_text_would_be_read_as_is_refused() -> None:
    for family, content in (("sentencepiece", "今"), ("byte-level", "PAD")):
        state = json.loads(BASES[family].to_str())
        state["model"]["ignore_merges"] = family == "byte-level"
        base = Tokenizer.from_str(json.dumps(state))
        base.add_special_tokens([content])
        with pytest.raises(
            StageError, match=f"special token '{content}' also occurs in ordinary text"
        ):
            grow(base, CHINESE + ENGLISH, size_of(base) + 20)


def test_the_knee_is_a_cut_of_the_same_run() -> None:
    base = BASES["sentencepiece"]
    long = grow(base, CHINESE + ENGLISH, None, maximum=200)
    assert 0 < len(long.tokens) <= len(long.steps)
    assert long.tokens == grow(base, CHINESE + ENGLISH, size_of(base) + len(long.tokens)).tokens


def test_growing_twice_equals_the_rules_of_growing_once() -> None:
    grown, _ = GROWN["sentencepiece"]
    twice, second = grow(grown, CHINESE, size_of(grown) + 10)[:2]
    spelled = {token.id: token.base_ids for token in second}
    for text in CHINESE + MIXED:
        (old,), (new,) = plain_ids(grown, [text]), plain_ids(twice, [text])
        assert undone(new, spelled) == old


def test_too_little_text_and_too_small_a_size_are_refused() -> None:
    with pytest.raises(StageError, match=r"ask for at most \d+"):
        grow(bytes_only(), ["ababab"], 5000)
    with pytest.raises(StageError, match="already has 259 tokens"):
        grow(bytes_only(), ["ababab"], 259)


@pytest.mark.parametrize("size", [400, None], ids=["size", "knee"])
@pytest.mark.parametrize(
    ("texts", "scripts", "words"),
    [
        (
            [],
            (),
            r"no new piece occurs at least twice in the text \(0 distinct words\); give more text$",
        ),
        (["a"], (), "1 distinct words"),
        (CHINESE, ("Thai",), "scripts Thai.* or name the scripts it is written in"),
    ],
)
def test_text_without_any_new_piece_is_refused(
    size: int | None, texts: list[str], scripts: tuple[str, ...], words: str
) -> None:
    """Before, `knee` gave the base back without a word, and a size was told to ask for the base's
    own.
    """
    with pytest.raises(StageError, match=words):
        grow(BASES["sentencepiece"], texts, size, scripts=scripts)


def test_neither_hash_seed_nor_threads_change_the_bytes() -> None:
    code = (
        "import hashlib; from tests.tasks.checkpoints.samples import *;from tasks.tokenizer.expand "
        "import grow;from tasks.tokenizer.train import bytes_only; b = grow(bytes_only(), ENGLISH, "
        "300).tokenizer;print([hashlib.sha256(grow(x, CHINESE, "
        "n).tokenizer.to_str().encode()).hexdigest() for x, n in ((b, 330), (sentencepiece_base(), "
        "360))])"
    )
    root = Path(__file__).resolve().parents[3]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={
                "PYTHONHASHSEED": seed,
                "RAYON_NUM_THREADS": threads,
                "TOKENIZERS_PARALLELISM": "true",
                "PATH": "",
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, threads in (("1", "1"), ("2", "2"))
    }
    assert len(outputs) == 1


@pytest.mark.real
@pytest.mark.parametrize(
    "name", ["model/stories260K", "tokenizers/llama2-32000", "tokenizers/llama3-128k"]
)
def test_real_bases_grow_on_chinese(
    request: pytest.FixtureRequest, real_data: Path, tmp_path: Path, name: str
) -> None:
    if name.endswith("stories260K"):
        request.getfixturevalue("stories260k")
    pages = sorted((real_data / "prose_zh" / "ruanyf-weekly" / "docs").glob("*.md"))
    learn_on = [line for page in pages[:8] for line in page.read_text().split("\n")]
    held_out = [line for page in pages[20:24] for line in page.read_text().split("\n")]
    base = read_tokenizer(open_base(real_data / name, tmp_path))
    grown, tokens = grow(base, learn_on, size_of(base) + 500)[:2]
    assert unreachable(grown, tokens) == []
    spelled = {token.id: token.base_ids for token in tokens}
    texts = [*held_out, *ENGLISH, *MIXED]
    old, new = plain_ids(base, texts), plain_ids(grown, texts)
    assert [undone(ids, spelled) for ids in new] == old
    assert grown.decode_batch(new, skip_special_tokens=False) == texts
    assert sum(map(len, new)) < 0.95 * sum(map(len, old))


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_of_one_script_leave_other_text_as_it_was(family: str) -> None:
    base = BASES[family]
    grown, tokens, _, _ = grow(base, CHINESE + ENGLISH * 4, size_of(base) + 30, scripts=("Han",))
    assert plain_ids(grown, ENGLISH) == plain_ids(base, ENGLISH)
    assert unreachable(grown, tokens) == []
    assert all(
        token.text is None or any(character >= "\u4e00" for character in token.text)
        for token in tokens
    )
