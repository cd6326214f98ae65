"""Normalisation, words and shingle hashes: the compiled loop against the definition in plain
Python.
"""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text import shingles
from tasks.text.scripts import UNSPACED_RANGES, unspaced_mask, unspaced_share

MASK = (1 << 64) - 1
MIXED = st.text(
    st.one_of(
        st.sampled_from("aB1 \n.,-中文かカไท۱é́ßİ\u200b\u200d\u00ad\ufe0f👍"),
        st.characters(codec="utf-8"),
    )
)


def mix(word: int) -> int:
    word = ((word ^ word >> 33) * 0xFF51AFD7ED558CCD) & MASK
    word = ((word ^ word >> 33) * 0xC4CEB9FE1A85EC53) & MASK
    return word ^ word >> 33


def reference(text: str, size: int) -> list[int]:
    """Shingle hashes by the definition, one Python object at a time."""
    hashes = []
    for word in shingles.words(shingles.normalise(text)):
        value = 0xCBF29CE484222325
        for character in word:
            value = ((value ^ ord(character)) * 0x9FB21C651E98DF25) & MASK
        hashes.append(mix(value))
    grams = [hashes[i : i + size] for i in range(max(1, len(hashes) - size + 1))] if hashes else []
    result = []
    for gram in grams:
        value = 0
        for word_hash in gram:
            value = (value * 0x9E3779B97F4A7C15 + word_hash) & MASK
        result.append(mix((value + len(gram) * 0xD6E8FEB86659FD93) & MASK))
    return result


def reference_capped(text: str, size: int, cap: int) -> int:
    """How many shingles end within the first `cap` characters; the first always does."""
    normalised = shingles.normalise(text)
    position, ends = 0, []
    for word in shingles.words(normalised):
        position = normalised.index(word, position) + len(word)
        ends.append(position)
    return max(sum(end <= cap for end in ends[size - 1 :]), min(1, len(ends)))


@settings(max_examples=200, deadline=None)
@given(st.lists(MIXED, max_size=4), st.integers(1, 6), st.one_of(st.none(), st.integers(1, 12)))
def test_compiled_loop_follows_the_definition(texts: list[str], size: int, cap: int | None) -> None:
    batch = shingles.shingle(texts, size, cap)
    for index, text in enumerate(texts):
        hashes = batch.hashes[batch.offsets[index] : batch.offsets[index + 1]]
        assert hashes.tolist() == reference(text, size)
        assert batch.capped[index] == (
            len(hashes) if cap is None else reference_capped(text, size, cap)
        )
        start, end = batch.normalised_offsets[index : index + 2]
        assert batch.normalised[start:end].tobytes().decode() == shingles.normalise(text)
    assert batch.text_hashes() == [shingles.text_hash(text) for text in texts]
    values, offsets = batch.sets()
    for text, (start, end) in zip(texts, itertools.pairwise(offsets.tolist()), strict=True):
        assert values[start:end].tolist() == sorted(
            {value >> 32 for value in reference(text, size)}
        )


def test_the_loop_folds_every_character_as_python_does() -> None:
    planes = (
        range(0x3400),
        range(0x3400, 0xD800, 11),
        range(0xF900, 0x1F000),
        range(0x1F000, 0x110000, 13),
    )
    texts = [chr(point) for point in itertools.chain(*planes)] + [
        "\u023a" * 99,
        "\ufa6c" * 99,
        "\u1d6ba" * 9,
    ]
    batch = shingles.shingle(texts, 5)
    view, bounds = batch.normalised.tobytes(), batch.normalised_offsets.tolist()
    wrong = [
        text
        for text, (start, end) in zip(texts, itertools.pairwise(bounds), strict=True)
        if view[start:end].decode() != shingles.normalise(text)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "normalised", "words"),
    [
        ("  Hello,\tWORLD!!  ", "hello world", ["hello", "world"]),
        ("Ｆｕｌｌ１２ ﬁne", "full12 fine", ["full12", "fine"]),
        (
            "e\u0301a soft\u00adhyphen zero\u200bwidth join\u200der",
            "éa softhyphen zero width joiner",
            ["éa", "softhyphen", "zero", "width", "joiner"],
        ),
        ("我爱AI2024。你呢", "我爱ai2024 你呢", ["我", "爱", "ai2024", "你", "呢"]),
        ("カタカナとひら", "カタカナとひら", list("カタカナとひら")),
        ("ภาษา", "ภาษา", list("ภาษา")),
        ("हिन्दी भाषा", "हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("... !? 👍", "", []),
    ],
)
def test_normalised_words(text: str, normalised: str, words: list[str]) -> None:
    assert shingles.normalise(text) == normalised
    assert shingles.words(normalised) == words


def test_text_hash_is_blake2b_of_the_normalised_text() -> None:
    assert (
        shingles.text_hash("Hello, World")
        == hashlib.blake2b(b"hello world", digest_size=16).digest()
    )
    assert shingles.text_hash("hello   world.") == shingles.text_hash("Hello, World")
    assert shingles.text_hash("👍") != shingles.text_hash("👎")
    assert shingles.text_hash("in 2023") != shingles.text_hash("in 2024")


def test_short_texts_are_one_shingle_and_differ_from_their_prefixes() -> None:
    batch = shingles.shingle(
        ["", "one", "one two", "one two three four five", "one two three four five six"], 5
    )
    assert np.diff(batch.offsets).tolist() == [0, 1, 1, 1, 2]
    assert len(set(batch.hashes.tolist())) == 4  # the last two texts share their first shingle


def test_the_cap_counts_shingles_without_cutting_the_text() -> None:
    long, longer = "word " * 50, "word " * 60
    batch = shingles.shingle([long, longer], 5, cap=100)
    assert batch.capped.tolist() == [16, 16]
    assert np.diff(batch.offsets).tolist() == [46, 56]
    hashes = batch.text_hashes()
    assert hashes[0] != hashes[1]
    assert shingles.shingle([long, "a b"], 5, cap=1).capped.tolist() == [1, 1]


def test_batches_cover_every_text_once() -> None:
    texts = ["a" * 30, "b" * 80, "", "c" * 200, "d"]
    slices = list(shingles.batches(texts, 100))
    assert [text for part in slices for text in texts[part]] == texts
    assert [len(texts[part]) for part in slices] == [1, 2, 1, 1]
    assert list(shingles.batches([])) == []


def test_a_shingle_needs_a_word() -> None:
    with pytest.raises(ValueError, match="has 0 words; it needs at least 1"):
        shingles.shingle(["text"], 0)


def test_unspaced_scripts() -> None:
    ranges = [(first, last) for _, first, last in UNSPACED_RANGES]
    assert all(first <= last for first, last in ranges)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ranges))
    assert unspaced_share("中𠀀ひーไລខမ") == 1 and unspaced_share("aé한אද\U0010ffff") == 0
    points = np.arange(0x110000, dtype=np.uint32)
    assert unspaced_mask(points).sum() == sum(last - first + 1 for first, last in ranges)
    assert unspaced_share("") == 0.0
    assert unspaced_share("中文ab") == 0.5


def test_sets_of_repeated_and_many_shingles() -> None:
    texts = ["again and " * 3_000, "", " ".join(f"w{number}" for number in range(70_000)), "x"]
    batch = shingles.shingle(texts, 3)
    values, offsets = batch.sets()
    for own, hashes in zip(
        np.split(values, offsets[1:-1]), np.split(batch.hashes, batch.offsets[1:-1]), strict=True
    ):
        assert own.tolist() == np.unique((hashes >> np.uint64(32)).astype(np.uint32)).tolist()
    assert np.diff(offsets)[0] == 2
