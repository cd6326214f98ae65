"""Records that carry their own category: from the files to bins, mixtures and scores."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from infra.engine import EngineConfig
from infra.store import Artifact
from tasks.documents.bins import bins_name
from tests.end_to_end.direct import digests, run_direct
from tests.end_to_end.world import jsonl, paragraph

INLINE = EngineConfig(kind="inline")
KINDS = ("qa", "story", "Common Crawl", "forum", None)


def rows(count: int = 100) -> list[dict[str, object]]:
    """Documents of every kind in turn, in Colossal's layout and with the kind nested too."""
    rng = random.Random(5)
    return [
        {
            "source": f"Question {number}?",
            "target": paragraph(rng, "en", 3),
            "category": KINDS[number % 5],
            "meta": {"kind": KINDS[number % 5]},
        }
        for number in range(count)
    ]


def recipe(folder: Path, category: object, **source: object) -> Path:
    ingest = {"format": "jsonl", "paths": ["all.jsonl"], **source}
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64}
    values = {
        "name": "kinds",
        "sources": {"all": {"ingest": ingest, "category": category}},
        "select": {"heldout": {"fraction": 0.3, "max_documents": 3}},
        "tokenizer": {"train": {"size": 300}},
        "model": {"create": shape | heads},
        "binning": {"sequence_length": 64, "bins": 1},
        "training": {
            "batch": "4 rows",
            "phases": [
                {"name": "one", "tokens": "4 steps", "mixture": {"qa": 0.25, "web": "rest"}}
            ],
        },
        "evaluation": {"models": ["one"], "protocols": ["bits-per-byte"]},
    }
    (folder / "r.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return folder / "r.yaml"


OF = {"qa": "qa", "story": "web", "Common Crawl": "web"}


def fates(built: dict[str, Artifact]) -> Counter[tuple[str | None, str | None]]:
    """(category, reason) -> documents of cut."""
    cut = built["cut/main"]
    tables = [pq.read_table(cut.path(name)) for name in cut.files("all/part-")]
    found = pa.concat_tables(tables).select(["category", "reason"]).to_pylist()
    return Counter((row["category"], row["reason"]) for row in found)


def test_one_file_of_many_categories_is_binned_mixed_and_scored_by_category(
    tmp_path: Path,
) -> None:
    jsonl(tmp_path / "all.jsonl", rows())
    file = recipe(tmp_path, {"field": "category", "of": OF})
    built = run_direct(file, tmp_path / "store", INLINE)
    assert fates(built) == {
        ("qa", None): 20,
        ("web", None): 40,
        (None, "category.unstated"): 20,
        (None, "category.missing"): 20,
    }
    counted = built["cut/main"].manifest.ledger
    assert counted.documents("read") == 100 and counted.documents("kept") == 60
    assert counted.documents("dropped", "category.unstated") == 20
    (note,) = built["cut/main"].statistics["notes"]
    assert note == (
        "sources.all.category: 20 documents have values that `of` does not: 'forum' 20; 20 have no "
        "text in 'category'; they are dropped; add the values to `of`, or name a category for "
        "them: `rest`"
    )
    selected = built["select/all"].statistics["categories"]
    assert {name: sides["held_out"]["documents"] for name, sides in selected.items()} == {
        "qa": 3,
        "web": 3,
    }
    lines = [
        json.loads(line)
        for name in built["select/all"].files("web/")
        for line in built["select/all"].path(name).read_text().splitlines()
    ]
    assert {line["category"] for line in lines} == {"web"} and len(lines) == 37
    assert built[f"binning/{bins_name('qa')}"].statistics["documents"] == 17
    assert built["training/one"].statistics["rows"] == {"qa": 4, "web": 12}
    scored = built["evaluation/one"].statistics["scores"]
    assert {name: score["n"] for name, score in scored.items()} == {
        "heldout/qa": 3,
        "heldout/web": 3,
    }
    asked = ["--stage", "cut", "--rule", "category.unstated", "--dropped", "--json"]
    seen = CliRunner().invoke(app, ["inspect", *asked, "--store", str(tmp_path / "store")])
    shown = json.loads(seen.stdout)["shown"][0]
    (measured,) = shown["measured"]
    assert shown["stated_category"] == "forum" and measured["value"] == "forum"
    assert measured["limit"] == "one of qa, story, Common Crawl (field category)"


def test_a_rest_keeps_what_is_not_stated_and_says_how_much(tmp_path: Path) -> None:
    jsonl(tmp_path / "all.jsonl", rows())
    file = recipe(tmp_path, {"field": "category", "of": OF, "rest": "other"})
    built = run_direct(file, tmp_path / "store", INLINE, until="select")
    assert fates(built) == {("qa", None): 20, ("web", None): 40, ("other", None): 40}
    (note,) = built["cut/main"].statistics["notes"]
    assert note.endswith("they are of category other") and "'forum' 20" in note


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_nested_fields_are_read_the_same_from_lines_and_columns(
    tmp_path: Path, format_: str
) -> None:
    given = rows(40)
    jsonl(tmp_path / "all.jsonl", given)
    pq.write_table(pa.Table.from_pylist(given), tmp_path / "all.parquet")
    category = {"field": "meta.kind", "of": OF, "rest": "other"}
    reading = {"format": format_, "paths": [f"all.{format_}"]}
    by_field = run_direct(
        recipe(tmp_path, category, **reading), tmp_path / "s", INLINE, until="cut"
    )
    assert fates(by_field) == {("qa", None): 8, ("web", None): 16, ("other", None): 16}
    if format_ == "parquet":  # one column of text, no prompt: read by columns
        reading |= {"fields": {"text": "target"}}
        built = run_direct(
            recipe(tmp_path, category, **reading), tmp_path / "s", INLINE, until="cut"
        )
        assert fates(built) == fates(by_field)
        assert digests(built)["ingest/all"] != digests(by_field)["ingest/all"]
