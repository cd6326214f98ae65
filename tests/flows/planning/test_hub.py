"""Names of the Hugging Face hub in recipes: data sets and bases, pinned, refused or left open."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.planning.prepare import Prepared, prepare
from flows.planning.request import RunRequest
from flows.planning.resolve import Unresolved
from flows.recipe.file import RecipeError
from infra.stage import Pin
from tests.loopback.hub_fixture import HubServer, point_at, running_hub
from tests.small_base import write_base

RECIPE = """\
name: near
store: {store}
remote: {{cache: {store}/cache, retry_interval_s: 0.001, retry_limit_s: 0.02}}
sources:
  web:
    ingest: {{format: hf, dataset: org/web, name: small}}
    category: web
tokenizer: {{base: org/base}}
model: {{base: org/base}}
evaluation: {{models: [base], protocols: [bits-per-byte]}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    with running_hub(tmp_path_factory.mktemp("hub")) as found:
        folder = found.dataset("org/web")
        pq.write_table(pa.table({"text": ["a"], "url": ["u"]}), folder / "part.parquet")
        (folder / "README.md").write_text(
            "---\nconfigs:\n- config_name: small\n  data_files: part.parquet\n---\n"
        )
        base = found.model("org/base")
        (base / "model.safetensors").write_bytes(b"weights")
        (base / "pytorch_model.bin").write_bytes(b"pickle")
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            (base / name).write_text("{}")
        yield found


@pytest.fixture
def recipe(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    point_at(server, tmp_path / "home", monkeypatch)
    file = tmp_path / "near.yaml"
    file.write_text(RECIPE.format(store=tmp_path / "store"))
    return file


def plan(file: Path, *overrides: str) -> Prepared:
    return prepare(RunRequest.of(file, list(overrides)))


def pins(prepared: Prepared, node: str, path: str) -> tuple[Pin, ...]:
    found = prepared.pins[node][path]
    assert isinstance(found, tuple)
    return found


def test_data_sets_and_bases_are_pinned_to_commits(recipe: Path, server: HubServer) -> None:
    found = plan(recipe)
    found.refuse_unresolved()
    (data,) = pins(found, "ingest/web", "dataset")
    assert data.path.startswith("hf://datasets/org/web@") and data.sha256
    model = pins(found, "model/main", "base")
    assert {pin.name for pin in model} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert all(pin.path.startswith("hf://org/base@") for pin in model)
    assert pins(found, "evaluation/base", "model") == model
    without = {pin.name for pin in model} - {"model.safetensors"}
    assert {pin.name for pin in pins(found, "tokenizer/main", "base")} == without
    whole = [entry for entry in server.log() if entry["path"].startswith("/cdn")]
    assert all(entry["range"] for entry in whole)  # the footer of the data, no weights
    commit = model[0].path.partition("@")[2].partition("/")[0]
    pinned = plan(recipe, f"model.base=org/base@{commit}")
    assert pinned.plan.steps["model/main"].version == found.plan.steps["model/main"].version


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sources.web.ingest.dataset=org/wbe", r"sources.web.ingest.dataset: there is no data set"),
        ("sources.web.ingest.name=smal", r"no configuration 'smal' \(did you mean 'small'\?\)"),
        ("sources.web.ingest.split=test", "no split 'test'.*; it has train"),
        ("sources.web.ingest.fields={text: txt}", r"'txt' \(did you mean 'text'\?\)"),
        (
            "model.base=org/bass",
            r"no such file .*, and there is no model org/bass.*'org/base'",
        ),
        ("model.base=org/base-1.7B", "no such file or folder, and there is no model org/base-1.7B"),
        ("model.base=org/base@v9", "org/base has no revision 'v9'"),
    ],
)
def test_what_the_hub_does_not_have_is_an_error_of_the_recipe(
    recipe: Path, override: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        plan(recipe, override)


def test_the_error_has_the_line(recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("org/web", "org/wbe"))
    with pytest.raises(RecipeError, match=rf"^{recipe}:6: sources.web.ingest.dataset: "):
        plan(recipe)


def test_without_a_network_the_rest_is_planned(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at("http://127.0.0.1:9", tmp_path / "home", monkeypatch)
    found = plan(recipe)
    assert isinstance(found.pins["ingest/web"]["dataset"], Unresolved)
    assert found.plan.steps["ingest/web"].state == "unresolved"
    with pytest.raises(RecipeError, match=r"near.yaml:6: .*hub .* cannot be reached"):
        found.refuse_unresolved()
    assert found.plan.steps["model/main"].state == "unresolved"


def test_what_was_planned_before_is_planned_without_a_network(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan(recipe)
    point_at("http://127.0.0.1:9", tmp_path / "home", monkeypatch)
    after = plan(recipe)
    step = "ingest/web"
    assert after.plan.steps[step].version == before.plan.steps[step].version


def test_a_base_in_the_hubs_cache_needs_no_network(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    before = plan(recipe)
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    huggingface_hub.snapshot_download("org/base", allow_patterns=["*.safetensors", "*.json"])
    point_at("http://127.0.0.1:9", tmp_path / "home", monkeypatch)
    after = plan(recipe)
    for step in ("model/main", "tokenizer/main"):
        assert after.plan.steps[step].version == before.plan.steps[step].version is not None


def test_a_folder_here_comes_before_the_hub(recipe: Path) -> None:
    folder = write_base(recipe.parent / "org" / "base")
    (folder / "tokenizer_config.json").write_text('{"eos_token": "piece 0"}')  # scores begin at it
    found = pins(plan(recipe), "model/main", "base")
    assert str(folder / "config.json") in [pin.path for pin in found]


def test_columns_of_local_parquet_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"content": ["a"]}), path)
    file = tmp_path / "local.yaml"
    file.write_text(
        f"name: local\nstore: {tmp_path}/store\nsources:\n  web:\n    ingest:\n"
        "      {format: parquet, paths: [a.parquet]}\n"
    )
    with pytest.raises(RecipeError, match=rf"^{file}:6: .*a.parquet: fields.text: .*content"):
        plan(file)
    assert plan(file, "sources.web.ingest.fields={text: content}").plan
    with pytest.raises(RecipeError, match="a Parquet file, but format is jsonl; set format: parq"):
        plan(file, "sources.web.ingest.format=jsonl")
