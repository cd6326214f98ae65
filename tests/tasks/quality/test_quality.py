"""quality: each rule on a failing and a passing text, settings by language, real web text."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.quality.catalog import DEFAULTS, RULES, expand, settings_for
from tasks.quality.repetition import NGrams, duplicates
from tasks.quality.rules import MEASURES, Assessor
from tasks.quality.run import SCHEMA, annotate_table
from tasks.quality.stage import STAGE, QualityParameters
from tests.stage_harness import run_stage
from tests.tables import artifact, column, content_digest, documents

ORDINALS = (
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "last",
)
GOOD = "\n".join(
    f"The {word} of the farmers went to {word} market and was content with a basket of {word} eggs."
    for word in ORDINALS
)
CHINESE = (
    "县城在山脚下的河边，早晨的雾气还没有散去，卖豆腐的老人已经推着车子走过石桥。\n"
    "桥上的孩子们一边跑一边喊，他们的书包在背后不停地跳动，像是一群快乐的小鸟。\n"
    "到了中午，太阳从云里露出脸来，整条街上都是饭菜的香味，人们坐在门口说话。"
)


def failed(
    text: str, language: str | None = "en", rules: tuple[str, ...] = RULES, **overrides: object
) -> list[str]:
    return [failure.rule for failure in Assessor(rules, overrides).failures(text, language)]  # type: ignore[arg-type]


def test_every_rule_of_the_catalog_has_its_measure() -> None:
    assert tuple(MEASURES) == tuple(DEFAULTS)


def test_good_text_passes() -> None:
    assert [rule for rule in failed(GOOD) if "repetition" not in rule] == []
    assert failed(CHINESE, "zh") == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("gopher.word_count", "Too short to be of the use that you have."),
        ("gopher.word_count", ""),
        ("gopher.mean_word_length", "I a m o f t h e b e t o " * 20),
        ("gopher.mean_word_length", "incomprehensibilities counterrevolutionaries " * 40),
        ("gopher.symbol_ratio", GOOD.replace(" ", " # ", 60)),
        ("gopher.symbol_ratio", GOOD.replace(" ", " ... ", 60)),
        ("gopher.bullet_lines", "\n".join(f"• {line}" for line in GOOD.split("\n"))),
        ("gopher.ellipsis_lines", GOOD.replace("eggs.", "eggs…")),
        ("gopher.alphabetic_words", GOOD + " 1 2 3 4 5" * 60),
        ("gopher.stop_words", "cows graze quietly " * 40),
        ("gopher.repetition.duplicate_lines", "\n".join([GOOD] * 2)),
        ("gopher.repetition.duplicate_paragraphs", "\n\n".join([GOOD] * 2)),
        ("gopher.repetition.duplicate_line_characters", "\n".join([GOOD] * 2)),
        ("gopher.repetition.duplicate_paragraph_characters", "\n\n".join([GOOD] * 2)),
        ("gopher.repetition.top_2_gram", "buy now " * 60),
        ("gopher.repetition.duplicate_10_grams", "\n".join([GOOD] * 2)),
        ("c4.curly_bracket", GOOD + " {"),
        ("c4.lorem_ipsum", GOOD + " Lorem Ipsum"),
        ("c4.javascript", "Please enable JavaScript.\n" * 3 + GOOD),
        ("c4.policy", "We have a privacy policy.\n" * 3 + GOOD),
        ("c4.sentences", GOOD.replace(".", "")),
        ("fineweb.line_punctuation", GOOD.replace(".", "")),
        ("fineweb.short_lines", GOOD.replace(" ", "\n")),
        ("fineweb.duplicate_characters", "\n".join([GOOD] * 2)),
        ("fineweb.newline_ratio", GOOD.replace(" ", "\n")),
    ],
)
def test_a_bad_text_fails_with_its_rule_and_value(rule: str, text: str) -> None:
    found = dict(Assessor((rule,)).failures(text, "en"))
    limits = DEFAULTS[rule]
    assert rule in found
    assert found[rule] < limits.get("min", float("-inf")) or found[rule] > limits.get(
        "max", float("inf")
    )


def test_chinese_is_counted_in_characters() -> None:
    assert failed(CHINESE[:60], "zh", ("gopher.word_count",)) == ["gopher.word_count"]
    assert (
        failed(CHINESE[:60], "zh", ("gopher.word_count",), zh={"gopher.word_count": {"min": 30}})
        == []
    )
    assert "gopher.word_count" in failed(CHINESE, "en"), (
        "English limits count Chinese sentences as words"
    )
    assert failed(CHINESE, None) == [], "Chinese without langid is recognised by its script"
    assert "gopher.stop_words" in failed("牛吃草。" * 40, "zh")
    assert failed("\n".join([CHINESE] * 3), "zh", ("gopher.repetition.duplicate_10_grams",)) != []


def test_a_language_without_stop_words_does_not_fail_for_having_none() -> None:
    assert (
        failed(
            GOOD.replace("the", "zog").replace("to", "zag").replace("of", "zig"),
            "eu",
            ("gopher.stop_words",),
        )
        == []
    )
    assert settings_for("eu", {})["gopher.stop_words"] is None
    own = {"eu": {"gopher.stop_words": {"words": ("eta", "da")}}}
    assert failed("eta ez da", "eu", ("gopher.stop_words",), **own) == []
    assert failed("ez da", "eu", ("gopher.stop_words",), **own) == ["gopher.stop_words"]


def test_the_settings_of_a_language_override_those_of_all() -> None:
    overrides = {"*": {"gopher.word_count": {"min": 10}}, "zh": {"gopher.word_count": {"min": 20}}}
    resolved = settings_for("zh", overrides)["gopher.word_count"]
    assert resolved == {"min": 20, "max": 150_000}
    assert settings_for("de", overrides)["gopher.word_count"] == {"min": 10, "max": 100_000}
    assert settings_for("de", {"*": {"gopher.word_count": None}})["gopher.word_count"] is None


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"rules": ["gophr"]}, "did you mean 'gopher'"),
        ({"rules": ["c4.curly_brackets"]}, "did you mean 'c4.curly_bracket'"),
        (
            {"settings": {"zh": {"gopher.wordcount": {"min": 3}}}},
            "did you mean 'gopher.word_count'",
        ),
        ({"settings": {"zh": {"gopher.word_count": {"minimum": 3}}}}, "did you mean 'min'"),
        (
            {"settings": {"zh": {"gopher.word_count": {"min": "three"}}}},
            "number of at least 0, not 'three'",
        ),
        (
            {"settings": {"zh": {"gopher.stop_words": {"words": "的了"}}}},
            "list of non-empty strings",
        ),
    ],
)
def test_invalid_parameters_are_errors_that_suggest_the_nearest_name(
    parameters: dict[str, object], says: str
) -> None:
    with pytest.raises(pydantic.ValidationError, match=says):
        QualityParameters.model_validate(parameters)


def test_groups_expand_in_catalog_order_once() -> None:
    assert expand(["c4", "gopher.repetition", "c4.policy"]) == tuple(
        rule for rule in RULES if rule.startswith(("gopher.repetition.", "c4."))
    )
    assert QualityParameters(rules=("c4", "gopher")) == QualityParameters(rules=("gopher", "c4"))


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=25), st.integers(2, 6))
def test_n_gram_shares_agree_with_counting_by_hand(words: list[str], n: int) -> None:
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

    def share(starts: list[int]) -> float:
        covered = {position for start in starts for position in range(start, start + n)}
        return sum(len(words[position]) for position in covered) / max(sum(map(len, words)), 1)

    repeats = [i for i, gram in enumerate(grams) if gram in grams[:i]]
    assert NGrams(words).duplicate_share(n) == pytest.approx(share(repeats))
    counts = Counter(grams)
    most = max(counts.values(), default=0)
    top = [gram for gram in grams if counts[gram] == most > 1]
    longest = max((sum(map(len, gram)) for gram in top), default=0)
    expected = [
        share([i for i, g in enumerate(grams) if g == gram])
        for gram in top
        if sum(map(len, gram)) == longest
    ]
    found = NGrams(words).top_share(n)
    assert any(found == pytest.approx(value) for value in expected) if expected else found == 0.0


@given(st.lists(st.text(max_size=3), max_size=12))
def test_duplicates_are_all_items_minus_the_distinct_ones(items: list[str]) -> None:
    share, characters = duplicates(items)
    assert share * len(items) == pytest.approx(len(items) - len(set(items)))
    assert characters == sum(map(len, items)) - sum(map(len, set(items)))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.sampled_from(["en", "zh", "th", "ko", None]))
def test_any_text_is_assessed(text: str, language: str | None) -> None:
    failed = [failure.rule for failure in Assessor(RULES).failures(text, language)]
    assert failed == [
        rule for rule in RULES if rule in failed
    ]  # each known rule at most once, in the catalog's order


def test_the_stage_writes_lists_beside_documents_and_counts_failures(tmp_path: Path) -> None:
    given = documents(tmp_path, "web", [[GOOD, "short", CHINESE] * 4, ["{" + CHINESE]])
    languages = [pa.table({"language": ["en", "en", "zh"] * 4}), pa.table({"language": ["zh"]})]
    langid = artifact(
        tmp_path,
        "langid",
        "web",
        {f"part-{i:05d}.parquet": table for i, table in enumerate(languages)},
    )
    parameters = QualityParameters(rules=("c4", "gopher.word_count"))
    found = run_stage(
        STAGE, parameters, {"documents": given, "langid": langid}, "web", tmp_path=tmp_path
    )
    rules = [[entry["rule"] for entry in row] for row in column(found, "failed")]
    assert rules == [[], ["gopher.word_count", "c4.sentences"], []] * 4 + [["c4.curly_bracket"]]
    assert column(found, "failed")[1][0] == {"rule": "gopher.word_count", "value": 1.0}
    assert found.statistics["rules"] == list(parameters.rules)
    assert (found.statistics["documents"], found.statistics["passing_all"]) == (13, 8)
    assert found.statistics["failing"]["gopher.word_count"] == 4
    ledger = found.ledger
    assert ledger.documents("kept") == 13
    assert {row["language"] for row in found.manifest.data["ledger"]["rows"]} == {"en", "zh"}


def test_an_empty_table_has_the_schema() -> None:
    table = annotate_table(
        pa.table({"text": pa.array([], pa.string())}), parameters=QualityParameters()
    )
    assert table.schema == SCHEMA and table.num_rows == 0


@pytest.mark.real
def test_text_that_c4_kept_passes_the_c4_rules(real_data: Path) -> None:
    lines = (
        (real_data / "web_en" / "llamafactory" / "c4_demo.jsonl")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    texts = [json.loads(line)["text"] for line in lines]
    c4, gopher = Assessor(expand(["c4"])), Assessor(expand(["gopher"]))
    assert sum(not c4.failures(text, "en") for text in texts) == len(texts) == 300
    assert 0.75 < sum(not gopher.failures(text, "en") for text in texts) / len(texts) < 0.95


@pytest.mark.real
def test_no_language_fails_for_how_it_is_written(real_data: Path) -> None:
    r"""Twelve labelled sentences joined. Hindi once failed: `\w` does not match its vowel signs."""
    assessor = Assessor(expand(["gopher", "c4.sentences", "c4.lorem_ipsum"]))
    for file in sorted((real_data / "lid" / "lingua-sentences-first-half").glob("*.txt")):
        sentences = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        texts = ["\n".join(sentences[i : i + 12]) for i in range(0, len(sentences) - 11, 12)]
        passing = sum(not assessor.failures(text, file.stem) for text in texts) / len(texts)
        assert passing > 0.75, (
            file.stem,
            Counter(f.rule for t in texts for f in assessor.failures(t, file.stem)),
        )


@pytest.mark.real
def test_chinese_novels_pass_in_pieces(real_data: Path) -> None:
    assessor = Assessor(expand(["gopher", "c4"]))
    pieces = []
    for file in sorted((real_data / "prose_zh" / "four-novels").glob("*.txt")):
        text = file.read_text(encoding="utf-8")
        pieces += [text[start : start + 2_000] for start in range(0, 100_000, 2_000)]
    kept = sum(not assessor.failures(piece, "zh") for piece in pieces)
    assert kept / len(pieces) > 0.95, Counter(
        f.rule for p in pieces for f in assessor.failures(p, "zh")
    )


def test_golden_output(tmp_path: Path) -> None:
    """If the output changes on purpose, raise the version in quality/stage.py, then this digest."""
    texts = [
        GOOD,
        CHINESE,
        "short # text ...",
        "buy now " * 60,
        "\n".join([GOOD] * 2) + " {",
        "- a\n- b",
        CHINESE * 3,
        "",
        "# ##",
    ]
    languages = ["en", "zh", "de", "ko", "en", "th", "ja", None, "xx"]
    given = documents(tmp_path, "web", [texts])
    langid = artifact(
        tmp_path, "langid", "web", {"part-00000.parquet": pa.table({"language": languages})}
    )
    parameters = QualityParameters(rules=("gopher", "c4", "fineweb"))
    found = run_stage(
        STAGE, parameters, {"documents": given, "langid": langid}, "web", tmp_path=tmp_path
    )
    assert (STAGE.version, content_digest(found)) == (2, "310b55dd2647ab7a")
