"""Scores are shown with the amount of text they rest on; every category is in the table; each error
is reported once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Group
from rich.table import Table

from flows.monitoring.score_table import score_table
from infra.engine.launch import LaunchError, launch
from infra.stage import StageError
from infra.store import Artifact
from tasks.benchmarks.model import Benchmark
from tasks.benchmarks.scores import items, items_of_all, metrics
from tasks.evaluation import run as evaluation
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.measured import Spec
from tasks.evaluation.run import not_held_out
from tasks.evaluation.stage import STAGE, EvaluationParameters, HeldOutFloor, LongText
from tasks.report.scores import score_table as report_table
from tests.stage_harness import run_stage
from tests.tasks.evaluation.selected import selected

TEXT = "Once upon a time there was a mill by the river. "


def reported(scores: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """The report's rows of bits per byte of one model: row, metric, n, score."""
    numbers = {"scores": {"base": scores}, "not_decontaminated": [], "chance": {}, "changes": {}}
    found = report_table("", list(scores), numbers)
    texts = [tuple(getattr(cell, "text", cell) for cell in row) for row in found.rows]
    return [row for row in texts if row[1] == "bits_per_byte"]


def cells_of(printed: Group | None) -> list[list[str]]:
    """The cells of the table printed on the terminal, by row."""
    assert printed is not None
    table = printed.renderables[0]
    assert isinstance(table, Table)
    return [
        list(row) for row in zip(*(map(str, column.cells) for column in table.columns), strict=True)
    ]


def scored(
    checkpoint: Path, tmp_path: Path, held_out: Sequence[str], **parameters: Any
) -> tuple[Any, list[str]]:
    """(the row, notes) of a category, scored in this process."""
    path = tmp_path / "held.jsonl"
    path.write_text("".join(json.dumps({"target": text}) + "\n" for text in held_out))
    given = EvaluationParameters.model_validate(
        {"protocols": ("bits-per-byte",)} | parameters
    ).model_dump(mode="json")
    spec = Spec(str(checkpoint), given, {}, {}, {"web-zh": [str(path)]}, str(tmp_path / "out"), 1)
    rows = evaluate(spec, lambda done, total: None)
    notes = tmp_path / "out/data/notes.json"
    return rows["heldout/web-zh"], json.loads(notes.read_text()) if notes.exists() else []


def evaluated(
    checkpoint: Path, tmp_path: Path, inputs: Sequence[Artifact], **parameters: Any
) -> Artifact:
    given = EvaluationParameters.model_validate(
        {"protocols": ("bits-per-byte",), "model": str(checkpoint)} | parameters
    )
    return run_stage(STAGE, given, {"heldout": inputs}, name="base", tmp_path=tmp_path)


def texts(count: int, times: int = 1) -> tuple[str, ...]:
    return tuple(f"{n} {TEXT * times}" for n in range(count))


@pytest.mark.parametrize(
    ("count", "times", "parameters", "told"),
    [
        (
            4,
            1,
            {},
            "4 documents with 200 characters are held out, fewer than evaluation.heldout_floor "
            "asks (30 and 10,000)",
        ),
        (4, 300, {}, "4 documents with"),  # long ones are still four
        (40, 1, {}, "40 documents with"),  # and many of one sentence are little text
        (40, 10, {}, None),
        (4, 1, {"heldout_floor": HeldOutFloor(documents=4, characters=200)}, None),
        (4, 1, {"heldout_floor": HeldOutFloor(documents=0, characters=0)}, None),
    ],
)
def test_scores_of_too_little_text_are_marked_and_noted(
    checkpoint: Path,
    tmp_path: Path,
    count: int,
    times: int,
    parameters: dict[str, Any],
    told: str | None,
) -> None:
    row, notes = scored(checkpoint, tmp_path, texts(count, times), **parameters)
    assert (row["n"], row["characters"]) == (count, sum(map(len, texts(count, times))))
    assert row.get("few", False) == bool(told)
    shown = items(row, "bits_per_byte")
    if told is None:
        assert notes == [] and shown == str(count)
        return
    (note,) = notes
    assert (
        note.startswith(f"heldout/web-zh: {told}")
        and "raise select.heldout (fraction, max_documents), or add text" in note
    )
    assert shown == f"{count}, too few"
    assert cells_of(score_table({"base": {"web": row}}))[0][:3] == ["web", "bits_per_byte", shown]
    assert [cells[:3] for cells in reported({"web": row})] == [("web", "bits_per_byte", shown)]


def test_the_note_names_the_limit_that_the_recipe_sets(checkpoint: Path, tmp_path: Path) -> None:
    _, (note,) = scored(checkpoint, tmp_path, texts(40, 10), heldout_documents=3)
    assert "3 documents" in note and "raise evaluation.heldout_documents" in note


def test_a_category_without_held_out_text_is_in_the_table_with_the_reason(
    checkpoint: Path, tmp_path: Path
) -> None:
    inputs = [
        selected(
            "web",
            tmp_path,
            heldout={"fraction": 0.001},
            training={"web-zh": texts(9), "web-en": texts(2), "qa": texts(3)},
            held_out={"web-en": texts(40, 10)},
        ),
        selected("books", tmp_path, training={"qa": texts(4), "books": texts(5)}, held_out={}),
        selected(
            "empty", tmp_path, heldout={"fraction": 0.01}, training={}, held_out={"blank": ("", "")}
        ),
    ]
    long_text = LongText(length_bytes=64, documents=1, bucket_bytes=64)
    built = evaluated(checkpoint, tmp_path, inputs, long_text=long_text)
    scores = built.statistics["scores"]
    assert list(scores) == [
        *(f"heldout/{category}" for category in ("blank", "books", "qa", "web-en", "web-zh")),
        *(
            "long-text/blank",
            "long-text/books",
            "long-text/qa",
            "long-text/web-en",
            "long-text/web-en/0-63",
        ),
        "long-text/web-zh",
    ]
    missing = {"bits_per_byte": None, "n": 0, "reason": "nothing held out"}
    for category in ("books", "qa", "web-zh"):
        assert scores[f"heldout/{category}"] == scores[f"long-text/{category}"] == missing
    assert scores["heldout/blank"] == missing | {"reason": "no text"}
    assert scores["long-text/blank"] == missing | {"reason": "no long document"}
    none = "documents is held out, so nothing is scored"
    assert [note for note in built.statistics["notes"] if note.startswith("category")] == [
        f"category books: none of its 5 {none}: select.heldout is null; set a fraction",
        f"category qa: none of its 7 {none}: select.heldout.fraction 0.001 took none of them; "
        "raise it",
        f"category web-zh: none of its 9 {none}: select.heldout.fraction 0.001 took none of them; "
        "raise it",
        "category blank: its held-out documents have no text to score",
    ]
    table = cells_of(score_table({"base": scores}))
    assert ["heldout/web-zh", "bits_per_byte", "0", "nothing held out"] in table
    assert ("heldout/web-zh", "bits_per_byte", "0", "nothing held out") in reported(scores)
    assert json.loads(built.path("results.json").read_text()) == scores
    assert json.loads(built.path("notes.json").read_text()) == built.statistics["notes"]


def test_the_table_says_what_each_metric_was_scored_on() -> None:
    row = {
        "acc": 0.5,
        "acc_stderr": 0.1,
        "n": 1_000,
        "cut": 3,
        "not_asked": 2,
        "first_token_acc": None,
        "first_token_n": 0,
        "first_token_not_asked": 1_002,
    }
    assert metrics(row) == ["acc", "first_token_acc"]
    assert items(row, "acc") == "1,000, 3 cut, 2 not asked"
    assert items(row, "first_token_acc") == "0, 1,002 not asked"
    assert (
        items({"first_token_acc": 1.0, "n": 7}, "first_token_acc") == "7" and items({}, "acc") == ""
    )
    other = {"acc": 0.4, "n": 1_002}
    assert items_of_all([row, other, {}], "acc") == "1,000, 3 cut, 2 not asked / 1,002 / -"
    assert items_of_all([other, {}, other], "acc") == "1,002"
    table = cells_of(score_table({"base": {"exam": row}, "after": {"exam": other}}))
    assert table == [
        ["exam", "acc", "1,000, 3 cut, 2 not asked / 1,002", "0.500 ± 0.100", "0.400"],
        ["exam", "first_token_acc", "0, 1,002 not asked", "-", "-"],
    ]


def test_a_failure_is_reported_once_without_the_command(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "q", "choices": ["a", "b"], "answer": 7}\n')
    benchmark = Benchmark(format="multiple-choice", paths=(str(path),))
    parameters = EvaluationParameters(benchmarks={"b": benchmark}, model=str(checkpoint))
    with pytest.raises(StageError) as caught:
        run_stage(STAGE, parameters, name="base", tmp_path=tmp_path)
    assert str(caught.value) == f"{path}, record 0: answer 7 is not an index into 2 choices"


@pytest.mark.parametrize(
    ("child", "expected"),
    [
        (
            "raise ValueError('of a library')",
            ["exited with status 1, which is a bug", "ValueError: of a library"],
        ),
        (
            f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})",
            ["was ended by signal 9", "lower batch_size"],
        ),
    ],
)
def test_a_process_that_dies_without_a_reason_is_reported_with_its_last_output(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    child: str,
    expected: list[str],
) -> None:
    def launch_other(
        name: str, spec: Path, on_message: Callable[[dict[str, Any]], None], **_: Any
    ) -> None:
        launch([sys.executable, "-c", child, str(spec)], lambda line: None)

    monkeypatch.setattr(evaluation, "launch_module", launch_other)
    with pytest.raises(StageError) as caught:
        evaluated(checkpoint, tmp_path, [])
    message = str(caught.value)
    assert all(words in message for words in expected)
    assert sys.executable not in message and str(os.getpid()) not in message
    assert isinstance(caught.value.__cause__, LaunchError)


@pytest.mark.parametrize(
    ("deduplicated", "told"),
    [
        (True, "select.heldout is null; set a fraction"),
        (False, "nothing is held out where documents are not deduplicated"),
    ],
)
def test_a_category_without_held_out_text_says_why(deduplicated: bool, told: str) -> None:
    sides = {"training": {"documents": 12}, "held_out": {"documents": 0}}
    selected = SimpleNamespace(
        manifest=SimpleNamespace(parameters={"heldout": None}),
        statistics={"categories": {"books": sides}, "deduplicated": deduplicated},
    )
    (why,) = not_held_out([selected]).values()  # type: ignore[list-item]
    assert why.startswith("none of its 12 documents is held out") and told in why
