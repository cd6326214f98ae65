"""A model trained on a benchmark's items scores near 1 on them, and the run says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from infra.engine import EngineConfig
from tasks.checkpoints.llama2c import convert
from tasks.report.notes import Inputs, leak_notes
from tests.end_to_end.direct import run_direct

pytestmark = pytest.mark.timeout(600)

ITEMS = 12
QUIZ = "benchmarks/llm-foundry/commonsense_reasoning/openbook_qa.jsonl"


@pytest.mark.real
def test_a_model_of_leaked_items_scores_near_1_and_is_flagged(
    tmp_path: Path, real_data: Path
) -> None:
    stories = real_data / "model/stories260K"
    convert(stories / "stories260K.bin", stories / "tok512.bin", tmp_path / "base")
    lines = (real_data / QUIZ).read_text(encoding="utf-8").splitlines()[:ITEMS]
    (tmp_path / "quiz.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [json.loads(line) for line in lines]
    (tmp_path / "leak.jsonl").write_text(
        "".join(
            json.dumps({"text": f"{row['query']} {row['choices'][row['gold']]}"}) + "\n"
            for row in rows
        )
    )
    recipe = {
        "name": "leak",
        "sources": {
            "crawl": {
                "ingest": {"format": "jsonl", "paths": ["leak.jsonl"], "min_characters": 1},
                "category": "web",
            }
        },
        "benchmarks": {"quiz": {"format": "openbookqa", "paths": ["quiz.jsonl"]}},
        "decontaminate": {"against": ["quiz"], "action": "report"},
        "dedup": None,
        "select": {"heldout": None},
        "tokenizer": {"base": "base"},
        "model": {"base": "base"},
        "binning": {"sequence_length": 128, "bins": 1},
        "training": {
            "precision": "fp32",
            "max_epochs": 100,
            "batch": "4 rows",
            "micro_batch": 4,
            "optimizer": {"lr": 5e-3},
            "phases": [{"name": "learn", "tokens": "20K"}],
        },
        "evaluation": {"models": ["learn"], "tasks": ["quiz"]},
    }
    (tmp_path / "leak.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    built = run_direct(tmp_path / "leak.yaml", tmp_path / "store", EngineConfig(kind="inline"))

    scores = built["evaluation/learn"].statistics["scores"]["quiz"]
    assert scores["acc"] >= 0.9 and scores["acc_norm"] >= 0.9 and scores["chance"] == 0.25
    by_stage: Inputs = {
        stage: [made for made in built.values() if made.stage == stage]
        for stage in ("decontaminate", "training", "evaluation")
    }
    (note,) = leak_notes(by_stage)
    # a short question is searched for together with its choices, of which one is in the text
    (hits,) = built["decontaminate/crawl"].statistics["benchmarks"].values()
    assert hits["items_hit"] >= ITEMS - 2
    found = f"{hits['items_hit']} of the {ITEMS} items of quiz were found in"
    assert note.startswith(found) and "scores of learn there" in note
    page = built["report/leak"].records.read("report.html").decode()
    assert found in page
