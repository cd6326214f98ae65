"""The keep grammar: what parses, what is an error, and canonical dumps."""

import json

import numpy as np
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.documents import keep_columns as columns
from tasks.documents.keep import BUCKETS, BucketKeep, LanguageKeep, RulesKeep, ScoreKeep

FAILED = pa.list_(pa.struct([("rule", pa.string()), ("value", pa.float64())]))
NAMES = st.from_regex(r"[a-z0-9_]{1,5}(\.[a-z0-9_]{1,5}){0,2}", fullmatch=True)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.sampled_from([">=", ">", "<=", "<"]), FINITE, st.text(" \t", max_size=2))
def test_a_score_keep_parses_what_it_dumps(comparison: str, limit: float, space: str) -> None:
    keep = ScoreKeep.model_validate(f"{space}{comparison}{space}{limit!r}{space}")
    assert (keep.comparison, keep.limit) == (comparison, limit)
    assert ScoreKeep.model_validate(json.loads(keep.model_dump_json())) == keep


@given(st.text(max_size=12))
def test_any_string_is_a_score_keep_or_an_error_that_quotes_it(text: str) -> None:
    try:
        keep = ScoreKeep.model_validate(text)
    except pydantic.ValidationError as error:
        assert ">=" in str(error) or "finite" in str(error)
    else:
        assert np.isfinite(keep.limit)


@pytest.mark.parametrize("text", ["0.5", "=0.5", ">=", ">=a", ">=nan", "> inf", "=> 1"])
def test_malformed_scores_are_errors(text: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        ScoreKeep.model_validate(text)


@given(st.lists(NAMES, min_size=1), st.lists(NAMES))
def test_order_and_repeats_of_rules_do_not_change_the_dump(
    rules: list[str], exceptions: list[str]
) -> None:
    keep = RulesKeep.model_validate({"rules": rules, "except": exceptions})
    again = RulesKeep.model_validate({"rules": rules[::-1] + rules, "except": exceptions[::-1]})
    assert keep.model_dump_json() == again.model_dump_json()
    assert RulesKeep.model_validate(keep.model_dump()) == keep


@given(st.lists(st.sampled_from(BUCKETS), min_size=1))
def test_buckets_are_canonical(buckets: list[str]) -> None:
    keep = BucketKeep.model_validate(buckets)
    assert list(keep.root) == [bucket for bucket in BUCKETS if bucket in buckets]
    assert BucketKeep.model_validate_json(keep.model_dump_json()) == keep


def test_rules_name_groups_at_dots_only() -> None:
    keep = RulesKeep.model_validate(
        {"rules": ["gopher", "c4.sentences"], "except": ["gopher.stop_words"]}
    )
    assert keep.applies("gopher.word_count") and keep.applies("c4.sentences")
    assert not keep.applies("gopher.stop_words") and not keep.applies("gopher2.word_count")
    assert not keep.applies("c4.lorem_ipsum")
    assert keep.unknown(["gopher.word_count", "gopher.stop_words"]) == ("c4.sentences",)


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (LanguageKeep, {"languages": []}),
        (LanguageKeep, {"languages": [" "]}),
        (LanguageKeep, {"scripts": []}),
        (LanguageKeep, {"scripts": ["hans"]}),
        (LanguageKeep, {"threshold": 1.5}),
        (LanguageKeep, {"thresholds": {"hr": 1.5}}),
        (LanguageKeep, {"languages": ["en"], "thresholds": {"hr": 0.3}}),
        (LanguageKeep, {"language": ["zh"]}),
        (RulesKeep, {"rules": []}),
        (RulesKeep, {"rules": ["Gopher rule"]}),
        (BucketKeep, []),
        (BucketKeep, ["heads"]),
    ],
)
def test_meaningless_keeps_are_errors(model: type[pydantic.BaseModel], value: object) -> None:
    with pytest.raises(pydantic.ValidationError):
        model.model_validate(value)


def test_a_score_equal_to_the_threshold_passes_although_scores_are_float32() -> None:
    keep = LanguageKeep(languages=("zh",), threshold=0.65)
    reasons = columns.language_reasons(
        keep,
        pa.array(["zh", "zh", "en", "zh", None]),
        pa.array([0.65, 0.64, 0.1, None, 0.9], pa.float32()),
    )
    assert reasons.to_pylist() == [
        None,
        "langid.threshold",
        "langid.language",
        "langid.threshold",
        "langid.language",
    ]


def test_noise_and_other_scripts_are_reasons_of_their_own() -> None:
    language = pa.array(["zxx", "zh", "zh", "zh", "en", None])
    script = pa.array(["Zxxx", "Hans", "Hant", None, "Latn", None])
    score = pa.array([0.99, 0.9, 0.9, 0.9, 0.1, 0.9], pa.float32())

    def reasons(**keep: object) -> list[str | None]:
        parsed = LanguageKeep.model_validate(keep)
        found: list[str | None] = columns.language_reasons(
            parsed, language, score, script
        ).to_pylist()
        return found

    assert reasons() == ["langid.noise", None, None, None, "langid.threshold", None]
    assert reasons(languages=["zh", "zxx"])[0] is None
    assert reasons(languages=["zh"], scripts=["Hans"]) == [
        "langid.noise",
        None,
        "langid.script",
        "langid.script",
        "langid.language",
        "langid.language",
    ]


def test_a_language_may_have_a_threshold_of_its_own() -> None:
    language = pa.array(["hr", "hr", "en", "en", "ms", None])
    score = pa.array([0.3, 0.29, 0.64, 0.65, 0.7, 0.3], pa.float32())
    keep = LanguageKeep(threshold=0.65, thresholds={"ms": 0.8, "hr": 0.3})
    low = "langid.threshold"
    assert columns.language_reasons(keep, language, score).to_pylist() == [
        None,
        low,
        low,
        None,
        low,
        low,
    ]
    assert list(keep.model_dump()["thresholds"]) == ["hr", "ms"]


def test_the_first_failed_rule_that_is_kept_on_is_the_reason() -> None:
    def rows(*rules: str) -> list[dict[str, object]]:
        return [{"rule": rule, "value": 1.0} for rule in rules]

    failed = pa.array(
        [[], rows("gopher.b", "c4.a"), None, rows("c4.a", "gopher.a"), rows("gopher.b")], FAILED
    )
    keep = RulesKeep.model_validate({"rules": ["gopher", "c4"], "except": ["gopher.b"]})
    assert columns.rule_reasons(keep, failed).to_pylist() == [
        None,
        "quality.c4.a",
        None,
        "quality.c4.a",
        None,
    ]
    assert columns.rule_reasons(keep, failed.slice(3)).to_pylist() == ["quality.c4.a", None]
    assert columns.rule_reasons(keep, failed.slice(0, 0)).to_pylist() == []


@given(
    st.lists(st.one_of(st.none(), st.floats(1, 1e6)), max_size=20),
    st.floats(1, 1e5),
    st.floats(0, 1e5),
)
def test_buckets_follow_cc_net(values: list[float | None], head: float, more: float) -> None:
    cutoffs = {"zh": (head, head + more)}
    buckets = columns.buckets(
        pa.array(["zh"] * len(values), pa.string()), pa.array(values, pa.float64()), cutoffs
    )
    expected = [
        "all"
        if value is None
        else "head"
        if value < head
        else "middle"
        if value < head + more
        else "tail"
        for value in values
    ]
    assert buckets.to_pylist() == expected
    unknown = columns.buckets(
        pa.array(["en"] * len(values), pa.string()), pa.array(values, pa.float64()), cutoffs
    )
    assert set(unknown.to_pylist()) <= {"all"}


def test_bucket_and_score_reasons() -> None:
    bucket = pa.array(["head", "tail", "all"])
    assert columns.bucket_reasons(BucketKeep(("head",)), bucket).to_pylist() == [
        None,
        "perplexity.tail",
        None,
    ]
    score = pa.array([0.5, 0.4, None], pa.float32())
    reasons = columns.score_reasons(ScoreKeep.model_validate(">=0.5"), "edu", score)
    assert reasons.to_pylist() == [None, "classifier.edu", "classifier.edu"]


def test_earlier_checks_win() -> None:
    first = columns.first_reasons(3, [pa.array(["a", None, None]), pa.array(["b", "b", None])])
    assert first.to_pylist() == ["a", "b", None]
    assert columns.first_reasons(2, []).to_pylist() == [None, None]
