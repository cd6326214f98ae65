"""`sources.X.dedup: false`: documents that are compared with none, and what that leaves alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from infra.engine import EngineConfig
from infra.store import Artifact
from tests.end_to_end.direct import run_direct
from tests.end_to_end.world import jsonl, paragraph

INLINE = EngineConfig(kind="inline")
WEB = """\
name: apart
sources:
  web:
    ingest: {format: jsonl, paths: [web.jsonl]}
    category: web
"""
BOOKS = """\
  books:
    ingest: {format: jsonl, paths: [books.jsonl]}
    category: books
    dedup: false
"""
REST = """\
select: {heldout: {fraction: 0.2, max_documents: 5}}
tokenizer: {train: {size: 300}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = random.Random(3)
    texts = [{"text": paragraph(rng, "en")} for _ in range(30)]
    jsonl(tmp_path / "web.jsonl", [*texts, *texts[:6]])
    jsonl(tmp_path / "books.jsonl", [*texts[10:20], *texts[10:14]])
    return tmp_path


def recipe(folder: Path, *parts: str) -> Path:
    (folder / "r.yaml").write_text("".join(parts))
    return folder / "r.yaml"


def counts(artifact: Artifact) -> tuple[int, int, int]:
    """Documents read, kept and dropped."""
    ledger = artifact.manifest.ledger
    return tuple(ledger.documents(side) for side in ("read", "kept", "dropped"))  # type: ignore


def test_its_documents_neither_win_nor_lose_and_the_others_are_not_built_again(
    folder: Path,
) -> None:
    before = run_direct(recipe(folder, WEB, REST), folder / "store", INLINE)
    built = run_direct(recipe(folder, WEB, BOOKS, REST), folder / "store", INLINE)
    assert counts(built["select/books"]) == (14, 14, 0)  # its own copies, and web's, stay
    assert counts(built["select/web"]) == (36, 30, 6)
    assert built["dedup/main"].manifest.ledger.documents("read", source="books") == 0
    assert "signatures/books" not in built
    assert built["dedup/main"].digest == before["dedup/main"].digest
    assert built["select/web"].digest == before["select/web"].digest
    sides = built["select/books"].statistics["categories"]["books"]
    assert sides["held_out"]["documents"] == 0 and not built["select/books"].files("index/")
    assert built["select/books"].statistics["deduplicated"] is False
    assert built["select/web"].statistics["deduplicated"] is True
    page = built["report/apart"].records.read("report.html").decode()
    assert "Documents of these sources were compared with none (dedup: false): books (14)." in page
    assert "not deduplicated" in page


def test_a_recipe_of_such_sources_alone_has_no_dedup(folder: Path) -> None:
    alone = WEB + "    dedup: false\n"
    built = run_direct(recipe(folder, alone, REST), folder / "store", INLINE)
    assert "dedup/main" not in built and counts(built["select/web"]) == (36, 36, 0)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            "dedup: null\nselect: {heldout: null}\n",
            r"r.yaml:\d+: sources.books.dedup: .*`dedup: null",
        ),
        ("dedup: {crawls: [[books]]}\n", r"dedup.crawls: 'books' has `dedup: false`; remove one"),
        ("loop: {}\n", r"r.yaml:\d+: sources.books.dedup: later runs .* again: true"),
    ],
)
def test_what_contradicts_it_is_refused(folder: Path, more: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        prepare(RunRequest.of(recipe(folder, WEB, BOOKS, "tokenizer: {base: x}\n", more)))
    text = "  text:\n    ingest: {format: jsonl, paths: [web.jsonl]}\n    dedup: true\n"
    with pytest.raises(RecipeError, match=r"sources.text.dedup: the source has no category"):
        prepare(RunRequest.of(recipe(folder, WEB, text, REST)))
