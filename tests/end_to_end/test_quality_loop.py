"""A loop keeps the first crawl's rubric, classifier and cut-offs; a later crawl asks nothing."""

from __future__ import annotations

import json
import random
from pathlib import Path

from infra.engine import EngineConfig
from infra.store import Store
from tests.end_to_end.direct import run_turn
from tests.end_to_end.test_quality_curves import by_words
from tests.loopback.chat import ChatServer, chatting
from tests.tables import column
from tests.tasks.classifier.corpora import text

RECIPE = """\
name: growing
sources:
  web:
    ingest: {format: jsonl, paths: ["crawls/*.jsonl"]}
    category: web
    classifiers: {edu: {keep: {top: 0.5}}}
labels:
  edu:
    sources: [web]
    sample: 200
    prompt: "Score this. <text>{text}</text>"
    endpoint: {url: "URL", model: rules}
classifiers:
  edu: {labels: edu, minimum: 20, fasttext: {dim: 8, epochs: 20, min_count: 1}}
loop: {}
"""


def drop(folder: Path, name: str, good: float, seed: int) -> None:
    """A crawl of 160 documents, a share of them good."""
    rng = random.Random(seed)
    lines = [json.dumps({"text": text(rng, rng.random() < good, words=60)}) for _ in range(160)]
    path = folder / "crawls" / f"{name}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")


def test_a_later_crawl_is_judged_as_the_first(tmp_path: Path) -> None:
    drop(tmp_path, "one", 0.4, 1)
    chat, recipe = ChatServer(by_words), tmp_path / "growing.yaml"
    inline = EngineConfig(kind="inline", cpu_threads=1)
    store = Store.at(str(tmp_path / "store"))
    with chatting(chat) as url:
        recipe.write_text(RECIPE.replace("URL", url), encoding="utf-8")
        first = run_turn(recipe, tmp_path / "store", inline)
    assert first["status"] == "completed", first
    asked = sum(chat.answered.values())
    cut = store.open("cut/main")
    assert abs(column(cut, "repeats").count(1) - 80) <= 8
    drop(tmp_path, "two", 0.9, 2)  # the server is gone: nothing may be asked
    second = run_turn(recipe, tmp_path / "store", inline)
    assert second["status"] == "completed", second
    assert sum(chat.answered.values()) == asked
    versions = [
        {stage["stage"]: stage["version"] for stage in run["stages"]} for run in (first, second)
    ]
    kept = {stage["stage"] + "/" + stage["name"]: stage["result"] for stage in second["stages"]}
    assert kept["labels/edu"] == kept["classifier/edu"] == "hit"
    assert versions[0]["scores"] != versions[1]["scores"]
    (later,) = [
        found
        for version in store.root.child("cut/main").folders()
        if (found := store.find("cut", "main", version)) and found.version != cut.version
    ]
    # by its own percentiles, a half of the better crawl would be kept
    assert column(later, "repeats").count(1) > 100
    before, after = (one.statistics["curves"] for one in (cut, later))
    assert [c["limits"] for c in before] == [c["limits"] for c in after]
