"""Labels from a served model: cached by request, resumed after kills, faults of a server."""

from __future__ import annotations

import multiprocessing
import signal
import time
import unittest.mock
from pathlib import Path
from typing import Any

import pytest

from infra.remote.access import Access
from infra.stage import StageError
from infra.store import Artifact
from tasks.labels.stage import STAGE, LabelsParameters
from tests.loopback.chat import ChatServer, Fault, chatting
from tests.stage_harness import run_stage
from tests.tables import column, documents

TEXTS = [f"Document {n} says the same as itself." for n in range(40)]


def by_number(text: str) -> int:
    return int(text.split()[1]) % 6


def labels(url: str, tmp_path: Path, **changes: Any) -> Artifact:
    endpoint = {"url": url, "model": "rules", "concurrency": 4, **changes.pop("endpoint", {})}
    given = {"prompt": "Score it. <text>{text}</text>", "endpoint": endpoint, "sample": 30}
    parameters = LabelsParameters.model_validate({**given, **changes})
    source = documents(tmp_path / "in", "web", [TEXTS[:25], TEXTS[25:]])
    access = Access(cache=tmp_path / "cache", retry_interval_s=0.01)
    return run_stage(
        STAGE,
        parameters,
        {"documents": [source]},
        name="edu",
        tmp_path=tmp_path,
        access=access,
    )


def test_every_document_of_the_sample_gets_its_score_and_some_are_asked_twice(
    tmp_path: Path,
) -> None:
    chat = ChatServer(by_number)
    with chatting(chat) as url:
        made = labels(url, tmp_path, repeat=0.4)
    statistics = made.statistics
    texts = dict(zip(column(made, "id", "sample/"), column(made, "text", "sample/"), strict=True))
    scored = dict(zip(column(made, "id", "labels"), column(made, "score", "labels"), strict=True))
    assert len(scored) == 30
    assert all(scored[id_] == by_number(texts[id_]) for id_ in scored)
    twice = [score for score in column(made, "repeated", "labels") if score is not None]
    assert 4 <= len(twice) <= 20
    assert statistics["agreement"]["documents"] == len(twice)
    assert statistics["agreement"]["same"] == 1
    assert statistics["requests"]["asked"] == 30 + len(twice) == sum(chat.answered.values())
    assert statistics["tokens"]["output"] == 12 * (30 + len(twice))
    assert max(chat.answered.values()) == 1
    assert 2 <= chat.most_at_once <= 4


def test_another_run_with_the_same_requests_asks_nothing(tmp_path: Path) -> None:
    chat = ChatServer(by_number)
    with chatting(chat) as url:
        labels(url, tmp_path)
        asked = sum(chat.answered.values())
        again = labels(url, tmp_path, most_malformed=0.3)
        assert sum(chat.answered.values()) == asked
        assert again.statistics["requests"]["cached"] == asked
        labels(url, tmp_path, sample=40)
    assert max(chat.answered.values()) == 1
    assert 10 <= sum(chat.answered.values()) - asked <= 12


def test_malformed_answers_are_asked_again_and_counted(tmp_path: Path) -> None:
    bad: dict[int, Fault] = {2: "words", 5: "empty", 9: "words"}
    chat = ChatServer(by_number, faults=bad.get)
    with chatting(chat) as url:
        made = labels(url, tmp_path, repeat=0, endpoint={"concurrency": 1})
    told = made.statistics
    assert told["scored"] == 30 and told["malformed"]["answers"] == 3
    assert told["requests"]["again"] == 3
    conversations = [body["messages"] for body in chat.bodies if len(body["messages"]) > 1]
    assert [message["role"] for message in conversations[0]] == ["user", "assistant", "user"]


def test_too_many_malformed_answers_end_in_a_sentence_and_stay_cached(tmp_path: Path) -> None:
    chat = ChatServer(faults=lambda number: "words")
    with chatting(chat) as url:
        with pytest.raises(StageError, match="30 of 30 documents have no score from 0 to 5"):
            labels(url, tmp_path, repeat=0, again=1)
        asked = sum(chat.answered.values())
        assert asked == 60
        made = labels(
            url,
            tmp_path,
            repeat=0,
            again=0,
            score={"pattern": r"points: (\d)"},
            most_malformed=1.0,
        )
    assert sum(chat.answered.values()) == asked
    assert made.statistics["scored"] == 0
    assert made.statistics["malformed"]["examples"][0] == "I would rather not say."


def test_a_prompt_that_gets_no_score_is_not_asked_of_all(tmp_path: Path) -> None:
    chat = ChatServer(by_number, faults=lambda number: "words")
    with (
        chatting(chat) as url,
        pytest.raises(StageError, match="none of the first 10 answers has a score from 0 to 5"),
        unittest.mock.patch("tasks.labels.ask.MOST_UNREADABLE", 10),
    ):
        labels(url, tmp_path, repeat=0)
    assert sum(chat.answered.values()) < 10 + 8 + 1  # what was under way at the tenth


def test_throttling_holds_back_all_requests(tmp_path: Path) -> None:
    chat = ChatServer(
        by_number, faults=lambda number: "429" if number in (3, 4) else None, retry_after="0.4"
    )
    with chatting(chat) as url:
        made = labels(url, tmp_path, repeat=0)
    assert made.statistics["scored"] == 30
    after = chat.times[8:]  # those under way when the first was refused have gone out already
    assert min(after) - chat.times[3] >= 0.38


def test_passing_faults_are_tried_again(tmp_path: Path) -> None:
    faults: dict[int, Fault] = {0: "503", 4: "drop", 6: "page", 8: "503", 10: "half"}
    chat = ChatServer(by_number, faults=faults.get)
    with chatting(chat) as url:
        made = labels(url, tmp_path, repeat=0)
    assert made.statistics["scored"] == 30
    assert max(chat.answered.values()) == 1


@pytest.mark.parametrize("fault", ["parts", "odd"])
def test_odd_answers_are_read(tmp_path: Path, fault: Fault) -> None:
    with chatting(ChatServer(by_number, faults=lambda number: fault)) as url:
        made = labels(url, tmp_path, repeat=0)
    assert made.statistics["scored"] == 30 and not made.statistics["malformed"]["answers"]


def test_a_slow_answer_is_asked_for_again(tmp_path: Path) -> None:
    chat = ChatServer(by_number, faults=lambda number: "slow" if number == 2 else None)
    with chatting(chat) as url:
        made = labels(url, tmp_path, repeat=0, sample=6, endpoint={"timeout_s": 0.3})
    assert made.statistics["scored"] == 6


@pytest.mark.parametrize(
    ("fault", "changes", "why"),
    [
        ("401", {}, "refused .HTTP 401 this is a 401.; name the environment variable"),
        ("404", {}, "check the address .* and the model's name 'rules'"),
        ("400", {}, "of the first 20 requests none was answered: HTTP 400: this is a 400"),
        ("page", {"endpoint": {"patience_s": 0.2}}, "no chat completion.*address of a chat model"),
        ("429", {"endpoint": {"patience_s": 0.2}}, "HTTP 429.*gave up after .*raise .*.0.2."),
        (
            "moved",
            {},
            "HTTP 308; it is now at http://elsewhere.example/.*name that as endpoint.url",
        ),
    ],
)
def test_a_server_that_refuses_is_one_sentence(
    tmp_path: Path, fault: Fault, changes: Any, why: str
) -> None:
    with (
        chatting(ChatServer(faults=lambda number: fault)) as url,
        pytest.raises(StageError, match=why),
    ):
        labels(url, tmp_path, **changes)
    assert not list((tmp_path / "store").glob("labels/*/*/manifest.json"))


def test_a_server_that_is_away_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.labels.endpoint.FIRST_PATIENCE_S", 0.2)
    with pytest.raises(StageError, match=r"127\.0\.0\.1:9/v1: .*Check that the server runs"):
        labels("http://127.0.0.1:9/v1", tmp_path)


def test_the_key_comes_from_the_environment_and_is_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = ChatServer(by_number, key="a-very-secret-value")
    endpoint = {"key": "PUNA_TEST_API_KEY"}
    with chatting(chat) as url:
        with pytest.raises(StageError, match="PUNA_TEST_API_KEY is not set"):
            labels(url, tmp_path, endpoint=endpoint)
        monkeypatch.setenv("PUNA_TEST_API_KEY", "another-secret-value")
        with pytest.raises(StageError, match="check the value of PUNA_TEST_API_KEY") as caught:
            labels(url, tmp_path, endpoint=endpoint)
        assert "another-secret-value" not in str(caught.value)
        monkeypatch.setenv("PUNA_TEST_API_KEY", "a-very-secret-value")
        made = labels(url, tmp_path, endpoint=endpoint)
    assert made.statistics["scored"] == 30
    stored = "".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in (tmp_path / "store").rglob("*")
        if path.is_file()
    )
    assert "a-very-secret-value" not in stored


def _in_a_child(url: str, folder: Path) -> None:
    labels(url, folder, repeat=0.3, endpoint={"concurrency": 2})


def test_a_run_killed_three_times_asks_nothing_again_that_was_answered(tmp_path: Path) -> None:
    """What is under way when the process dies has no answer yet; it is asked again."""
    chat = ChatServer(by_number, latency_s=0.03)
    kills = []
    with chatting(chat) as url:
        for enough in (6, 14, 24):
            child = multiprocessing.get_context("fork").Process(
                target=_in_a_child, args=(url, tmp_path)
            )
            child.start()
            while sum(chat.answered.values()) < enough and child.is_alive():
                time.sleep(0.002)
            child.kill()
            child.join()
            assert child.exitcode == -signal.SIGKILL
            time.sleep(0.1)  # what was under way is counted
            kept = len(list((tmp_path / "store" / "answers").rglob("*.json")))
            kills.append((sum(chat.answered.values()), kept))
        made = labels(url, tmp_path, repeat=0.3, endpoint={"concurrency": 2})
    assert made.statistics["scored"] == 30
    kept = len(list((tmp_path / "store" / "answers").rglob("*.json")))
    assert len(chat.answered) == kept
    # answers that the server gave and nobody was there to read
    lost = sum(answered - kept for answered, kept in kills[:1]) + sum(
        (answered - kills[n][0]) - (kept - kills[n][1])
        for n, (answered, kept) in enumerate(kills[1:])
    )
    assert lost <= 6
    assert sum(chat.answered.values()) == kept + lost
