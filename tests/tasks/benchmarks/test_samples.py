"""Paired differences and the score of guessing, from what models answered."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from infra.store import Artifact
from tasks.benchmarks.samples import Answers, paired_change, paired_difference, read_items
from tasks.benchmarks.scores import is_guessing
from tests.tasks.report.made import made


def sample(id: str, correct: bool, group: str = "", **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "group": group,
        "answer": 0,
        "correct": correct,
        "correct_norm": not correct,
        "loglikelihoods": [-1.0, -2.0, -3.0, -4.0],
    } | more


def evaluated(tmp_path: Path, **files: list[dict[str, Any]]) -> Artifact:
    named = {f"samples/{name.replace('_ft', '.first-token')}.jsonl": f for name, f in files.items()}
    return made("evaluation", {}, named, tmp_path)


def test_answers_by_row_and_metric(tmp_path: Path) -> None:
    letters = {"id": "1", "group": "", "answer": 0, "correct": True, "logits": [1.0, 0.0]}
    found = read_items(
        evaluated(
            tmp_path,
            exam=[
                sample("1", True, "law"),
                sample("1", False, also_right=[2]),
                {"id": "3", "group": "law", "answer": 0, "not_asked": "too long"},
            ],
            exam_ft=[letters],
        )
    )
    assert set(found) == {
        ("exam", "acc"),
        ("exam", "acc_norm"),
        ("exam/law", "acc"),
        ("exam/law", "acc_norm"),
        ("exam", "first_token_acc"),
    }
    assert list(found["exam", "acc"].right.values()) == [1.0, 0.0], "two items of one id"
    assert found["exam", "acc"].chance == (0.25 + 0.5) / 2
    assert found["exam", "first_token_acc"].chance == 0.5


def test_choices_that_are_not_known_give_no_chance(tmp_path: Path) -> None:
    hub = [{"task": "arc_easy", "id": "0", "scores": {"acc": 1.0, "exact_match,strict": 0.5}}]
    found = read_items(evaluated(tmp_path, arc=hub))
    assert set(found) == {("arc_easy", "acc"), ("arc_easy", "exact_match,strict")}
    assert found["arc_easy", "acc"].chance is None
    assert found["arc_easy", "exact_match,strict"].right == {"0 0": 0.5}


def test_texts_are_paired_by_document(tmp_path: Path) -> None:
    def read(name: str, *bits: float) -> dict[Any, Any]:
        documents = [{"id": str(n), "bits": one, "bytes": 10} for n, one in enumerate(bits)]
        files = {"samples/heldout__web__zh.jsonl": documents}
        scores = {"scores": {"heldout/web__zh": {"bits_per_byte": sum(bits) / 10 / len(bits)}}}
        return read_items(made("evaluation", scores, files, tmp_path / name))

    key = ("heldout/web__zh", "bits_per_byte")
    before, after, fewer = read("a", 20, 30), read("b", 18, 26), read("c", 18)
    assert set(before) == {key}
    change, error = paired_change(before[key], after[key]) or (0.0, 0.0)
    assert math.isclose(change, -0.3) and math.isclose(error, math.sqrt(2 * 2) / 20)
    assert paired_change(before[key], fewer[key]) is None
    assert paired_change(before[key], None) is None


def test_samples_of_every_protocol_are_of_its_metrics(tmp_path: Path) -> None:
    written = {"id": "1", "group": "", "correct": False, "correct_last": True}
    shares = {"id": "1", "group": "", "correct": True, "correct_norm": True, "mass": 0.75}
    text = {"id": "1", "bits": 8.0, "bytes": 10}
    files = {
        "samples/sums.exact-match.jsonl": [written],
        "samples/sums.any.jsonl": [{"id": "1", "group": "", "correct": True}],
        "samples/truth.jsonl": [shares],
        "samples/heldout__web.any.jsonl": [text],  # a category may be named so
    }
    scores = {"scores": {"heldout/web.any": {"bits_per_byte": 0.8}, "sums": {}, "truth": {}}}
    found = read_items(made("evaluation", scores, files, tmp_path))
    answers = {key: [*one.right.values()] for key, one in found.items() if isinstance(one, Answers)}
    assert answers == {
        ("sums", "exact_match"): [0.0],
        ("sums", "exact_match_last"): [1.0],
        ("sums", "any"): [1.0],
        ("truth", "mc2"): [0.75],
    }
    assert set(found) - set(answers) == {("heldout/web.any", "bits_per_byte")}


def test_a_paired_difference_has_a_smaller_error_than_two_scores() -> None:
    items = [f"{n}" for n in range(100)]
    before = Answers({item: float(n % 2) for n, item in enumerate(items)})
    after = Answers({item: float(n % 2 or n < 10) for n, item in enumerate(items)})
    found = paired_difference(before, after)
    assert found is not None
    difference, error = found
    assert math.isclose(difference, 0.05)
    assert math.isclose(error, math.sqrt(0.05 * 0.95 / 99))
    unpaired = math.sqrt(2 * 0.25 / 99)
    assert error < unpaired / 3
    assert paired_difference(before, Answers({"0": 1.0})) is None


def test_a_score_within_two_standard_errors_of_guessing_is_guessing() -> None:
    error = math.sqrt(0.25 * 0.75 / 300)
    assert is_guessing(0.25 + 1.9 * error, 0.25, 300) and is_guessing(0.2, 0.25, 300)
    assert not is_guessing(0.25 + 2.1 * error, 0.25, 300)
