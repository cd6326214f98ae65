"""A mixture search from the recipe to a phase that draws by it, and what a rerun repeats."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

import tasks.evaluation.evaluate
import tasks.training.loop  # noqa: F401  (once, before processes are forked)
from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from infra.engine import EngineConfig
from infra.store import Artifact
from tests.end_to_end.direct import run_direct
from tests.end_to_end.world import jsonl, paragraph
from tests.tasks.training import forked

pytestmark = pytest.mark.timeout(900)

SHAPE = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "tie_word_embeddings": True,
}
ENGINE = EngineConfig(kind="inline", cpu_threads=1)


def search(**changes: Any) -> dict[str, Any]:
    """A search of five proxies."""
    proxies = [{"create": SHAPE, "tokens": "16 rows", "draws": 5}]
    return {"proxies": proxies, "law": "linear", "level": 0.8, "resamples": 20} | changes


MAIN = search(categories=["en", "zh"], targets={"en": 1, "zh": 1, "exam": 0.1})


def recipe(
    folder: Path, names: tuple[str, ...] = ("en", "zh"), digits: int = 2, **sections: Any
) -> Path:
    """Write the recipe beside its texts; `digits`: the seed of one of them."""
    for name, seed in (("en", 0), ("zh", 1), ("digits", digits)):
        rng = random.Random(seed)
        texts = [
            " ".join(str(rng.randrange(10**6)) for _ in range(60))
            if name == "digits"
            else paragraph(rng, name)
            for _ in range(60)
        ]
        jsonl(folder / f"{name}.jsonl", [{"text": text} for text in texts])
    jsonl(
        folder / "exam.jsonl",
        [{"question": f"{n}?", "choices": ["salt", "silk"], "answer": n % 2} for n in range(4)],
    )
    values = {
        "name": "mixing",
        "sources": {
            name: {"ingest": {"format": "jsonl", "paths": [f"{name}.jsonl"]}, "category": name}
            for name in names
        },
        "select": {"heldout": {"fraction": 0.1, "max_documents": 3}},
        "benchmarks": {"exam": {"format": "multiple-choice", "paths": ["exam.jsonl"]}},
        "tokenizer": {"train": {"size": 300, "from": ["en"]}},
        "model": {"create": SHAPE},
        "binning": {"sequence_length": 32},
        "mixtures": {"main": MAIN},
        "training": {
            "batch": "4 rows",
            "optimizer": {"lr": 1e-2},
            "phases": [{"name": "one", "tokens": "16 rows", "mixture": {"from": "main"}}],
        },
    } | sections
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def run(path: Path, folder: Path, until: str | None = None) -> dict[str, Artifact]:
    """Run it, with training processes that are forked."""
    with forked.workers():
        return run_direct(path, folder / "store", ENGINE, until=until)


def to_run(path: Path, folder: Path) -> list[str]:
    """What a plan would run."""
    prepared = prepare(RunRequest.of(path, store=str(folder / "store")))
    return [step.id for step in prepared.plan.to_run()]


def test_a_phase_draws_by_what_the_search_proposes_and_a_rerun_repeats_what_is_missing(
    tmp_path: Path,
) -> None:
    path = recipe(tmp_path)
    first = prepare(RunRequest.of(path, store=str(tmp_path / "store")))
    assert first.phases[0].assumed == "equal shares, until main is made"
    run(path, tmp_path, until="training/proxy~main~0-03")
    left = to_run(path, tmp_path)
    assert "training/proxy~main~0-03" not in left
    assert {id for id in left if id.startswith("training/proxy")} == {
        f"training/proxy~main~0-0{number}" for number in (0, 1, 2, 4)
    }
    made = run(path, tmp_path)
    found = json.loads(made["mixture/main"].path("fit.json").read_text())
    shares = made["shares/main"].statistics["shares"]
    assert sum(shares.values()) == pytest.approx(1)
    assert len(found["proxies"]) == 5 and not found["proxies"][0]["left_out"]
    losses = found["proxies"][0]["losses"]
    assert {target.partition("@")[0] for target in losses} == {"en", "zh", "exam"}
    assert all(0 < loss < 30 for loss in losses.values())
    for category, rows in made["training/one"].statistics["rows"].items():
        assert abs(rows - 16 * shares[category]) <= 1
    assert to_run(path, tmp_path) == []
    forced = prepare(
        RunRequest.of(path, store=str(tmp_path / "store"), force=["mixture/main"])
    ).plan.steps
    unless = "is rebuilt, unless it turns out to hold the same"
    assert forced["shares/main"].why == f"mixture/main {unless}"
    assert forced["training/one"].why == f"shares/main {unless}"
    planned = prepare(RunRequest.of(path, store=str(tmp_path / "store")))
    assert planned.phases[0].mixture_start == {c: s for c, s in shares.items() if s}
    assert planned.phases[0].assumed == "" and planned.searches[0].proposed == shares
    for limits, words in (
        ({"for": {"tokens": "1M"}, "max_epochs": 4}, "no mixture meets all limits: 1,000,000"),
        (
            {"for": {"tokens": "100K"}, "max_epochs": {"en": 1, "zh": 99}}
            | {"shares": {"en": {"min": 0.9}}},
            "mixtures.main.shares.en.min: 0.9 of 100,000 tokens is more than max_epochs allow",
        ),
    ):
        with pytest.raises(RecipeError, match=words):
            to_run(recipe(tmp_path, mixtures={"main": MAIN | limits}), tmp_path)
    page = made["report/mixing"].records.read("report.html").decode()
    assert "proposed" in page and "proxy~main" not in page.split("Laws, and the proxies")[0]

    # other resamples search again with the same proxies; shares that stay change no phase
    again = recipe(tmp_path, mixtures={"main": {**MAIN, "resamples": 21}})
    assert set(to_run(again, tmp_path)) >= {"mixture/main", "shares/main"}
    assert not [id for id in to_run(again, tmp_path) if "proxy" in id]
    remade = run(again, tmp_path)
    assert remade["shares/main"].statistics["shares"] == shares
    assert remade["shares/main"].version != made["shares/main"].version
    assert remade["training/one"].version == made["training/one"].version

    # more draws train those alone
    more = {**MAIN, "proxies": [{**MAIN["proxies"][0], "draws": 6}]}
    left = to_run(recipe(tmp_path, mixtures={"main": more}), tmp_path)
    assert [id for id in left if id.startswith("training/proxy")] == ["training/proxy~main~0-05"]

    # a source that is added keeps the ratios of the others, and trains its own proxies alone
    names = ("en", "zh", "digits")
    both = {
        "main": MAIN,
        "next": search(
            given="main",
            search=["digits"],
            proxies=[{"create": SHAPE, "tokens": "16 rows", "draws": 4}],
        ),
    }
    phase = {"name": "one", "tokens": "16 rows", "mixture": {"from": "mixture/next"}}
    training = {"batch": "4 rows", "optimizer": {"lr": 1e-2}, "phases": [phase]}
    added = recipe(tmp_path, names, mixtures=both, training=training)
    before = {id: artifact.version for id, artifact in made.items() if "proxy~" in id}
    made = run(added, tmp_path)
    assert {id: made[id].version for id in before} == before  # what they read holds the same
    assert len([id for id in made if id.startswith("training/proxy~next")]) == 4
    with_digits = made["shares/next"].statistics["shares"]
    assert with_digits["digits"] > 0
    old = with_digits["en"] + with_digits["zh"]
    assert with_digits["en"] / old == pytest.approx(shares["en"], abs=0.01)
    told = json.loads(made["mixture/next"].path("fit.json").read_text())["proxies"]
    assert len(told) == 9  # those of `main` are fitted too
    assert made["training/one"].statistics["rows"]["digits"] > 0

    # a source that has changed is searched beside what the earlier search found, which stays
    given = "artifact:mixing/mixture/next@latest"
    again = search(given=given, search=["digits"], proxies=both["next"]["proxies"])
    phase["mixture"] = {"from": "again"}
    changed = recipe(tmp_path, names, 3, mixtures={"again": again}, training=training)
    left = [id for id in to_run(changed, tmp_path) if id.startswith("training/proxy")]
    assert left == [f"training/proxy~again~0-0{number}" for number in range(4)]
    made = run(changed, tmp_path)
    told = json.loads(made["mixture/again"].path("fit.json").read_text())["proxies"]
    columns = {column for proxy in told for column in proxy["shares"]}
    assert len(told) == 13 and len([c for c in columns if c.startswith("digits@")]) == 2
    found = made["shares/again"].statistics["shares"]
    assert found["en"] / (found["en"] + found["zh"]) == pytest.approx(shares["en"], abs=0.01)
