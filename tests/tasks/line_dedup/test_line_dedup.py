"""Repeated lines are removed, counted over the whole source, with equal bytes for any engine."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydantic
import pytest

from infra.engine.processes import Processes
from infra.store import Artifact
from tasks.decontaminate.stage import STAGE as DECONTAMINATE
from tasks.documents.edits import EDITS, apply_columns
from tasks.line_dedup import repeats
from tasks.line_dedup import run as line_dedup_run
from tasks.line_dedup.stage import STAGE, LineDedupParameters
from tasks.signatures.stage import STAGE as SIGNATURES
from tests.stage_harness import data_digests, run_stage
from tests.tables import column, content_digest, documents


def edited(given: Artifact, made: Artifact) -> list[str]:
    edits = pa.chunked_array([pa.array(column(made, "edits"), EDITS)])
    return apply_columns(pa.chunked_array([column(given, "text")]), [edits]).texts.to_pylist()


def deduplicate(
    tmp_path: Path, parts: list[list[Any]], engine: Any = None, **parameters: Any
) -> tuple[Artifact, Artifact]:
    given = documents(tmp_path, "web", parts)
    chosen = LineDedupParameters.model_validate(parameters)
    return given, run_stage(
        STAGE, chosen, {"documents": given}, "web", tmp_path=tmp_path, engine=engine
    )


def identified(texts: list[str]) -> list[dict[str, str]]:
    return [{"id": hashlib.md5(text.encode()).hexdigest(), "text": text} for text in texts]


def crawl(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Documents of unique and shared lines, in runs with blank lines between some of them."""
    rng = random.Random(seed)
    shared = [f"Menu {'abcdefghij'[i]} — Home" for i in range(10)]
    texts = []
    for number in range(count):
        name = "".join(rng.choices("abcdefgh", k=12))
        lines = [f"own {name} {'xyz'[i % 3] * (i + 1)}" for i in range(rng.randint(0, 4))]
        lines += rng.choices(shared, k=rng.randint(0, 4)) + [""] * rng.randint(0, 2)
        rng.shuffle(lines)
        texts.append("\n".join(lines).strip("\n") or f"only {name} {number % 3}")
    return identified(texts)


def form(line: str) -> str:
    return line.lower().replace("—", "")


def expected(rows: list[dict[str, str]], keep: str) -> list[list[str]]:
    """The lines that stay, from counting all of them in memory."""
    places: dict[str, list[tuple[str, int]]] = {}
    for row in rows:
        for number, line in enumerate(row["text"].split("\n")):
            places.setdefault(form(line), []).append((row["id"], number))

    def stays(line: str, place: tuple[str, int]) -> bool:
        copies = places[form(line)]
        return len(copies) == 1 or (keep == "first" and place == min(copies))

    return [
        [
            line
            for number, line in enumerate(row["text"].split("\n"))
            if line and stays(line, (row["id"], number))
        ]
        for row in rows
    ]


@pytest.mark.parametrize("keep", ["first", "none"])
def test_remaining_lines_equal_a_count_in_memory(
    tmp_path: Path, keep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = crawl(60)
    given, made = deduplicate(tmp_path / "one", [rows[:25], rows[25:], []], keep=keep)
    texts = edited(given, made)
    assert [[line for line in text.split("\n") if line] for text in texts] == expected(rows, keep)
    emptied = [bool(row["text"]) and not text for row, text in zip(rows, texts, strict=True)]
    assert column(made, "emptied") == emptied and any(emptied)
    monkeypatch.setattr(repeats, "RUN_UNITS", 20)
    monkeypatch.setattr(repeats, "PARTITION_ENTRIES", 7)
    again = deduplicate(tmp_path / "runs", [rows[:25], rows[25:], []], keep=keep)[1]
    assert data_digests(again) == data_digests(made) and again.statistics == made.statistics
    shuffled = random.Random(1).sample(rows, len(rows))
    other, turned = deduplicate(tmp_path / "shuffled", [shuffled[:7], shuffled[7:]], keep=keep)
    by_id = dict(zip(column(other, "id"), edited(other, turned), strict=True))
    assert by_id == dict(zip(column(given, "id"), texts, strict=True))


def test_the_ledger_balances_and_statistics_show_the_most_repeated_lines(tmp_path: Path) -> None:
    texts = ["Home\nÄpfel", "home\nBirnen", "HOME", "Menu 1\nx", "Menu 2\ny", "   "]
    given, made = deduplicate(tmp_path, [texts[:2], texts[2:]], keep="none")
    assert edited(given, made) == ["Äpfel", "Birnen", "", "x", "y", "   "]
    assert column(made, "emptied") == [False, False, True, False, False, False]
    assert {edit["reason"] for row in column(made, "edits") for edit in row} == {"line_dedup.line"}
    (row,) = made.manifest.data["ledger"]["rows"]
    assert row["totals"] == {
        "documents": {"kept": 6, "read": 6},
        "bytes": {"edited": 5 + 5 + 4 + 7 + 7, "kept": 6 + 6 + 2 + 3, "read": 45},
    }
    assert made.statistics == {
        "copies": 5,
        "documents": 6,
        "documents_edited": 5,
        "documents_emptied": 1,
        "documents_with_prompt": 0,
        "units": 9,
        "units_removed": 5,
        "units_repeated": 2,
        "most_repeated": [{"text": "Home", "copies": 3}, {"text": "Menu 1", "copies": 2}],
    }


def test_paragraphs_minimum_and_copies(tmp_path: Path) -> None:
    notice = "All rights\nreserved."
    texts = [f"a\n\n{notice}\n\nb", "c\n\nAll rights reserved.", "c", "c\n\nd"]
    given, made = deduplicate(
        tmp_path / "p", [texts], unit="paragraph", keep="none", minimum_characters=2
    )
    assert edited(given, made) == ["a\n\nb", "c", "c", "c\n\nd"]
    given, made = deduplicate(
        tmp_path / "c", [texts], unit="paragraph", keep="none", minimum_copies=3
    )
    assert edited(given, made) == [texts[0], "All rights reserved.", "", "d"]
    with pytest.raises(pydantic.ValidationError):
        LineDedupParameters.model_validate({"minimum_copies": 1})


class Killed(Exception):
    """Raised in place of the death of the process."""


@pytest.mark.parametrize("step", ["hash_part", "count_partition", "write_part"])
def test_a_killed_run_resumes_with_another_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    parts = [crawl(20, seed) for seed in range(3)]
    monkeypatch.setattr(repeats, "PARTITION_ENTRIES", 40)
    expected = data_digests(deduplicate(tmp_path / "whole", parts)[1])
    function = getattr(line_dedup_run, step)
    done: list[Any] = []

    def dies(work: Any, shard: Any) -> Any:
        if len(done) == 2:
            raise Killed(step)
        done.append(work)
        return function(work, shard)

    with monkeypatch.context() as once, pytest.raises(Killed):
        once.setattr(line_dedup_run, step, dies)
        deduplicate(tmp_path / "killed", parts)
    engine = Processes(2, 0)
    try:
        resumed = deduplicate(tmp_path / "killed", parts, engine=engine)[1]
    finally:
        engine.close()
    assert data_digests(resumed) == expected


def test_documents_of_nothing_but_repeated_lines_end_empty_and_the_bytes_add_up(
    tmp_path: Path,
) -> None:
    texts = ["Home\r\n\r\nAbout\r\n", "about\nHOME", " \n\n Home \n\u3000\nabout\n\n"]
    given, made = deduplicate(tmp_path, [texts], keep="none")
    assert edited(given, made) == ["", "", ""] and column(made, "emptied") == [True, True, True]
    (row,) = made.manifest.data["ledger"]["rows"]
    size = sum(len(text.encode()) for text in texts)
    assert row["totals"] == {
        "documents": {"kept": 3, "read": 3},
        "bytes": {"edited": size, "kept": 0, "read": size},
    }
    inputs = {"documents": given, "line_dedup": made}
    signed = run_stage(SIGNATURES, SIGNATURES.parameters(), inputs, "web", tmp_path=tmp_path)
    assert column(signed, "length") == [0, 0, 0]
    items = tmp_path / "items.jsonl"
    items.write_text(
        '{"question": "Home about home about home about home about?", "choices": ["a", "b"], '
        '"answer": 0}'
    )
    against = {"quiz": {"format": "multiple-choice", "paths": [str(items)]}}
    searched = run_stage(
        DECONTAMINATE, DECONTAMINATE.parameters(against=against), inputs, "web", tmp_path=tmp_path
    )
    assert (
        column(searched, "contaminated") == [[], [], []]
        and searched.statistics["documents_hit"] == 0
    )


def test_bytes_are_the_same_for_any_engine(tmp_path: Path) -> None:
    parts = [crawl(20, seed) for seed in range(3)]
    alone = deduplicate(tmp_path / "a", parts)[1]
    engine = Processes(2, 0)
    try:
        together = deduplicate(tmp_path / "b", parts, engine=engine)[1]
    finally:
        engine.close()
    assert data_digests(alone) == data_digests(together) and alone.statistics == together.statistics


def test_sources_without_documents_or_lines(tmp_path: Path) -> None:
    given, made = deduplicate(tmp_path, [[], ["", " \n "]])
    assert column(made, "emptied") == [False, False] and edited(given, made) == ["", " \n "]


def test_golden_output(tmp_path: Path) -> None:
    """If the output changes on purpose, raise the stage's version, then this digest."""
    made = deduplicate(tmp_path, [crawl(30)])[1]
    assert (STAGE.version, content_digest(made)) == (2, "82ec62f3e5d43e6b")


@pytest.mark.real
def test_real_fixtures_of_line_duplicates(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "dedup" / "cs336-a4-fixtures"
    files = sorted((folder / "documents_with_line_duplicates").glob("*.txt"))
    texts = [file.read_text("utf-8") for file in files]
    # These fixtures compare lines as written: CCNet's form would make one of "for doc3.txt" and
    # "for doc4.txt".
    given, made = deduplicate(tmp_path, [texts], keep="none", normalise="none")
    wanted = [
        (folder / "documents_line_deduplicated" / file.name).read_text("utf-8") for file in files
    ]
    assert len(texts) == 5 and edited(given, made) == wanted
