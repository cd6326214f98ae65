"""Words of Chinese and Japanese: equal to datatrove's, limits as published, bad choices refused."""

import importlib.util
from typing import Any

import pyarrow as pa
import pydantic
import pytest

from infra.stage import StageError
from tasks.quality import segmenters
from tasks.quality.catalog import DEFAULTS, UNSPACED, settings_for
from tasks.quality.fineweb2 import FITTED
from tasks.quality.rules import Assessor
from tasks.quality.run import annotate_table
from tasks.quality.segmenters import CHOICES, parts, segmenter
from tasks.quality.stage import QualityParameters
from tasks.quality.words import Style, Vocabulary, words_of

MODULES = {"jieba": "rjieba", "sudachi": "sudachipy"}


def needs(name: str) -> None:
    pytest.importorskip(MODULES[name], reason=f"optional: pip install 'puna[{name}]'")


@pytest.mark.parametrize(
    ("style", "text", "words"),
    [
        ("jieba", "我来到北京清华大学，好。", "我 来到 北京 清华大学 ， 好 。"),
        ("jieba", "是www.a-b.com/x_1。", "是 www . a - b . com / x _ 1 。"),
        ("jieba", "涨了3.14%，用C++写AT&T的T恤", "涨 了 3.14% ， 用 C++ 写 AT&T 的 T恤"),
        ("jieba", "高畑勲㐀\uf900这里𠀀\r\n　 他说", "高 畑 勲 㐀 \uf900 这里 𠀀 他 说"),
        ("jieba", "--- utm_source=a1.5", "--- utm _ source = a1.5"),
        ("jieba", " \n", ""),
        (
            "sudachi",
            "2008年8月に東京都で買いました。",
            "2008 年 8 月 に 東京 都 で 買い まし た 。",
        ),
        ("sudachi", "価格は1,000円…です　\nそして", "価格 は 1,000 円 … です そして"),
        ("sudachi", "", ""),
    ],
)
def test_words_are_those_of_datatrove(style: Style, text: str, words: str) -> None:
    """`word_tokenize` of datatrove 0.10.1 with jieba 0.42.1 and SudachiPy 0.7.0 said so."""
    needs(style)
    assert words_of(text, style) == words.split()
    vocabulary = Vocabulary(style)
    numbers = vocabulary.numbers(text)
    assert len(numbers) == len(words.split())
    assert vocabulary.lengths(numbers).tolist() == list(map(len, words.split()))


def test_text_of_any_length_and_kind_is_segmented_whole() -> None:
    needs("sudachi")
    for text in ("\ufdfa" * 12_000, "あい" * 12_000, "買いました。\n" * 4_000):
        assert "".join(words_of(text, "sudachi")) == text.replace("\n", "")
    assert words_of("買いました。\n" * 4_000, "sudachi") == ["買い", "まし", "た", "。"] * 4_000


def test_parts_end_behind_a_sentence() -> None:
    text = "あああ。いいいい。うう"
    assert parts(text, 6) == ["あああ。", "いいいい。", "うう"]
    assert parts("ああああああ", 4) == ["ああああ", "ああ"]
    assert parts("", 4) == [""]


def test_a_dictionary_is_loaded_once() -> None:
    needs("jieba")
    assert segmenter("jieba") is segmenter("jieba")


def test_every_language_without_spaces_says_how_its_words_are_found() -> None:
    assert set(CHOICES) == set(UNSPACED)


def test_limits_on_words_are_not_converted_where_words_are_counted() -> None:
    own: dict[str, Any] = {"zh": {"words": "jieba", "gopher.symbol_ratio": None}}
    characters, words = settings_for("zh", {}), settings_for("zh", own)
    for rule in ("gopher.word_count", "fineweb.newline_ratio", "gopher.repetition.top_2_gram"):
        assert words[rule] == DEFAULTS[rule] != characters[rule]
    assert words["gopher.mean_word_length"] == {"min": 1, "max": 10}
    assert words["gopher.symbol_ratio"] is None
    assert words["c4.sentences"] == characters["c4.sentences"], "lines are measured in characters"
    assert settings_for("ja", own) == settings_for("ja", {})
    assert settings_for("zh", {"zh": {"words": "characters"}}) == characters


@pytest.mark.parametrize(("language", "words"), [("zh", "jieba"), ("ja", "sudachi")])
def test_limits_of_fineweb2_hold_as_published_for_words(language: str, words: str) -> None:
    resolved = settings_for(language, {language: {"words": words}}, "fineweb2")
    fitted = FITTED[language]
    low, high = fitted.word_length
    assert resolved["gopher.word_count"] == DEFAULTS["gopher.word_count"]
    assert resolved["gopher.mean_word_length"] == {"min": low, "max": high}
    assert resolved["gopher.alphabetic_words"] == {"min": fitted.alphabetic_words}
    assert resolved["fineweb.newline_ratio"] == {"max": fitted.newline_ratio}
    for n, share in zip(range(5, 11), fitted.duplicate_n_grams, strict=True):
        rule = f"gopher.repetition.duplicate_{n}_grams"
        assert resolved[rule] == {"max": share, "length": n}


def test_rules_measure_words() -> None:
    needs("jieba")
    text = "我来到北京清华大学。" * 2
    assessor = Assessor(("gopher.word_count",), {"zh": {"words": "jieba"}})
    assert assessor.measure("gopher.word_count", text, "zh") == 8
    assert assessor.measure("gopher.mean_word_length", text, "zh") == 9 / 4
    top = assessor.measure("gopher.repetition.top_2_gram", text, "zh")
    assert top == 2 * len("我 来到") / len(text), "n-grams are joined by spaces, as in datatrove"
    assert Assessor(("gopher.word_count",)).measure("gopher.word_count", text, "zh") == 18


def test_the_stage_counts_the_words_that_its_recipe_names() -> None:
    needs("jieba")
    rules = ("gopher.word_count", "gopher.mean_word_length")
    table = pa.table({"text": ["我来到北京清华大学。" * 2] * 2, "language": ["zh", "yue"]})
    parameters = QualityParameters(rules=rules, settings={"zh": {"words": "jieba"}})
    failed = annotate_table(table, parameters=parameters)["failed"].to_pylist()
    assert failed == [[{"rule": rules[0], "value": 8.0}], [{"rule": rules[0], "value": 18.0}]]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"zh": {"words": "sudachi"}}, "'words' must be characters or jieba, not 'sudachi'"),
        ({"zh": {"words": None}}, "characters or jieba, not None"),
        ({"zh": {"words": {"min": 3}}}, "characters or jieba, not {'min': 3}"),
        ({"th": {"words": "jieba"}}, "settings of 'th': 'words' must be characters"),
        ({"en": {"words": "characters"}}, "cannot be chosen for 'en'"),
        ({"ko": {"words": "kiwi"}}, "remove it"),
        ({"*": {"words": "jieba"}}, "cannot be chosen for every language"),
        ({"zh": {"word": "jieba"}}, "did you mean 'words'"),
        ({"zh": {"gopher.word_count": "many"}}, "limits are a mapping such as {min: 30}"),
    ],
)
def test_bad_words_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(pydantic.ValidationError) as refused:
        QualityParameters(settings=settings)
    assert says in str(refused.value)


@pytest.mark.parametrize(("language", "words"), [("zh", "jieba"), ("ja", "sudachi")])
def test_a_segmenter_that_is_not_installed_is_named_when_the_recipe_is_read(
    language: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    install = f"pip install 'puna[{words}]', or set words to characters"
    with pytest.raises(pydantic.ValidationError) as refused:
        QualityParameters(settings={language: {"words": words}})
    assert install in str(refused.value)
    segmenters.segmenter.cache_clear()
    with pytest.raises(StageError) as failed:
        segmenter(words)
    assert install in str(failed.value)
    assert QualityParameters(settings={language: {"words": "characters"}}).settings
