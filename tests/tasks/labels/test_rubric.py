"""Rubrics: numbers read from answers, keys of requests, agreement, cost, what is refused."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from tasks.labels.cost import SourceSize, cost_of
from tasks.labels.rubric import Request, agreement, asked_again, first_messages, read_score
from tasks.labels.stage import LabelsParameters, ScoreReading

ENDPOINT = {"url": "http://localhost:1/v1", "model": "m"}


def parameters(**changes: Any) -> LabelsParameters:
    return LabelsParameters.model_validate(
        {"prompt": "Score <text>{text}</text>", "endpoint": ENDPOINT, **changes}
    )


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Educational score: 3", 3),
        ("**Educational score:** 4 points", 4),
        ("Score (0-5): 2", 2),
        ("The score is 5.", 5),
        ("A score of 2, no: score: 3", 3),
        ("score: 3/5", 3),
        ("Score: 2,5", 2.5),
        ("score: 7", None),
        ("Score: -1", None),
        ("Score: \u22122", None),
        ("score-3", 3),
        ("Score - 3", 3),
        ("Score: 3/10", None),
        ("Score: 3 out of 5", 3),
        ("score: 3 out of 100", None),
        ("Score: 3\n\nOut of the ordinary", 3),
        ("Score: NaN", None),
        ("score: three", None),
        ("3", None),
        ("", None),
    ],
)
def test_the_default_pattern_reads_the_last_score(answer: str, score: float | None) -> None:
    assert read_score(answer, ScoreReading()) == score


def test_a_pattern_of_another_language() -> None:
    reading = ScoreReading(pattern=r"分数[:：]\s*(\d)", low=1, high=3)
    assert read_score("总的来说。分数：2", reading) == 2
    assert read_score("分数：0", reading) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"prompt": "Score it"}, "has 0 times {text}"),
        ({"prompt": "{text} {text}"}, "has 2 times {text}"),
        ({"score": {"pattern": r"score: \d"}}, "has no group, so it names no number"),
        ({"score": {"pattern": "("}}, "no regular expression"),
        ({"score": {"low": 5, "high": 5}}, "low must be the lower"),
        ({"score": {"low": float("nan")}}, "should be a finite number"),
        ({"endpoint": {**ENDPOINT, "extra": {"stream": True}}}, "stream: answers are read whole"),
        ({"endpoint": {**ENDPOINT, "extra": {"model": "x"}}}, "is set as endpoint.model"),
        ({"endpoint": {**ENDPOINT, "extra": {"top_p": float("nan")}}}, "cannot be sent as JSON"),
        ({"model": "a/b"}, "state one of `endpoint`"),
        ({"endpoint": None}, "state one of `endpoint`"),
        ({"endpoint": {**ENDPOINT, "url": "localhost:8000"}}, "no address of a server"),
        ({"endpoint": {**ENDPOINT, "key": "abc-123"}}, "never the key itself"),
        ({"endpoint": {**ENDPOINT, "key": "HOME"}}, "never the key itself"),
    ],
)
def test_what_cannot_be_asked_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=why):
        parameters(**changes)


def test_the_version_says_what_is_asked_and_not_where() -> None:
    here = parameters(endpoint={**ENDPOINT, "concurrency": 1, "key": "A_KEY"})
    there = parameters(endpoint={**ENDPOINT, "url": "https://other.test/v1"})
    assert here.identity() == there.identity()
    assert here.identity() != parameters(endpoint={**ENDPOINT, "model": "n"}).identity()


def test_requests_have_one_key_for_one_question() -> None:
    settings = {"model": "m", "temperature": 0.0}
    messages = first_messages(parameters(system="Be fair."), "a text")
    assert messages == (("system", "Be fair."), ("user", "Score <text>a text</text>"))
    one = Request(messages, 0, settings)
    assert one.key == Request(messages, 0, dict(settings)).key
    others = {
        Request(messages, 1, settings).key,
        Request(asked_again(messages, "no", "again"), 0, settings).key,
        Request(messages, 0, {**settings, "model": "n"}).key,
    }
    assert len(others | {one.key}) == 4


def test_agreement_of_equal_chance_and_opposite_answers() -> None:
    reading = ScoreReading()
    assert agreement([], reading)["same"] is None
    same = agreement([(0, 0), (5, 5), (3, 3)], reading)
    assert (same["same"], same["kappa"]) == (1, 1)
    assert agreement([(2, 2), (2, 2)], reading)["kappa"] is None
    opposite = agreement([(0, 5), (5, 0)], reading)
    assert (opposite["same"], opposite["within_one"], opposite["kappa"]) == (0, 0, -1)


def test_the_cost_is_known_before() -> None:
    price = {"input": 1.0, "output": 2.0}
    asked = parameters(
        endpoint={**ENDPOINT, "price": price, "requests_per_second": 10},
        sample=100,
        repeat=0.1,
        max_characters=400,
        max_tokens=50,
    )
    cost = cost_of(asked, [SourceSize(1_000, 4_000.0), SourceSize(10, 40.0)])
    assert cost.requests == 121 and cost.documents_known
    assert cost.output_tokens == 121 * 50
    frame = len("Score <text></text>") / 4 + 12
    assert cost.input_tokens == round(110 * 100 + 11 * 10 + 121 * frame)
    assert cost.dollars == pytest.approx(
        (cost.input_tokens + 2 * cost.output_tokens) / 1e6, rel=1e-4
    )
    assert cost.seconds == pytest.approx(12.1)
    unknown = cost_of(parameters(sample=100), [SourceSize()])
    assert not unknown.documents_known and unknown.dollars is None and unknown.seconds is None
