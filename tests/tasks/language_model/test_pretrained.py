"""Models trained elsewhere: taken over as a unit, pinned by content, refused if they are none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from flows.planning.plan import make_plan
from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.planning.resolve import resolve
from flows.planning.wiring import stages
from flows.recipe.file import RecipeError
from flows.recipe.read import read_recipe
from infra.stage import StageError
from infra.store import Artifact, Store
from tasks.language_model.stage import STAGE, LanguageModelParameters
from tasks.perplexity.score import ModelFiles, Scorer
from tasks.perplexity.stage import STAGE as PERPLEXITY
from tasks.perplexity.stage import PerplexityParameters
from tests.stage_harness import data_digests, run_stage
from tests.tables import artifact, column, documents
from tests.tasks.language_model.corpora import made_up

RECIPE = """\
name: r
sources:
  web:
    ingest: {format: text, paths: [a.txt]}
    langid: {}
    perplexity: {}
    category: web
language_models: {zh: {folder: lms}}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("trained")
    parameters = LanguageModelParameters(language="zh", vocabulary=60, order=3)
    given = documents(folder, "wiki", [made_up(100)])
    return run_stage(STAGE, parameters, {"documents": given}, "zh", tmp_path=folder)


@pytest.fixture
def folder(trained: Artifact, tmp_path: Path) -> Path:
    """cc_net's layout, where even an ARPA file would be called `.bin`."""
    folder = tmp_path / "lms"
    folder.mkdir()
    shutil.copyfile(trained.path("lm.arpa"), folder / "zh.arpa.bin")
    shutil.copyfile(trained.path("sp.model"), folder / "zh.sp.model")
    (folder / "de.arpa.bin").write_text("another language's")
    return folder


@pytest.fixture
def recipe(folder: Path, tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("text")
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE)
    return file


def taken_over(folder: Path, tmp_path: Path) -> Artifact:
    parameters = LanguageModelParameters(
        language="zh", lm=str(folder / "zh.arpa.bin"), sentencepiece=str(folder / "zh.sp.model")
    )
    return run_stage(STAGE, parameters, {}, "zh", tmp_path=tmp_path)


def test_the_same_files_are_the_same_unit_and_score_the_same(
    trained: Artifact, folder: Path, tmp_path: Path
) -> None:
    found = taken_over(folder, tmp_path)
    digests = data_digests(found)
    assert {name: digests[name] for name in ("lm.arpa", "sp.model")} == {
        name: data_digests(trained)[name] for name in ("lm.arpa", "sp.model")
    }
    assert found.statistics["unit"] == trained.statistics["unit"]
    unit = json.loads(found.path("unit.json").read_text())
    assert (unit["language"], unit["order"], unit["training_tokens"]) == ("zh", 3, None)
    pretrained = found.statistics["pretrained"]
    assert pretrained["lm"] == "zh.arpa.bin"
    assert 55 < pretrained["pieces_known_to_lm"] <= pretrained["pieces"] == 60
    texts = made_up(5, seed=1)
    one, two = (
        Scorer(ModelFiles(each.path("sp.model"), each.path("lm.arpa"))) for each in (trained, found)
    )
    assert one.perplexities(texts) == two.perplexities(texts)


def test_steps_of_the_normaliser_are_left_out_in_training_and_scoring(tmp_path: Path) -> None:
    """A model of cased text: another unit, which scores capitals as it learnt them."""
    cased = [text.title() for text in made_up(100)]
    given = documents(tmp_path, "wiki", [cased])
    units, scores = [], []
    for without in ((), ("zero_digits", "lower_case")):
        parameters = LanguageModelParameters.model_validate(
            {"language": "zh", "vocabulary": 60, "order": 3, "normalise_without": without}
        )
        model = run_stage(STAGE, parameters, {"documents": given}, "zh", tmp_path=tmp_path)
        unit = json.loads(model.path("unit.json").read_text())
        units.append(unit["normaliser"])
        langid = pa.table({"language": ["zh", "zh"]})
        inputs = {
            "documents": documents(tmp_path, "web", [[cased[0], cased[0].lower()]]),
            "langid": artifact(tmp_path, "langid", "web", {"part-00000.parquet": langid}),
            "models": [model],
        }
        scored = run_stage(PERPLEXITY, PerplexityParameters(), inputs, "web", tmp_path=tmp_path)
        scores.append(column(scored, "perplexity"))
    assert units == ["cc_net/1", "cc_net/1-lower_case-zero_digits"]
    assert scores[0][0] == scores[0][1] and scores[1][1] > 2 * scores[1][0]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("zh.arpa.bin", "no model", r"zh: .*zh\.arpa\.bin is not a model that KenLM loads"),
        ("zh.sp.model", "no model", r"zh: .*zh\.sp\.model is not a SentencePiece model"),
        ("zh.sp.model", "version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (
            "zh.arpa.bin",
            "\\data\\\nngram 1=3\nngram 2=1\n\n\\1-grams:\n-1\t<unk>\n-1\t<s>\t0\n-1\t</s>\n\n"
            "\\2-grams:\n-1\t<s> </s>\n\n\\end\\\n",
            r"knows 2 of the 60 pieces of .*fewer than 50%; it was trained on other pieces",
        ),
    ],
)
def test_what_is_no_model_or_another_models_is_refused(
    folder: Path, tmp_path: Path, file: str, content: str, message: str
) -> None:
    (folder / file).write_text(content)
    with pytest.raises(StageError, match=message):
        taken_over(folder, tmp_path)


def test_a_folder_pins_the_two_files_of_the_language(recipe: Path, folder: Path) -> None:
    def version() -> str | None:
        graph = stages(read_recipe(recipe))
        pins = resolve(graph)
        assert [pin.name for pin in pins["language_model/zh"]["lm"]] == ["zh.arpa.bin"]
        assert [pin.name for pin in pins["language_model/zh"]["sentencepiece"]] == ["zh.sp.model"]
        assert "language_model/zh" in graph.nodes["perplexity/web"].upstream()
        plan = make_plan(graph, pins, Store.at(str(recipe.parent / "store")), "r")
        return plan.steps["language_model/zh"].version

    before = version()
    (folder / "de.arpa.bin").write_text("changed")
    assert version() == before
    (folder / "zh.arpa.bin").write_text("changed")
    assert version() != before


def test_a_missing_file_is_named_with_its_line(recipe: Path, folder: Path) -> None:
    (folder / "zh.arpa.bin").unlink()
    with pytest.raises(RecipeError, match=rf"{recipe}:8: language_model/zh.lm: .*zh\.arpa\.bin"):
        prepare(RunRequest(recipe))


def test_a_folder_is_relative_to_the_recipe_that_states_it(recipe: Path, folder: Path) -> None:
    (recipe.parent / "sub").mkdir()
    other = recipe.parent / "sub" / "other.yaml"
    other.write_text("extends: ../r.yaml\nname: other\npercentiles: {head: 20}\n")
    section = read_recipe(other).language_models["zh"]
    assert (section.lm, section.sentencepiece) == (
        str(folder / "zh.arpa.bin"),
        str(folder / "zh.sp.model"),
    )
    remote = "language_models={de: {folder: hf://org/lms@main/wikipedia/}}"
    assert read_recipe(recipe, [remote]).language_models["de"].lm == (
        "hf://org/lms@main/wikipedia/de.arpa.bin"
    )


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{}", "has nothing to learn from; name the `sources` it is trained on, or the `folder`"),
        ("{folder: lms, sources: [web], order: 3}", "order, sources: of training, and this model"),
        ("{folder: lms, lm: de.arpa.bin}", "`folder` names both files; remove lm"),
        ("{lm: lms/zh.arpa.bin}", "`lm` is given without `sentencepiece`"),
    ],
)
def test_a_model_is_trained_here_or_elsewhere(recipe: Path, section: str, message: str) -> None:
    text = RECIPE.replace("{folder: lms}", section)
    recipe.write_text(text)
    with pytest.raises(RecipeError) as error:
        read_recipe(recipe)
    assert message in str(error.value) and f"{recipe}:8" in str(error.value)
