"""A schedule over crawls: each recipe names the earlier ones' select artifacts, and all lose what
one run loses.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from infra.engine import EngineConfig
from infra.store import Artifact
from tests.end_to_end.direct import run_direct

INLINE = EngineConfig(kind="inline")
CRAWLS = ("january", "february", "march")


def crawls(seed: int) -> dict[str, list[str]]:
    """Pages of three crawls: own ones, copies, and near copies (one word in a hundred changed) of
    earlier ones.
    """
    rng = random.Random(seed)
    words = [f"w{number}" for number in range(4_000)]
    found: dict[str, list[str]] = {}
    seen: list[str] = []
    for crawl in CRAWLS:
        pages = [" ".join(rng.choices(words, k=120)) for _ in range(40)]
        for page in rng.sample(seen, min(len(seen), 20)):
            changed = page.split()
            if rng.random() < 0.6:
                changed[rng.randrange(len(changed))] = rng.choice(words)
            pages.append(" ".join(changed))
        rng.shuffle(pages)
        found[crawl] = pages
        seen += pages
    return found


def write(folder: Path, name: str, sources: Sequence[str], dedup: Mapping[str, object]) -> Path:
    section = {
        source: {"ingest": {"format": "jsonl", "paths": [f"{source}.jsonl"]}, "category": "web"}
        for source in sources
    }
    recipe = {
        "name": name,
        "sources": section,
        "dedup": {"prefer": ["length"], **dedup},
        "select": {"heldout": None},
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(recipe))
    return path


def survivors(artifacts: Mapping[str, Artifact]) -> dict[str, list[str]]:
    """Source -> ids that select wrote."""
    return {
        artifact.name: sorted(
            json.loads(line)["id"]
            for file in artifact.files("web/")
            for line in artifact.path(file).read_text().splitlines()
        )
        for artifact in artifacts.values()
        if artifact.stage == "select"
    }


def test_three_crawls_one_by_one_keep_what_one_run_over_all_keeps(tmp_path: Path) -> None:
    for crawl, pages in crawls(5).items():
        lines = (json.dumps({"text": page}) for page in pages)
        (tmp_path / f"{crawl}.jsonl").write_text("\n".join(lines) + "\n")
    store = tmp_path / "store"
    monthly: dict[str, list[str]] = {}
    history: list[str] = []
    for crawl in CRAWLS:
        recipe = write(tmp_path, f"crawl-{crawl}", [crawl], {"history": list(history)})
        monthly |= survivors(run_direct(recipe, store, INLINE, until="select"))
        history.append(f"artifact:crawl-{crawl}/select/{crawl}@latest")
    together = write(tmp_path, "all", CRAWLS, {"crawls": [[crawl] for crawl in CRAWLS]})
    at_once = survivors(run_direct(together, store, INLINE, until="select"))
    assert monthly == at_once
    assert [len(monthly[crawl]) for crawl in CRAWLS] == [40, 40, 40]
    unordered = survivors(
        run_direct(write(tmp_path, "loose", CRAWLS, {}), store, INLINE, until="select")
    )
    assert (
        sum(map(len, unordered.values())) == 120 and unordered != at_once
    )  # by length alone, later copies win too


def test_a_crawl_that_was_never_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "march.jsonl").write_text('{"text": "a page"}\n')
    recipe = write(
        tmp_path, "late", ["march"], {"history": ["artifact:crawl-january/select/january@latest"]}
    )
    with pytest.raises(RecipeError, match="make it first: run the recipe crawl-january"):
        prepare(RunRequest.of(recipe, (), str(tmp_path / "store"))).refuse_unresolved()


def test_an_index_that_cannot_be_compared_is_refused_by_the_plan(tmp_path: Path) -> None:
    for crawl in CRAWLS[:2]:
        (tmp_path / f"{crawl}.jsonl").write_text('{"text": "a page of some words"}\n')
    store = tmp_path / "store"
    run_direct(write(tmp_path, "first", ["january"], {}), store, INLINE, until="select")
    history = ["artifact:first/select/january@latest"]
    assert prepare(
        RunRequest.of(write(tmp_path, "same", ["february"], {"history": history}), (), str(store))
    ).plan.to_run()
    other = write(tmp_path, "other", ["february"], {"history": history, "rows": 4})
    with pytest.raises(
        RecipeError, match=r"other\.yaml:1: the index of select/january@.* was made with rows = 8"
    ):
        prepare(RunRequest.of(other, (), str(store)))
