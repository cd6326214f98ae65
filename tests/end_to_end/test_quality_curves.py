"""From a rubric to training rows: asked, learned, scored, cut by a curve, repeated in the bins."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.planning.asking import costs, in_lines
from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from flows.recipe.read import read_recipe
from infra.engine import EngineConfig
from infra.store import Artifact
from tasks.documents.rows import Rows
from tasks.report.page import page
from tasks.report.summary import summary
from tests.end_to_end.direct import run_direct
from tests.loopback.chat import ChatServer, chatting
from tests.tables import column
from tests.tasks.classifier.corpora import GOOD, text

RECIPE = """\
name: curves
store: artifacts
engine: {kind: inline, cpu_threads: 1}
sources:
  web:
    ingest: {format: jsonl, paths: [web.jsonl]}
    category: web
    classifiers: {edu: {keep: {curve: {0: drop, 40: 1, 80: 2.5, 95: 4}}}}
labels:
  edu:
    sources: [web]
    sample: 240
    prompt: "Score this. <text>{text}</text>"
    endpoint: {url: "URL", model: rules, price: {input: 1, output: 2}}
classifiers:
  edu: {labels: edu, threshold: 3, minimum: 20, fasttext: {dim: 8, epochs: 20, min_count: 1}}
dedup: {verify: 0.8}
select: {heldout: {fraction: 0.05, max_documents: 10}}
tokenizer: {train: {size: 400, from: [web]}}
model:
  create: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2,
           num_key_value_heads: 2, max_position_embeddings: 64, tie_word_embeddings: true}
binning: {sequence_length: 64, bins: 4}
training:
  batch: 512
  optimizer: {lr: 1e-3}
  schedule: {kind: constant, warmup: 0}
  max_epochs: 4
  phases: [{name: one, tokens: 1 epochs, mixture: {web: 1.0}}]
"""


def by_words(found: str) -> int:
    return 4 if sum(word.lower().strip(".") in GOOD for word in found.split()) > 5 else 1


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run to the bins, and the recipe, its store and server."""
    folder = tmp_path_factory.mktemp("curves")
    rng = random.Random(4)
    texts = [text(rng, good=number % 3 == 0, words=60) for number in range(400)]
    lines = [json.dumps({"text": one}) for one in texts]
    (folder / "web.jsonl").write_text("\n".join(lines), encoding="utf-8")
    chat, recipe = ChatServer(by_words), folder / "curves.yaml"
    inline = EngineConfig(kind="inline", cpu_threads=1)
    with chatting(chat) as url:
        recipe.write_text(RECIPE.replace("URL", url), encoding="utf-8")
        prepared = prepare(RunRequest.of(recipe, store=str(folder / "store")))
        before = costs(prepared.plan, prepared.store)
        made = run_direct(recipe, folder / "store", inline, until="binning")
    return {"folder": folder, "recipe": recipe, "chat": chat, "made": made, "before": before}


def selected(made: dict[str, Artifact]) -> list[dict[str, Any]]:
    select = made["select/web"]
    return [
        json.loads(line)
        for name in select.files("web/")
        for line in select.path(name).read_text(encoding="utf-8").splitlines()
    ]


def test_the_plan_told_the_cost_before(world: dict[str, Any]) -> None:
    cost = world["before"]["labels/edu"]
    asked = world["made"]["labels/edu"].statistics["requests"]["asked"]
    assert abs(cost.requests - asked) < 12
    (line,) = in_lines(world["before"])
    assert line.startswith("labels/edu asks at most 252 requests: ≈ ")
    assert "tokens in, at most 64,512 out, at most $" in line


def test_drawn_repeats_are_the_stated_ones(world: dict[str, Any]) -> None:
    made = world["made"]
    (curve,) = made["cut/main"].statistics["curves"]
    documents, copies = curve["documents"], curve["copies"]
    assert sum(documents) == 400
    assert abs(documents[0] - 160) <= 1 and abs(documents[3] - 20) <= 1
    assert copies[0] == 0 and copies[1] == documents[1] and copies[3] == 4 * documents[3]
    assert 2.2 < copies[2] / documents[2] < 2.8
    scores = dict(
        zip(
            column(made["scores/web~edu"], "score"),
            column(made["cut/main"], "repeats"),
            strict=True,
        )
    )
    ordered = [scores[score] for score in sorted(scores)]
    assert set(ordered[:158]) == {0} and set(ordered[-19:]) == {4}


def test_repeats_reach_the_bins_and_nothing_held_out_is_repeated(world: dict[str, Any]) -> None:
    made = world["made"]
    rows = selected(made)
    stated = {row["id"]: row.get("repeats", 1) for row in rows}
    assert set(stated.values()) == {1, 2, 3, 4}
    assert list(rows[-1])[-1] == "repeats" or "repeats" not in rows[-1]
    binned = made["binning/web"]
    packed = Rows(sorted({binned.path(name).parent for name in binned.files("bin-")}))
    began = Counter(
        span.id
        for number in range(len(packed))
        for span in packed.provenance(number)
        if span.offset == 0
    )
    assert began == stated
    assert binned.statistics["copies"] == sum(stated.values())
    select = made["select/web"]
    held = [select.path(name).read_text(encoding="utf-8") for name in select.files("heldout/")]
    assert held and "repeats" not in "".join(held)


def test_epochs_and_max_epochs_agree(world: dict[str, Any]) -> None:
    def planned(*overrides: str) -> Any:
        request = RunRequest.of(
            world["recipe"], list(overrides), store=str(world["folder"] / "store")
        )
        (phase,) = prepare(request).phases
        return phase

    once = planned()
    assert once.epochs == {"web": 1.0} and once.readings == {"web": 4.0} and not once.warnings
    (warning,) = planned("training.max_epochs=3.5").warnings
    assert "documents that are there 4 times 4.00 times, and max_epochs is 3.5" in warning


def test_another_recipe_with_the_same_rubric_asks_nothing(world: dict[str, Any]) -> None:
    asked = sum(world["chat"].answered.values())
    other = world["folder"] / "other.yaml"
    stated = world["recipe"].read_text(encoding="utf-8").replace("name: curves", "name: other")
    other.write_text(stated.replace("  web:\n", "  again:\n").replace("[web]", "[again]", 1))
    inline = EngineConfig(kind="inline", cpu_threads=1)
    made = run_direct(other, world["folder"] / "store", inline, until="labels")
    assert made["labels/edu"].statistics["requests"] == {
        "asked": 0,
        "cached": asked,
        "again": 0,
        "refused": 0,
    }
    assert sum(world["chat"].answered.values()) == asked  # the server is gone, too


def test_inspect_shows_scores_beside_the_curve(world: dict[str, Any]) -> None:
    store = str(world["folder"] / "store")
    for stage in ("scores", "cut"):
        words = ["inspect", "--stage", stage, "--source", "web", "--store", store, "--json"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        found = json.loads(done.output)
        assert found["reasons"]["classifier.edu"] >= 158
        shown = [entry for one in found["shown"] for entry in one["measured"]]
        assert any(
            entry["rule"] == "score by edu"
            and "0 drop, 40 x1, 80 x2.5, 95 x4; cut-offs 0." in entry["limit"]
            for entry in shown
        )


def traced(world: dict[str, Any], *words: str) -> Any:
    words = ("trace", str(world["recipe"]), *words, "--store", str(world["folder"] / "store"))
    return CliRunner().invoke(app, words)


def told_of(world: dict[str, Any], id_: str) -> dict[str, tuple[str, str]]:
    """Stage -> (fate, what is told)."""
    (document,) = json.loads(traced(world, "--document", id_, "--json").stdout)["documents"]
    return {
        one["artifact"].partition("/")[0]: (one["fate"], one["what"]) for one in document["told"]
    }


def test_trace_tells_what_became_of_a_document(world: dict[str, Any]) -> None:
    made = world["made"]
    ids = column(made["ingest/web"], "id")
    repeats = dict(zip(ids, column(made["cut/main"], "repeats"), strict=True))
    lines = {row["id"]: row for row in selected(made)}
    often = next(id_ for id_ in lines if repeats[id_] == 4)
    told = told_of(world, often)
    assert told["ingest"][1].startswith("web.jsonl, byte ")
    assert told["scores"][1].startswith("score by edu: 0.")
    assert "cut-offs 0." in told["scores"][1]
    assert told["cut"] == ("kept", "category web, und; read 4 times an epoch")
    assert told["dedup"] == ("kept", "no other was dropped for it")
    assert told["select"][0] == "kept"
    assert told["select"][1].startswith("line of web, read 4 times an epoch; ")
    dropped = next(id_ for id_ in ids if not repeats[id_])
    told = told_of(world, dropped[:12])
    assert told["cut"] == ("dropped", "classifier.edu") and "dedup" not in told
    rows = pq.read_table(made["labels/edu"].path("labels.parquet")).to_pylist()
    twice = next(row for row in rows if row["repeated"] is not None)
    said = told_of(world, twice["id"])["labels"][1]
    assert said == f"score {twice['score']:g}, asked again {twice['repeated']:g}"
    shown = traced(world, "--document", often).stdout
    assert shown.startswith(f"{often}  web") and "read 4 times an epoch" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "state a phase and --step"),
        (("one",), "state a phase and --step"),
        (("one", "--step", "1", "--document", "ab" * 16), "--document alone"),
        (("--document", "ab"), "give 8 or more digits of the id"),
        (("--document", "ab" * 16), "no document has the id or URL"),
        (("--document", "https://nowhere.example/"), "sources read: web"),
    ],
)
def test_what_trace_cannot_find_is_said(
    world: dict[str, Any], words: tuple[str, ...], said: str
) -> None:
    refused = traced(world, *words)
    assert refused.exit_code == 2 and said in refused.stderr


def test_the_report_shows_rubric_classifier_and_curve(world: dict[str, Any]) -> None:
    inputs: dict[str, list[Artifact]] = {}
    for artifact in world["made"].values():
        inputs.setdefault(artifact.stage, []).append(artifact)
    numbers = summary(inputs)
    shown = page("curves", inputs, numbers)
    for words in ("Scores of edu", "Calibration of edu", "Where edu disagrees", "Sampling curves"):
        assert words in shown
    assert "web, edu, und: from 80 %" in shown and "Repeats in the bins" in shown
    assert json.loads(json.dumps(numbers))["quality"]["curves"][0]["factors"] == [0, 1, 2.5, 4]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"classifiers.edu.labels": "edy"}, "edy"),
        ({"sources.web.classifiers.edu.keep": "about 1"}, "is not a comparison"),
        ({"sources.web.classifiers.edu.keep": {"curve": {"0": "drop"}}}, "drops everything"),
        ({"sources.web.classifiers": {"edx": {}}}, "edx"),
        ({"classifiers.edu.threshold": 9}, "calls all or none of them good"),
        ({"classifiers.edu.kind": "linear"}, "add a section embeddings"),
        ({"classifiers.edu.languages": ["en"]}, "languages of web are not known"),
        ({"classifiers.edu.model": "x.bin"}, "state one of `labels`"),
        ({"labels.edu.languages": ["en"]}, "languages of web are not known"),
        ({"sources.web.category": None}, "has no category"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(
    world: dict[str, Any], change: dict[str, Any], why: str
) -> None:
    overrides = [f"{key}={json.dumps(value)}" for key, value in change.items()]
    with pytest.raises(RecipeError) as caught:
        read_recipe(world["recipe"], overrides)
    assert why in str(caught.value)
    assert "curves.yaml" in str(caught.value) or "-s" in str(caught.value)
