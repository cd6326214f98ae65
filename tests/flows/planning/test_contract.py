"""Stages do what they declare; a new one takes a folder, a line and a field."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows.planning import documents, wiring
from flows.planning.contracts import page
from flows.planning.graph import Graph
from flows.recipe import read
from flows.recipe.sections import Recipe, Source
from infra.engine import EngineConfig
from infra.stage import Parameters, Role, Stage
from tests.end_to_end.direct import run_direct
from tests.flows.planning.letters import STAGE as LETTERS
from tests.flows.planning.letters import LettersParameters
from tests.golden import build_all
from tests.toy import ToyParameters

DOCS = Path(__file__).resolve().parents[3] / "docs"


def field_of(model: Any, path: str) -> Any:
    """The models that a recipe may have at `path`, where `*` stands for any name."""
    found = [model]
    for word in path.split("."):
        found = [inner for one in found for inner in _inside(one, word)]
    return found


def _inside(model: type[Parameters], word: str) -> list[Any]:
    infos = model.model_fields
    chosen = infos.values() if word == "*" else [infos[word]]
    return [found for info in chosen for found in _models(info.annotation)]


def _models(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, Parameters):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in _models(inner)]


@pytest.mark.parametrize("stage", wiring.STAGES, ids=lambda stage: stage.name)
def test_every_section_is_one_of_the_recipe_and_holds_the_stages_parameters(stage: Stage) -> None:
    if stage.name in ("report", "cut", "shares", "scores"):
        return  # they have no section of their own
    found = field_of(Recipe, re.sub(r"\.\*(?=\.|$)", "", stage.section))
    assert found, stage.section
    if stage.name not in ("training", "mixture"):  # whose parameters are worked out of it
        assert any(issubclass(model, stage.parameters) for model in found)


def test_stages_write_the_files_and_columns_that_they_declare(tmp_path: Path) -> None:
    declared = {stage.name: stage.outputs for stage in wiring.STAGES}
    seen: set[tuple[str, str]] = set()
    for artifact in build_all(tmp_path).values():
        for name in artifact.files():
            fits = [out for out in declared[artifact.stage] if fnmatch.fnmatch(name, out.files)]
            assert fits, f"{artifact.stage} writes {name}, which it does not declare"
            out = max(fits, key=lambda output: len(output.files))
            seen.add((artifact.stage, out.files))
            if name.endswith(".parquet"):
                types = {f.name: str(f.type) for f in pq.read_schema(artifact.path(name))}
                assert types.keys() == out.columns.keys(), artifact.identity
                for column, type_ in out.columns.items():
                    assert fnmatch.fnmatchcase(_escaped(types[column]), _escaped(type_))
    assert len(seen) >= 18


def _escaped(type_: str) -> str:
    return type_.replace("[", "(").replace("]", ")")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "input 'documents' is missing"),
        ({"documents": ["ingest", "ingest"]}, "takes one artifact, not 2"),
        ({"documents": ["select"]}, "takes artifacts of ingest, not of select"),
        ({"documents": ["ingest"], "docs": ["ingest"]}, "declares no input 'docs'"),
    ],
)
def test_inputs_that_are_not_declared_are_refused(
    given: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        LETTERS.check_inputs(given)


def test_the_graph_checks_roles() -> None:
    graph = Graph()
    with pytest.raises(ValueError, match="stage lone declares no input 'up'; it declares: only"):
        lone = Stage("lone", 1, ToyParameters, "x:y", "", inputs=(Role("only", optional=True),))
        one = graph.add(lone, "a", ToyParameters())
        graph.add(lone, "b", ToyParameters(), up=one)


def test_a_new_stage_is_a_folder_a_line_and_a_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NewSource(Source):
        letters: LettersParameters | None = None  # the field

    class NewRecipe(Recipe):
        sources: dict[str, NewSource]  # type: ignore[assignment]

    monkeypatch.setattr(documents, "SOURCE_STAGES", (*documents.SOURCE_STAGES, LETTERS))  # the line
    monkeypatch.setattr(read, "Recipe", NewRecipe)
    texts = ["three letters e", "none", "eee"]
    lines = [json.dumps({"text": text}) for text in texts]
    (tmp_path / "web.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "r.yaml").write_text(
        "name: r\nsources:\n  web:\n"
        "    ingest: {format: jsonl, paths: [web.jsonl]}\n    letters: {letter: e}\n",
        encoding="utf-8",
    )
    inline = EngineConfig(kind="inline", cpu_threads=1)
    made = run_direct(tmp_path / "r.yaml", tmp_path / "store", inline)["letters/web"]
    counts = [c for name in made.files() for c in pq.read_table(made.path(name))["letters"]]
    assert [count.as_py() for count in counts] == [text.count("e") for text in texts]
    assert made.ledger.documents("kept") == 3
    assert "letters" in str(read.recipe_schema()["$defs"]["NewSource"]["properties"])
    assert "`documents`: one artifact of ingest" in page([LETTERS])


def test_the_page_of_stages_is_written_from_the_declarations() -> None:
    text = (DOCS / "stages.md").read_text(encoding="utf-8")
    assert text == page(), "docs/stages.md is not what the stages declare: make docs"
