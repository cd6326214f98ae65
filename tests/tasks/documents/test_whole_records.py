"""A document with a prompt is one record, which every stage that judges documents reads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.store import Artifact
from tasks.decontaminate.stage import STAGE as DECONTAMINATE
from tasks.decontaminate.stage import DecontaminateParameters
from tasks.documents.records import has_prompt, record, record_bytes, record_hashes, records
from tasks.documents.selected import training_text
from tasks.ingest.stage import STAGE as INGEST
from tasks.ingest.stage import IngestParameters
from tasks.langid.stage import STAGE as LANGID
from tasks.langid.stage import LangidParameters
from tasks.language_model.corpus import Reference, reference_parts
from tasks.line_dedup.stage import STAGE as LINE_DEDUP
from tasks.line_dedup.stage import LineDedupParameters
from tasks.model.texts import sample_texts
from tasks.perplexity.score import annotate_perplexity
from tasks.quality.stage import STAGE as QUALITY
from tasks.quality.stage import QualityParameters
from tasks.tokenizer.sample_files import read_texts
from tasks.tokenizer.texts import TextFile, training_texts
from tests.stage_harness import pin, run_stage
from tests.tables import column, documents

QUESTION = (
    "In the years after the war the people of the town built a bridge over the river, and with it "
    "came trade that made the place rich. Most of the goods that they sold were made of wool. The "
    "market was held in the spring and in the autumn. Is it true that the bridge of the town was "
    "older than the market?"
)
PAIR = {"prompt": QUESTION, "text": "yes"}


def table(*rows: tuple[str, str]) -> pa.Table:
    columns = {"prompt": [prompt for prompt, _ in rows], "text": [text for _, text in rows]}
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def test_a_text_without_a_prompt_is_its_own_record() -> None:
    assert record("", "text") == record(" \n", "text") == "text" and record("Q?", "A") == "Q?\nA"
    plain = table(("", "one"), ("", "two"))
    assert records(plain) is plain["text"] or records(plain).equals(plain["text"])
    assert (
        has_prompt(table((" \u3000\n", "one"))) is None
        and has_prompt(plain) is None
        and has_prompt(plain.select(["text"])) is None
    )
    assert records(plain.select(["text"])).to_pylist() == ["one", "two"]
    mixed = table(("Qé", "A"), ("", "two"), ("Q", ""))
    assert records(mixed).to_pylist() == ["Qé\nA", "two", "Q\n"]
    assert record_bytes(mixed).to_pylist() == [4, 3, 1]
    assert records(table()).to_pylist() == [] and record_bytes(table()).to_pylist() == []


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=8))
def test_equal_hashes_are_equal_pairs(pairs: list[tuple[str, str]]) -> None:
    digest = [
        [hashlib.blake2b(half.encode(), digest_size=16).digest() for half in pair] for pair in pairs
    ]
    hashes = record_hashes((one for one, _ in digest), (two for _, two in digest))
    assert len(set(hashes)) == len(set(pairs)) and all(len(one) == 16 for one in hashes)
    assert not set(hashes) & {half for pair in digest for half in pair}


def annotated(
    stage: Any, parameters: Any, rows: list[Any], tmp_path: Path, **inputs: Artifact
) -> Artifact:
    given = documents(tmp_path, "web", [rows])
    return run_stage(stage, parameters, {"documents": given, **inputs}, "web", tmp_path=tmp_path)


def test_language_is_of_the_whole_record(tmp_path: Path) -> None:
    german = {
        "prompt": "Ist die Brücke in der Stadt älter als der Markt, der im Frühling gehalten wird?",
        "text": "no",
    }
    made = annotated(
        LANGID,
        LangidParameters(),
        [PAIR, german, {"prompt": "这座桥比集市更古老吗？请回答。", "text": "OK"}],
        tmp_path,
    )
    assert column(made, "language") == ["en", "de", "zh"]
    assert min(column(made, "language_score")) > 0.8


def test_quality_rules_read_the_whole_record(tmp_path: Path) -> None:
    rows = [PAIR, {"text": "yes"}, {"text": f"{QUESTION}\nyes"}]
    made = annotated(QUALITY, QualityParameters(rules=("gopher",)), rows, tmp_path)
    failed = [[failure["rule"] for failure in row] for row in column(made, "failed")]
    assert failed[0] == [] == failed[2] and "gopher.word_count" in failed[1]


def test_perplexity_and_language_models_read_the_whole_record(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[str] = []

    class Counting:
        def perplexities(self, texts: list[str]) -> list[float]:
            seen.extend(texts)
            return [1.0] * len(texts)

    monkeypatch.setattr("tasks.perplexity.score.scorer", lambda files: Counting())
    given = table((QUESTION, "yes"), ("", "plain")).append_column(
        "language", pa.array(["en", "en"])
    )
    annotate_perplexity({"en": None}, 10_000, given)  # type: ignore[dict-item]
    assert seen == [f"{QUESTION} yes", "plain"]
    source = documents(tmp_path, "web", [[{"prompt": "WHO?", "text": "Me."}, "plain"]])
    assert list(Reference(tuple(reference_parts([source], [])), "en").documents(9)) == [
        "who? me.",
        "plain",
    ]


def test_line_dedup_does_not_touch_answers(tmp_path: Path) -> None:
    answers = [
        {"prompt": f"Question {number}?", "text": ["yes", "no"][number % 2]} for number in range(20)
    ]
    rows = [*answers, "Menu\nyes\none page", "Menu\nyes\nanother page"]
    made = annotated(LINE_DEDUP, LineDedupParameters(), rows, tmp_path)
    assert [len(row) for row in column(made, "edits")] == [0] * 21 + [1]
    assert not any(column(made, "emptied"))
    assert made.statistics["documents_with_prompt"] == 20 and made.statistics["units"] == 6
    totals = made.manifest.data["ledger"]["rows"][0]["totals"]
    size = sum(len(row["prompt"] + row["text"]) for row in answers) + len(rows[20]) + len(rows[21])  # type: ignore[arg-type]
    assert totals["bytes"] == {"edited": 9, "kept": size - 9, "read": size}


def test_a_leak_over_both_halves_is_found_and_no_edit_reaches_the_prompt(tmp_path: Path) -> None:
    """A short question counts only with its choices: here one half of them is in either field."""
    item = {
        "question": "Which metal is used?",
        "choices": ["bright copper wire", "dull leaden pipe"],
        "answer": 0,
    }
    file = tmp_path / "quiz.jsonl"
    file.write_text(json.dumps({"id": "q", **item}), encoding="utf-8")
    against = {"quiz": {"format": "multiple-choice", "paths": [str(file)]}}
    rows = [
        {"prompt": "Which metal is used?", "text": "bright copper wire, dull leaden pipe"},
        {"prompt": "Which metal is used?", "text": "That depends."},
        "bright copper wire, dull leaden pipe",
    ]
    parameters = DecontaminateParameters.model_validate({"against": against})
    given = documents(tmp_path, "web", [rows])
    pins = {"against.quiz.paths": (pin(file),)}
    made = run_stage(
        DECONTAMINATE, parameters, {"documents": given}, "web", tmp_path=tmp_path, pins=pins
    )
    assert [len(row) for row in column(made, "contaminated")] == [1, 0, 0]
    assert column(made, "passage_share")[0] == 1.0


def ingested(tmp_path: Path, rows: list[dict[str, str]], **parameters: Any) -> Artifact:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    chosen = IngestParameters.model_validate(
        {"format": "jsonl", "paths": [str(file)], **parameters}
    )
    return run_stage(INGEST, chosen, name="pairs", tmp_path=tmp_path, pins={"paths": (pin(file),)})


def test_ingest_measures_the_whole_record(tmp_path: Path) -> None:
    rows = [
        {"source": "A question of a few words?", "target": "yes"},
        {"source": "", "target": "yes"},
        {"source": "A question without an answer?", "target": " "},
        {"source": "long " * 400, "target": "yes"},
    ]
    made = ingested(tmp_path, rows, min_characters=20, max_text_bytes=1_024)
    (row,) = made.manifest.data["ledger"]["rows"]
    assert {r["reason"]: r["documents"] for r in row["reasons"]} == {
        "too_short": 2,
        "text_too_large": 1,
    }
    assert (
        made.statistics["characters"]
        == made.statistics["text_bytes"]
        == row["totals"]["bytes"]["kept"]
        == 29
    )


def test_row_groups_are_bounded_by_prompts_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tasks.ingest.part.ROW_GROUP_TEXT_BYTES", 100)
    made = ingested(tmp_path, [{"source": "q" * 60, "target": "a"}] * 6)
    assert pq.ParquetFile(made.path(made.files("part-")[0])).num_row_groups == 3


def test_tokenizer_and_model_read_prompt_and_text_as_tokenized(tmp_path: Path) -> None:
    lines = [
        {"source": "Q ", "target": "A", "language": "en"},
        {"target": "plain"},
        {"source": "", "target": "B"},
    ]
    assert [training_text(row) for row in lines] == ["Q A", "plain", "B"]
    file = tmp_path / "web" / "part-0.jsonl"
    file.parent.mkdir()
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    texts = training_texts({1: [TextFile(file, "web", "web", False)]}, 10_000)
    assert list(texts[1]) == ["Q A", "plain", "B"]

    pairs = tmp_path / "pairs.parquet"
    pq.write_table(pa.table({"source": ["Q ", None], "target": ["A", "B"]}), pairs)
    assert read_texts([pairs, file]) == ["Q A", "B", "Q A", "plain", "B"]

    class Selected:
        def files(self) -> list[str]:
            return ["web/part-0.jsonl"]

        def path(self, name: str) -> Path:
            return tmp_path / name

    assert sample_texts([Selected()], 3) == ["Q A", "plain", "B"]  # type: ignore[list-item]
