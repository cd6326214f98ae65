"""`training.from`: a recipe goes on from a phase of another one, as if both were one recipe."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from infra.engine import EngineConfig
from infra.store import Artifact
from tests.end_to_end.direct import run_direct
from tests.end_to_end.world import jsonl, paragraph

pytestmark = pytest.mark.timeout(900)

INLINE = EngineConfig(kind="inline")
FIRST = {"name": "first", "tokens": "500", "mixture": {"en": 0.6, "zh": "rest"}}
SECOND = {
    "name": "second",
    "tokens": "700",
    "batch": "6 rows",
    "mixture": {"zh": 0.7, "en": "rest"},
}
ORIGIN = "artifact:base/training/first@latest"
SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}


def recipe(folder: Path, name: str, *phases: dict[str, Any], **changes: Any) -> Path:
    """Write a recipe; with `origin`, one that goes on from another's phase and makes no model."""
    origin = {"from": changes.pop("origin")} if "origin" in changes else {}
    values = {
        "name": name,
        "sources": {
            source: {
                "ingest": {"format": "jsonl", "paths": [f"{source}.jsonl"]},
                "category": source,
            }
            for source in ("en", "zh")
        },
        "select": {"heldout": {"fraction": 0.1, "max_documents": 2}},
        "tokenizer": {"train": {"size": 400, "from": ["en", "zh"]}},
        "binning": {"sequence_length": 32, "bins": 2},
        "training": origin
        | {
            "optimizer": {"lr": 3e-3},
            "schedule": {"warmup": "200", "total": "1.4K"},
            "batch": "4 rows",
            "phases": list(phases),
            **changes.pop("training", {}),
        },
        **({} if origin else {"model": {"create": SHAPE}}),
        **changes,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return folder / f"{name}.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("from")
    rng = random.Random(3)
    for language in ("en", "zh"):
        jsonl(folder / f"{language}.jsonl", [{"text": paragraph(rng, language)} for _ in range(30)])
    return folder


@pytest.fixture(scope="module")
def base(folder: Path) -> dict[str, Artifact]:
    return run_direct(recipe(folder, "base", FIRST), folder / "store", INLINE)


def refusal(file: Path, store: Path) -> str:
    with pytest.raises(RecipeError) as refused:
        prepare(RunRequest.of(file, store=str(store))).refuse_unresolved()
    return str(refused.value)


def test_a_base_and_a_variant_of_it_train_what_one_recipe_trains_to_the_bit(
    folder: Path, base: dict[str, Artifact]
) -> None:
    evaluation = {"models": ["base", "second"], "protocols": ["bits-per-byte"]}
    file = recipe(folder, "variant", SECOND, origin=ORIGIN, evaluation=evaluation)
    seen = CliRunner().invoke(app, ["plan", str(file), "--store", str(folder / "store")])
    assert seen.exit_code == 0, seen.output
    assert f"goes on from {base['training/first'].identity} of recipe base, after 512 tokens" in (
        " ".join(seen.output.split())
    )
    two = run_direct(file, folder / "store", INLINE)
    one = run_direct(recipe(folder, "one", FIRST, SECOND), folder / "another", INLINE)
    assert two["training/second"].version == one["training/second"].version
    assert two["training/second"].digest == one["training/second"].digest
    (previous,) = two["training/second"].manifest.inputs["previous"]
    assert previous.identity == base["training/first"].identity
    assert "model/main" not in two
    state = two["training/second"].data.read_json("state/state.json")
    assert state["tokens"] == 512 + 704 and state["taken"]["zh"] > 0
    scores = {name: two[f"evaluation/{name}"].statistics["scores"] for name in ("base", "second")}
    assert scores["base"].keys() == scores["second"].keys() == {"heldout/en", "heldout/zh"}
    assert scores["base"] != scores["second"]
    facts = prepare(RunRequest.of(file, store=str(folder / "store"))).phases[0]
    assert (facts.start, facts.tokens) == (512, 704)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"training": {"seed": 7}}, "drew its data with seed 0, and this recipe has seed 7"),
        (
            {"binning": {"sequence_length": 64, "bins": 2}},
            "binning.sequence_length is 64, and training/first@",
        ),
        (
            {"training": {"schedule": {"total": "400"}}},
            r"schedule.total: 400 tokens, but the phases",
        ),
        (
            {"training": {"schedule": {"warmup": "2 steps", "total": "1.4K"}}},
            "2 steps count from the start of the run, which another recipe began",
        ),
        ({"training": {"from": "base"}}, "'base' is no phase of another recipe; write artifact:"),
        (
            {"training": {"from": "artifact:base/tokenizer/main@latest"}},
            "is no phase of another recipe",
        ),
        ({"training": {"from": "artifact:base/first"}}, "is not artifact:RECIPE/STAGE/NAME@TAG"),
        (
            {"training": {"from": "artifact:nobody/training/first@latest"}},
            "is not in the store .*; make it first: run the recipe nobody",
        ),
        ({"model": {"create": SHAPE}}, r"model: training.from goes on with .*\(model: null\)"),
        ({"loop": {}}, "training.from: later runs of a loop go on from the promoted run"),
        ({"evaluation": {"models": ["model"]}}, "'model' is not in this recipe.*; it has: base, "),
    ],
)
def test_what_rules_it_out_is_refused_when_it_is_planned(
    folder: Path, base: dict[str, Artifact], changes: dict[str, Any], told: str
) -> None:
    file = recipe(folder, "wrong", SECOND, origin=ORIGIN, **changes)
    assert re.search(told, refusal(file, folder / "store"))


def test_another_tokenizer_is_refused_as_soon_as_there_is_one(
    folder: Path, base: dict[str, Artifact]
) -> None:
    tokenizer = {"train": {"size": 380, "from": ["en", "zh"]}}
    file = recipe(folder, "other", SECOND, origin=ORIGIN, tokenizer=tokenizer)
    made = run_direct(file, folder / "store", INLINE, until="tokenizer")["tokenizer/main"]
    told = refusal(file, folder / "store")
    assert f"{file}:" in told and f"another tokenizer than {made.identity}" in told


def test_other_bins_are_drawn_anew_or_refused(folder: Path, base: dict[str, Artifact]) -> None:
    sources = {
        name: {
            "ingest": {"format": "jsonl", "paths": [f"{name}.jsonl"], "limit": limit},
            "category": name,
        }
        for name, limit in (("en", 18), ("zh", 30))
    }
    tokenizer = {"base": "artifact:base/training/first@latest"}
    same = {"sources": sources, "tokenizer": tokenizer, "origin": ORIGIN}
    file = recipe(folder, "fewer", SECOND, **same)
    run_direct(file, folder / "store", INLINE, until="binning")
    told = refusal(file, folder / "store")
    assert re.search(
        r"fewer.yaml:\d+: training.phases.second.data: continue, but the bins of 'en' had "
        r"\[\d+, \d+\] rows in the phase before and have \[\d+, \d+\] now; set data: restart",
        told,
    ), told
    anew = recipe(folder, "anew", {**SECOND, "data": "restart"}, **same)
    (facts,) = prepare(RunRequest.of(anew, store=str(folder / "store"))).phases
    assert facts.start == 512 and facts.epochs_total == facts.epochs != {}
