"""Growth: base ids stay, new tokens are reachable, undoing them gives the base's segmentation, nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.base import open_base
from tasks.checkpoints.tokenizer_files import byte_level_content, read_tokenizer, size_of
from tasks.tokenizer.expand import NewToken, continue_bpe, undone, unreachable, whole_characters_or_step
from tasks.tokenizer.measure import plain_ids
from tasks.tokenizer.train import BOS, EOS, bytes_only, train
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH, MIXED, sentencepiece_base


def byte_level_base() -> Tokenizer:
    return train(ENGLISH, 320, 16)[0]


BASES = {"byte-level": byte_level_base(), "sentencepiece": sentencepiece_base()}
GROWN: dict[str, tuple[Tokenizer, list[NewToken]]] = {
    name: continue_bpe(base, CHINESE + ENGLISH, size_of(base) + 40) for name, base in BASES.items()
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
        st.text(max_size=60), st.text(st.sampled_from("今天公园花好我们去不，the cat\n  sat😀"), max_size=60)
    )
)
def test_undoing_new_tokens_gives_the_base_segmentation_and_nothing_is_lost(family: str, text: str) -> None:
    text = text.replace("\u2581", "_")
    base, (grown, tokens) = BASES[family], GROWN[family]
    (old,), (new,) = plain_ids(base, [text]), plain_ids(grown, [text])
    assert undone(new, {token.id: token.base_ids for token in tokens}) == old
    assert grown.decode(new, skip_special_tokens=False) == text


@pytest.mark.parametrize("family", FAMILIES)
def test_base_ids_of_a_token_spell_its_text_without_dummy_prefix(family: str) -> None:
    base, (_, tokens) = BASES[family], GROWN[family]
    for token in tokens:
        assert [found.id for found in base.model.tokenize(token.token)] == list(token.base_ids)


def test_pieces_are_whole_characters_or_steps_of_one() -> None:
    for token in GROWN["byte-level"][1]:
        content = byte_level_content(token.token)
        assert content is not None and whole_characters_or_step(content, 16)


@pytest.mark.parametrize(
    ("content", "allowed"),
    [("公".encode(), True), ("公".encode()[:2], True), (b" \xe5", False), (b"\xe5\x85x", False), (b"\x85\xac", False),
     ("公".encode() + b"\xe5", False), (b"x" * 17, False), ("😀".encode()[:3], True)],
)  # fmt: skip
def test_what_may_be_a_piece(content: bytes, allowed: bool) -> None:
    assert whole_characters_or_step(content, 16) is allowed


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_in_the_text_are_text(family: str) -> None:
    grown, _ = GROWN[family]
    specials = {index for index, added in grown.get_added_tokens_decoder().items() if added.special}
    assert not specials & {index for ids in plain_ids(grown, MIXED * 3) for index in ids}
    text = "<s>公园</s>" if family == "sentencepiece" else f"{BOS}公园{EOS}"
    again, tokens = continue_bpe(BASES[family], [text] * 20, size_of(BASES[family]) + 2)
    assert not specials & {index for token in tokens for index in token.base_ids}
    assert unreachable(again, tokens) == []


def test_growing_twice_equals_the_rules_of_growing_once() -> None:
    grown, _ = GROWN["sentencepiece"]
    twice, second = continue_bpe(grown, CHINESE, size_of(grown) + 10)
    spelled = {token.id: token.base_ids for token in second}
    for text in CHINESE + MIXED:
        (old,), (new,) = plain_ids(grown, [text]), plain_ids(twice, [text])
        assert undone(new, spelled) == old


def test_too_little_text_and_too_small_a_size_are_refused() -> None:
    with pytest.raises(StageError, match=r"ask for \d+ at most"):
        continue_bpe(bytes_only(), ["ababab"], 5000)
    with pytest.raises(StageError, match="has 259 tokens already"):
        continue_bpe(bytes_only(), ["ababab"], 259)


def test_neither_hash_seed_nor_threads_change_the_bytes() -> None:
    code = (
        "import hashlib; from tests.tasks.checkpoints.samples import *;"
        "from tasks.tokenizer.expand import continue_bpe;"
        "from tasks.tokenizer.train import train; b = train(ENGLISH, 300, 16)[0];"
        "print([hashlib.sha256(continue_bpe(x, CHINESE, n)[0].to_str().encode()).hexdigest()"
        " for x, n in ((b, 330), (sentencepiece_base(), 360))])"
    )
    root = Path(__file__).resolve().parents[3]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true", "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, threads in (("1", "1"), ("2", "2"))
    }
    assert len(outputs) == 1


@pytest.mark.real
@pytest.mark.parametrize("name", ["model/stories260K", "tokenizers/llama2-32000", "tokenizers/llama3-128k"])
def test_real_bases_grow_on_chinese(request: pytest.FixtureRequest, real_data: Path, tmp_path: Path, name: str) -> None:
    if name.endswith("stories260K"):
        request.getfixturevalue("stories260k")
    pages = sorted((real_data / "prose_zh" / "ruanyf-weekly" / "docs").glob("*.md"))
    learn_on = [line for page in pages[:8] for line in page.read_text().split("\n")]
    held_out = [line for page in pages[20:24] for line in page.read_text().split("\n")]
    base = read_tokenizer(open_base(real_data / name, tmp_path))
    grown, tokens = continue_bpe(base, learn_on, size_of(base) + 500)
    assert unreachable(grown, tokens) == []
    spelled = {token.id: token.base_ids for token in tokens}
    texts = [*held_out, *ENGLISH, *MIXED]
    old, new = plain_ids(base, texts), plain_ids(grown, texts)
    assert [undone(ids, spelled) for ids in new] == old
    assert grown.decode_batch(new, skip_special_tokens=False) == texts
    assert sum(map(len, new)) < 0.95 * sum(map(len, old))
