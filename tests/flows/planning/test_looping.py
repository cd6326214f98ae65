"""What a later crawl takes from the runs before it, as a function of recipe and history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.planning.looping.continuing import continued, waits_for, without_effect
from flows.planning.looping.fresh import count, only_new
from flows.planning.looping.history import History, PastRun, key_of
from flows.planning.wiring import stages
from flows.recipe.file import RecipeError
from flows.recipe.read import read_recipe
from flows.recipe.sections import Recipe
from infra.stage import Pin


def written(folder: Path, **changes: Any) -> Path:
    """A recipe over crawls in two languages, with text to replay and a base."""
    source = {"format": "jsonl", "paths": ["x.jsonl"]}
    data = {
        "name": "loop",
        "sources": {
            "zh": {"ingest": source, "perplexity": {}, "langid": {}, "category": "web-zh"},
            "en": {"ingest": source, "category": "web-en"},
            "replay": {"ingest": source, "category": "web-en", "again": True},
            "prose": {"ingest": source},
        },
        "language_models": {"zh": {"sources": ["prose"]}},
        "dedup": {"prefer": ["length"], "crawls": [["zh"], ["en", "replay"]]},
        "tokenizer": {"base": "base", "expand": {"size": 600, "from": ["zh"]}},
        "model": {
            "base": "base",
            "layers": [0, 1],
            "context": {"positions": 256, "rope": {"type": "yarn"}},
        },
        "binning": {"sequence_length": 64},
        "training": {
            "batch": 512,
            "phases": [
                {"name": "align", "tokens": "4K", "trainable": "new-rows"},
                {"name": "learn", "tokens": "4K", "mixture": {"web-zh": 0.5, "web-en": "rest"}},
            ],
        },
        "evaluation": {"models": ["align", "learn"], "protocols": ["bits-per-byte"]},
        "loop": {"phases": ["learn"]},
        **changes,
    }
    file = folder / "loop.yaml"
    file.write_text(json.dumps(data, indent=1))
    return file


def past(recipe: Recipe, run: str, mark: str) -> PastRun:
    """A run that built all of the recipe, in versions that begin with a letter."""
    ids = list(stages(recipe).nodes)
    versions = {id: f"{mark}{number:02}" for number, id in enumerate(ids)}
    return PastRun(run, versions, {}, recipe.data())


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return read_recipe(written(tmp_path))


def test_vectors_of_all_crawls_are_sums_of_one_table(tmp_path: Path) -> None:
    vectors = {"embeddings": {"model": "base"}, "semantic": {"keep": "<0.9"}}
    recipe = read_recipe(written(tmp_path, **vectors))
    history = History("loop", (past(recipe, "one", "a"),))
    made, taken = continued(recipe, history, ["zh"])
    assert taken.pins["token_vectors/main"] == history.runs[0].versions["token_vectors/main"]
    nodes = stages(made, taken).nodes
    assert {"token_vectors/main", "embeddings/zh", "embeddings/replay"} <= nodes.keys()
    assert len(nodes["neighbours/main"].inputs["history"]) == 2
    apart = recipe.model_copy(
        update={"semantic": recipe.semantic.model_copy(update={"without": ("zh",)})}
    )
    made, taken = continued(apart, history, ["zh"])
    near = stages(made, taken).nodes["neighbours/main"].inputs
    assert near["documents"] == ("ingest/replay",) and len(near["history"]) == 1


def test_a_later_crawl_keeps_what_would_change_the_meaning_of_numbers(recipe: Recipe) -> None:
    history = History("loop", (past(recipe, "one", "a"), past(recipe, "two", "b")))
    one, two = history.runs
    made, taken = continued(recipe, history, ["zh"])
    assert list(made.sources) == ["zh", "replay"]
    assert made.dedup is not None and made.dedup.crawls == (("zh",), ("replay",))
    assert made.dedup.history == tuple(
        f"artifact:loop/select/{source}@{run.versions[f'select/{source}']}"
        for run in (one, two)
        for source in ("zh", "en")
    )
    assert taken.pins == {id: two.versions[id] for id in ("tokenizer/main", "language_model/zh")}
    assert str(taken.calibration) == f"artifact:loop/cut/main@{two.versions['cut/main']}"
    assert tuple(map(str, taken.earlier)) == made.dedup.history
    assert made.model is not None and made.model.layers is made.model.context is None
    assert made.model.base == f"artifact:loop/training/learn@{two.versions['training/learn']}"
    assert made.training is not None and [p.name for p in made.training.phases] == ["learn"]
    assert made.evaluated_models() == ("base", "learn")
    nodes = stages(made, taken).nodes
    assert nodes["evaluation/base"].inputs["model"] == (history.of_last("training/learn"),)
    assert nodes["cut/main"].inputs["calibration"] == (taken.calibration,)
    assert len(nodes["scorecard/main"].inputs["promoted"]) == len(two.versions)
    assert "ingest/prose" not in nodes and nodes["language_model/zh"].inputs == {}


def test_a_first_run_is_the_recipe_as_it_stands(recipe: Recipe) -> None:
    made, taken = continued(recipe, History("loop"), ["zh", "en"])
    assert made is recipe and not taken.pins and not taken.promoted
    nodes = stages(made, taken).nodes
    assert "promoted" not in nodes["scorecard/main"].inputs
    assert "calibration" not in nodes["cut/main"].inputs


def test_other_percentiles_calibrate_anew(tmp_path: Path, recipe: Recipe) -> None:
    history = History("loop", (past(recipe, "one", "a"),))
    other = read_recipe(written(tmp_path, percentiles={"head": 20}))
    assert continued(other, history, ["zh"])[1].calibration is None


def test_training_waits_for_categories_without_anything_new(recipe: Recipe) -> None:
    (why,) = waits_for(recipe, ["en"])
    assert why.startswith("phase learn reads web-zh, and zh has nothing new for it")
    assert not list(waits_for(recipe, ["zh"]))  # web-en has text to replay


def test_settings_of_what_is_kept_are_said_to_have_no_effect(
    tmp_path: Path, recipe: Recipe
) -> None:
    history = History("loop", (past(recipe, "one", "a"),))
    assert not list(without_effect(recipe, history))
    tokenizer = {"base": "base", "expand": {"size": 700, "from": ["zh"]}}
    (remark,) = without_effect(read_recipe(written(tmp_path, tokenizer=tokenizer)), history)
    assert remark.startswith("tokenizer.expand.size: 600 -> 700 has no effect")


def pin(name: str, sha256: str = "", etag: str = "") -> Pin:
    return Pin(f"/somewhere/{name}", name, sha256, 1, etag)


def test_a_file_is_new_by_its_content_whatever_its_name() -> None:
    read = {key_of(pin("a.jsonl", "aa")), key_of(pin("b.gz", etag="1"))}
    files = {
        "paths": (
            pin("2024/renamed.jsonl", "aa"),
            pin("a.jsonl", "cc"),
            pin("2024/b.gz", etag="1"),
            pin("2024/c.gz", etag="1"),
        )
    }
    new = only_new(files, read)
    assert [one.name for one in new["paths"]] == ["a.jsonl", "2024/c.gz"] and count(new) == 2


def test_the_listing_of_a_crawl_stays_with_its_archives() -> None:
    def crawl(id: str, archives: int) -> tuple[Pin, ...]:
        names = [f"crawl-data/{id}/segments/1/warc/{n}.warc.gz" for n in range(archives)]
        return (pin(f"crawl-data/{id}/warc.paths.gz", id), *map(pin, names))

    first, second = crawl("CC-MAIN-2024-18", 2), crawl("CC-MAIN-2024-22", 2)
    new = only_new({"crawl": first + second}, {key_of(one) for one in first})
    assert new == {"crawl": second} and count(new) == 2
    assert only_new({"crawl": first}, {key_of(one) for one in first}) == {"crawl": ()}
    more = only_new({"crawl": crawl("CC-MAIN-2024-18", 3)}, {key_of(one) for one in first})
    assert [one.name.rpartition("/")[2] for one in more["crawl"]] == ["warc.paths.gz", "2.warc.gz"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"loop": {}}, "loop.phases: phase 'align' trains new rows"),
        ({"loop": {"phases": ["align"]}}, "loop.phases: the last phase, 'learn'"),
        ({"loop": {"phases": ["lern"]}}, "did you mean 'learn'"),
        ({"loop": {"phases": ["learn"], "may_fall": "a lot"}}, "such as 3 errors"),
        (
            {"loop": {"phases": ["learn"], "may_fall": {"heldout/web-fr": 0.1}}},
            "'heldout/web-fr' is nothing that this recipe scores",
        ),
        ({"loop": None}, "sources.replay.again: is for recipes that run once per crawl"),
        ({"dedup": None, "select": {"heldout": None}}, "dedup: later runs of a loop drop"),
    ],
)
def test_a_loop_that_cannot_go_on_is_refused(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(RecipeError, match=why) as refused:
        read_recipe(written(tmp_path, **changes))
    assert "loop.yaml:" in str(refused.value)


@pytest.mark.parametrize(
    ("stated", "row", "limit"),
    [
        (None, "mmlu", "3 standard errors"),
        (None, "earlier/web-zh", "0.02"),
        ("2 errors", "earlier/web-zh", "2 standard errors"),
        ({"*": 0.01, "heldout/web-*": None}, "heldout/web-zh", "None"),
        ({"*": 0.01, "heldout/web-*": None}, "mmlu", "0.01"),
        ({"mmlu": "1 error"}, "mmlu", "1 standard errors"),
    ],
)
def test_the_longest_pattern_that_fits_limits_a_score(
    tmp_path: Path, stated: Any, row: str, limit: str
) -> None:
    loop = {"phases": ["learn"]} | ({} if stated is None else {"may_fall": stated})
    benchmark = {"format": "multiple-choice", "paths": ["x.jsonl"]}
    section = {"tasks": ["mmlu"], "protocols": ["harness", "bits-per-byte"]}
    file = written(tmp_path, loop=loop, benchmarks={"mmlu": benchmark}, evaluation=section)
    found = read_recipe(file).loop
    assert found is not None and str(found.fall_of(row)) == limit
