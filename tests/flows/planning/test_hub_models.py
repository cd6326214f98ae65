"""Language models and language-ID models by their names on the hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.planning.prepare import Prepared, prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from infra.engine import EngineConfig
from infra.stage import Pin
from infra.store import Artifact
from tasks.language_model.stage import STAGE, LanguageModelParameters
from tests.end_to_end.direct import run_direct
from tests.loopback.hub_fixture import HubServer, point_at, running_hub
from tests.stage_harness import run_stage
from tests.tables import documents
from tests.tasks.language_model.corpora import made_up

RECIPE = """\
name: near
store: {store}
remote: {{cache: {store}/cache, retry_interval_s: 0.001, retry_limit_s: 0.02}}
sources:
  web:
    ingest: {{format: text, paths: [a.txt]}}
    langid: {{model: {langid}}}
    perplexity: {{}}
    category: web
language_models: {{zh: {{folder: {folder}}}}}
"""
LANGID = {
    "meta/lid": ("model.bin", {"model.bin": b"lid", "README.md": b""}),
    "glot/lid": ("model.bin", {"model.bin": b"now", "model_v1.bin": b"1", "model_v2.bin": b"2"}),
    "open/lid-v3": ("openlid-v3.bin", {"openlid-v3.bin": b"v3", "config.json": b"{}"}),
    "small/lid": ("lid.176.ftz", {"lid.176.ftz": b"ftz"}),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("trained")
    parameters = LanguageModelParameters(language="zh", vocabulary=60, order=3)
    given = documents(folder, "wiki", [made_up(100)])
    return run_stage(STAGE, parameters, {"documents": given}, "zh", tmp_path=folder)


@pytest.fixture(scope="module")
def server(trained: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    with running_hub(tmp_path_factory.mktemp("hub")) as found:
        for place in (found.model("org/kenlm"), found.model("org/kenlm") / "wikipedia"):
            place.mkdir(exist_ok=True)
            (place / "zh.arpa.bin").write_bytes(trained.path("lm.arpa").read_bytes())
            (place / "zh.sp.model").write_bytes(trained.path("sp.model").read_bytes())
            (place / "de.arpa.bin").write_bytes(b"of another language")
        for name, (_, files) in LANGID.items():
            for file, data in files.items():
                (found.model(name) / file).write_bytes(data)
        (found.model("two/lids") / "a.bin").write_bytes(b"a")
        (found.model("two/lids") / "b.bin").write_bytes(b"b")
        (found.model("no/lid") / "model.safetensors").write_bytes(b"weights")
        yield found


@pytest.fixture
def hub(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    point_at(server, tmp_path / "home", monkeypatch)
    (tmp_path / "a.txt").write_text("text")
    server.log()
    return server


def recipe(tmp_path: Path, folder: str = "org/kenlm", langid: str = "lid.176") -> Path:
    file = tmp_path / "near.yaml"
    file.write_text(RECIPE.format(store=tmp_path / "store", folder=folder, langid=langid))
    return file


def plan(file: Path) -> Prepared:
    found = prepare(RunRequest(file))
    found.refuse_unresolved()
    return found


def pin(prepared: Prepared, node: str, path: str) -> Pin:
    found = prepared.pins[node][path]
    assert isinstance(found, tuple)
    (one,) = found
    return one


@pytest.mark.parametrize(
    "folder", ["org/kenlm", "org/kenlm@main", "hf://org/kenlm", "hf://org/kenlm/wikipedia/"]
)
def test_a_language_model_is_the_two_files_of_its_language(
    hub: HubServer, tmp_path: Path, folder: str
) -> None:
    found = plan(recipe(tmp_path, folder))
    lm, pieces = (pin(found, "language_model/zh", path) for path in ("lm", "sentencepiece"))
    assert (lm.name, pieces.name) == ("zh.arpa.bin", "zh.sp.model")
    commit = lm.path.partition("@")[2].partition("/")[0]
    assert len(commit) == 40 and pieces.path.startswith(f"hf://org/kenlm@{commit}/")
    assert not [entry for entry in hub.log() if "/resolve/" in entry["path"]]
    pinned = plan(recipe(tmp_path, f"org/kenlm@{commit}"))
    assert pinned.plan.steps["language_model/zh"].version == (
        found.plan.steps["language_model/zh"].version
    )


def test_it_is_fetched_and_taken_over(hub: HubServer, trained: Artifact, tmp_path: Path) -> None:
    file = recipe(tmp_path)
    store = tmp_path / "store"
    made = run_direct(file, store, EngineConfig(kind="inline"), only=("language_model",))
    unit = made["language_model/zh"]
    assert unit.path("sp.model").read_bytes() == trained.path("sp.model").read_bytes()
    fetched = {e["path"].rpartition("/")[2] for e in hub.log() if "/resolve/" in e["path"]}
    assert fetched == {"zh.arpa.bin", "zh.sp.model"}


@pytest.mark.parametrize("name", LANGID)
@pytest.mark.parametrize("form", ["{}", "{}@main", "hf://{}", "hf://{}/{file}"])
def test_a_language_id_model_is_its_fasttext_file(
    hub: HubServer, tmp_path: Path, name: str, form: str
) -> None:
    file, _ = LANGID[name]
    found = plan(recipe(tmp_path, langid=form.format(name, file=file)))
    model = pin(found, "langid/web", "model")
    assert model.name == file and model.path.startswith(f"hf://{name}@")


@pytest.mark.parametrize(
    ("langid", "why"),
    [
        ("two/lids", r"near.yaml:7: .*two/lids: is 2 files \(a.bin, b.bin\), where one is needed"),
        ("two/lids", r"name it"),
        ("no/lid", r"no such file or folder, and no file of the model no/lid.*model.safetensors"),
        ("meta/ldi", r"no such file or folder, and there is no model meta/ldi.*'meta/lid'"),
        ("meta/lid@v9", r"meta/lid has no revision 'v9'"),
        ("models/gone.bin", r"models/gone.bin: no file or folder matches"),
    ],
)
def test_what_is_no_language_id_model_is_refused(
    hub: HubServer, tmp_path: Path, langid: str, why: str
) -> None:
    with pytest.raises(RecipeError, match=why):
        prepare(RunRequest(recipe(tmp_path, langid=langid)))


def test_a_language_that_the_models_lack_is_refused(hub: HubServer, tmp_path: Path) -> None:
    file = recipe(tmp_path)
    file.write_text(file.read_text().replace("{zh:", "{fr:"))
    with pytest.raises(RecipeError, match=r"yaml:10: .*fr.arpa.bin.*it has de.arpa.bin, .*zh.arpa"):
        prepare(RunRequest(file))


def test_a_folder_of_that_name_comes_first(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "org" / "kenlm").mkdir(parents=True)
    for name in ("zh.arpa.bin", "zh.sp.model"):
        (tmp_path / "org" / "kenlm" / name).write_text("mine")
    found = plan(recipe(tmp_path))
    assert pin(found, "language_model/zh", "lm").path == f"{tmp_path}/org/kenlm/zh.arpa.bin"
    (tmp_path / "org" / "kenlm" / "zh.sp.model").unlink()
    with pytest.raises(RecipeError, match=r"kenlm/zh.sp.model: no file or folder matches"):
        prepare(RunRequest(recipe(tmp_path)))


def test_without_a_network_the_plan_has_a_question_mark(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at("http://127.0.0.1:9", tmp_path / "home", monkeypatch)
    for file in (recipe(tmp_path), recipe(tmp_path, langid="meta/lid")):
        found = prepare(RunRequest(file))
        assert found.plan.steps["language_model/zh"].state == "unresolved"
        assert CliRunner().invoke(app, ["plan", str(file)]).exit_code == 0
        with pytest.raises(RecipeError, match="cannot be reached"):
            found.refuse_unresolved()
