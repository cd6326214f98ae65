"""A source of which nothing is left is named at the end, with the reason and what to try; a
category without documents before a tokenizer is built.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.running.walk import StepFailed
from infra.engine import EngineConfig
from tests.end_to_end.direct import run_direct
from tests.end_to_end.world import jsonl

ENGLISH = (
    "The people of the valley have made pottery for many years, and they are proud of what they "
    "make."
)


def test_sources_that_end_up_empty_are_named(tmp_path: Path) -> None:
    texts = [{"text": f"{ENGLISH} Number {number}."} for number in range(3)]
    jsonl(tmp_path / "good.jsonl", texts)
    (tmp_path / "wrong.jsonl").write_text('{"text": broken\n' * 3)
    jsonl(tmp_path / "english.jsonl", [{"text": f"{text['text']} Again."} for text in texts])
    (tmp_path / "nothing.jsonl").write_text("")
    sources = {
        name: {"ingest": {"format": "jsonl", "paths": [f"{name}.jsonl"]}, "category": "web"}
        for name in ("good", "wrong", "english", "nothing")
    }
    sources["english"]["langid"] = {"keep": {"languages": ["zh"]}}
    recipe = {
        "name": "r",
        "sources": sources,
        "dedup": {"accept": True},
        "select": {"heldout": None},
    }
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    run_direct(tmp_path / "r.yaml", tmp_path / "store", EngineConfig(kind="inline"))
    words = ["run", str(tmp_path / "r.yaml"), "--store", str(tmp_path / "store")]
    done = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert (notes := done["notes"]) == [
        "source wrong: ingest kept none of its 3 records (json 3); "
        "are its files JSONL, as sources.wrong.ingest.format says?",
        "source english: cut kept none of its 3 documents (langid.language 3); "
        "widen sources.english.langid.keep; its languages: en 3",
        "source nothing: ingest found no record in its files; check them and "
        "sources.nothing.ingest",
    ]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0 and all(note in shown.stdout for note in notes)
    page = Path(done["report"]).read_text(encoding="utf-8")
    assert all(note in page for note in notes)


def test_a_category_without_documents_ends_the_run_before_the_tokenizer(tmp_path: Path) -> None:
    jsonl(tmp_path / "good.jsonl", [{"text": f"{ENGLISH} Number {n}."} for n in range(30)])
    jsonl(tmp_path / "english.jsonl", [{"text": f"{ENGLISH} Again {n}."} for n in range(3)])
    sources = {
        "good": {"category": "web"},
        "english": {"category": "web-zh", "langid": {"keep": {"languages": ["zh"]}}},
    }
    for name, source in sources.items():
        source["ingest"] = {"format": "jsonl", "paths": [f"{name}.jsonl"]}
    model = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    model |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64}
    phase = {"name": "first", "tokens": 1024, "mixture": {"web": 0.5, "web-zh": "rest"}}
    recipe = {
        "name": "r",
        "sources": sources,
        "dedup": {"accept": True},
        "select": {"heldout": None},
        "tokenizer": {"train": {"size": 270, "from": ["web"]}},
        "model": {"create": model},
        "binning": {"sequence_length": 32, "bins": 1},
        "training": {
            "optimizer": {"lr": 0.001},
            "schedule": {"kind": "cosine", "warmup": 64, "total": 1024},
            "batch": 64,
            "phases": [phase],
        },
    }
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    inline, store = EngineConfig(kind="inline"), tmp_path / "store"
    said = (
        r"binning/web-zh failed: category 'web-zh' has no documents to train on: source english "
        r"dropped langid.language 3"
    )
    for _ in range(2):  # the second time, everything before it is in the store
        with pytest.raises(StepFailed, match=said):
            run_direct(tmp_path / "r.yaml", store, inline)
        assert (store / "select").is_dir() and not (store / "tokenizer").exists()
    planned = CliRunner().invoke(app, ["plan", str(tmp_path / "r.yaml"), "--store", str(store)])
    assert "binning of web, web-zh: gigatoken, if a probe shows the ids" in planned.stdout
    run_direct(tmp_path / "r.yaml", store, inline, only=("tokenizer",))
    assert (store / "tokenizer").is_dir()
    with pytest.raises(StepFailed, match=said):
        run_direct(tmp_path / "r.yaml", store, inline, only=("binning",))
    assert not (store / "binning").exists()
