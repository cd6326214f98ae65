"""Answers in the store: the first stays, damaged ones are asked again."""

from __future__ import annotations

from pathlib import Path

from infra.store.backends import open_directory
from tasks.labels.answers import Answer, Answers

KEY, OTHER = "ab" * 32, "cd" * 32


def test_the_first_answer_stays(tmp_path: Path) -> None:
    answers = Answers(open_directory(str(tmp_path / "answers")))
    assert answers.read([KEY]) == {}
    answers.put(KEY, Answer("Score: 1", 5, 3, 0.25))
    answers.put(KEY, Answer("Score: 2"))
    answers.put(OTHER, Answer("\ud800 half a character"))
    assert answers.read([KEY, "ef" * 32]) == {KEY: Answer("Score: 1", 5, 3, 0.25)}
    assert answers.known([KEY, OTHER, "ef" * 32]) == {KEY, OTHER}


def test_a_damaged_answer_is_removed(tmp_path: Path) -> None:
    answers = Answers(open_directory(str(tmp_path / "answers")))
    for key, content in ((KEY, b'{"text": "Sco'), (OTHER, b'{"said": "x"}')):
        answers.put(key, Answer("Score: 1"))
        file = tmp_path / "answers" / key[:2] / f"{key}.json"
        file.unlink()
        file.write_bytes(content)
    assert answers.read([KEY, OTHER]) == {}
    assert answers.known([KEY, OTHER]) == set()
