"""A source of which nothing is left is named at the end, with the reason and what to try."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from flows.cli import app
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
