"""What stages will take, by what they took before in the same store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.planning.estimates import Estimate, estimates
from flows.planning.prepare import Prepared, prepare
from flows.planning.request import RunRequest
from infra.engine import EngineConfig
from infra.store import Store
from tests.end_to_end.direct import run_direct
from tests.small_base import write_base

RECIPE = """\
name: r
store: {store}
sources:
  web: {{ingest: {{format: jsonl, paths: [a.jsonl]}}, category: web}}
"""


def write(file: Path, documents: int) -> None:
    """Documents of one length, each different."""
    rows = ({"text": f"{number:06d} " + "some words " * 40} for number in range(documents))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    write(tmp_path / "a.jsonl", 20)
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE.format(store=tmp_path / "store"))
    return file


def planned(recipe: Path) -> tuple[Prepared, dict[str, Estimate]]:
    prepared = prepare(RunRequest.of(recipe))
    return prepared, estimates(prepared.plan, prepared.store, prepared.phases)


def test_a_store_without_history_has_no_estimates(recipe: Path) -> None:
    assert planned(recipe)[1] == {}
    shown = CliRunner().invoke(app, ["plan", str(recipe)])
    assert shown.exit_code == 0 and "≈" not in shown.stdout


def test_stages_are_expected_to_take_what_they_took(recipe: Path) -> None:
    run_direct(recipe, recipe.parent / "store", EngineConfig(kind="inline"), until="select")
    assert planned(recipe)[1] == {}  # all hits but the report, of which there is none yet
    write(recipe.parent / "a.jsonl", 60)
    _, found = planned(recipe)
    store = Store.at(str(recipe.parent / "store"))
    assert set(found) == {f"{stage}/{name}" for stage, name, _ in store.versions()}
    before = {f"{a.stage}/{a.name}": a for a in store.artifacts()}
    for id, expected in found.items():
        assert expected.like == before[id].identity
        assert expected.seconds == pytest.approx(3 * before[id].manifest.seconds, rel=0.05)
        assert expected.documents == 60
    shown = CliRunner().invoke(app, ["plan", str(recipe), "--json"])
    assert json.loads(shown.stdout)["expected"]["select/web"]["documents"] == 60
    text = CliRunner().invoke(app, ["plan", str(recipe)]).stdout
    assert "by this store's history: ≈ 60 documents selected, " in text
    assert "; 1 of " in text and "stages have none" in text


def test_of_several_the_closest_size_speaks(recipe: Path) -> None:
    store = recipe.parent / "store"
    for documents in (20, 200):
        write(recipe.parent / "a.jsonl", documents)
        run_direct(recipe, store, EngineConfig(kind="inline"), until="ingest")
    made = {a.manifest.ledger.documents("kept"): a for a in Store.at(str(store)).artifacts()}
    for documents, closest in ((30, 20), (150, 200)):
        write(recipe.parent / "a.jsonl", documents)
        assert planned(recipe)[1]["ingest/web"].like == made[closest].identity


def test_a_model_from_nothing_says_nothing_of_one_from_a_base(recipe: Path) -> None:
    made = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    }
    text = recipe.read_text()
    recipe.write_text(f"{text}tokenizer: {{train: {{size: 270}}}}\nmodel: {{create: {made}}}\n")
    run_direct(recipe, recipe.parent / "store", EngineConfig(kind="inline"), until="model")
    write_base(recipe.parent / "base")
    recipe.write_text(f"{text}tokenizer: {{base: base}}\nmodel: {{base: base}}\n")
    prepared, found = planned(recipe)
    assert prepared.plan.steps["model/main"].state == "run"
    assert "model/main" not in found
