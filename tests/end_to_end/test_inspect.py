"""`puna inspect`: what stays and what goes can be read, with what they differ in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from infra.engine import EngineConfig
from tests.end_to_end.direct import run_direct

PAGE = " ".join(f"word{number}" for number in range(150))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two crawls; the second has a copy and a near copy of the first one's page, and a page that
    only it has twice.
    """
    folder = tmp_path_factory.mktemp("inspect")
    pages = {
        "first": [PAGE, "alone"],
        "second": [PAGE, PAGE.replace("word75", "another"), "twice again", "twice again"],
    }
    for crawl, texts in pages.items():
        (folder / f"{crawl}.jsonl").write_text(
            "".join(json.dumps({"text": text}) + "\n" for text in texts)
        )
        recipe = {
            "name": crawl,
            "sources": {
                crawl: {
                    "ingest": {"format": "jsonl", "paths": [f"{crawl}.jsonl"]},
                    "category": "web",
                }
            },
            "dedup": {
                "history": [] if crawl == "first" else ["artifact:first/select/first@latest"]
            },
            "select": {"heldout": None},
        }
        (folder / f"{crawl}.yaml").write_text(json.dumps(recipe))
        run_direct(
            folder / f"{crawl}.yaml", folder / "store", EngineConfig(kind="inline"), until="select"
        )
    return folder / "store"


def inspect(store: Path, *words: str) -> Result:
    return CliRunner().invoke(
        app, ["inspect", "--stage", *(words or ("dedup",)), "--store", str(store)]
    )


def test_clusters_are_listed_the_largest_first(store: Path) -> None:
    rows = json.loads(inspect(store, "dedup", "--json").stdout)["clusters"]
    assert [(row["size"], row["exact"], row["near"]) for row in rows] == [(3, 1, 1), (2, 1, 0)]
    assert rows[0]["crawl"].startswith("select/first@") and rows[1]["crawl"] == ""
    assert "2 clusters" in inspect(store).stdout


def test_a_cluster_shows_the_kept_text_of_an_earlier_crawl_and_what_differs(store: Path) -> None:
    shown = inspect(store, "dedup", "--cluster", "1").stdout
    assert (
        "kept" in shown and "first of select/first@" in shown and "(exactly the same text)" in shown
    )
    assert "[-word75-]{+another+}" in shown and "near, similarity 0.934" in shown
    row = json.loads(inspect(store, "dedup", "--cluster", "1", "--json").stdout)["clusters"][0]
    by_member = inspect(
        store, "dedup", "--cluster", row["members"][-1]["id"][:8], "--members", "1"
    ).stdout
    assert row["representative"] in by_member and "1 more; show them with --members N" in by_member


def test_texts_are_shown_as_they_were_compared(tmp_path: Path) -> None:
    """Lines that stand all over the source take no part in deduplication, and none in what is
    shown.
    """
    menu = "\n".join(f"Menu {name}" for name in ("home", "news", "about"))
    texts = [f"{menu}\n{PAGE}", f"{menu}\n{PAGE.replace('word75', 'another')}", f"{menu}\nalone"]
    (tmp_path / "web.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in texts)
    )
    source = {
        "ingest": {"format": "jsonl", "paths": ["web.jsonl"]},
        "category": "web",
        "line_dedup": {"keep": "none"},
    }
    for name, history in (("web", []), ("again", ["artifact:web/select/web@latest"])):
        recipe = {
            "name": name,
            "sources": {name: source},
            "dedup": {"history": history, "accept": True},
            "select": {"heldout": None},
        }
        (tmp_path / f"{name}.yaml").write_text(json.dumps(recipe))
        run_direct(
            tmp_path / f"{name}.yaml",
            tmp_path / "store",
            EngineConfig(kind="inline"),
            until="select",
        )
        shown = inspect(tmp_path / "store", "dedup", "--cluster", "1").stdout
        assert "near, similarity 0.934" in shown and "Menu" not in shown
        assert "[-word75-]{+another+}" in shown or "[-another-]{+word75+}" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("dedup", "--cluster", "nothing"), "no cluster lists a document 'nothing'"),
        (("select/second",), "select decides nothing about documents; inspect reads ingest"),
        (("dedupe",), "dedupe"),
    ],
)
def test_what_is_not_there_is_named(store: Path, words: tuple[str, ...], message: str) -> None:
    refused = inspect(store, *words)
    assert refused.exit_code == 2 and message in refused.stderr
