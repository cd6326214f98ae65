"""Text that the claims need beside the demo's crawl:

    fresh/en.jsonl, zh.jsonl   pages about the demo's country that its crawl does not hold
    mirrors.jsonl              a few pages of the crawl, each copied many times with a line changed
    books.jsonl                excerpts of real books, as long as the context that they extend to

The bytes are the same every time.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DEMO = Path(__file__).resolve().parents[3] / "configs" / "demo"
PAGES = 300
"""Fresh pages of each language; every second one is held out, up to 120."""
MIRRORED, COPIES = 24, 60
"""Pages of each language that are copied, and how often: as many pages as the crawl has."""
EXCERPT = 2200
"""Characters: some 1,000 tokens of a vocabulary of 512."""
EXCERPTS_PER_BOOK = 16


def fresh_pages(language: str, count: int = PAGES) -> list[str]:
    """Texts of `count` pages with the facts of the demo's crawl in other pages than its own; none
    leaks a question.
    """
    world = demo("world").World(0)
    crawled = {page.text for page in world.pages(language)}
    world.seed = -1  # the entities stay; only what is drawn from now on differs
    texts = sorted(
        page.text
        for page in world.pages(language)
        if page.kind != "leak" and page.text not in crawled
    )
    return random.Random(0).sample(texts, count)


def mirrors(language: str, pages: int = MIRRORED, copies: int = COPIES) -> list[str]:
    """`copies` near copies of each of some of the crawl's pages, as few sites are mirrored most."""
    rng = random.Random(f"mirrors/{language}")
    crawled = [page for page in demo("world").World(0).pages(language) if page.kind != "leak"]
    near_copy = demo("generate").near_copy
    return [near_copy(page, rng).text for page in rng.sample(crawled, pages) for _ in range(copies)]


def demo(module: str) -> Any:
    """A module of the demo's generator, which is a script with neighbours."""
    sys.path.insert(0, str(DEMO))
    try:
        return importlib.import_module(module)
    finally:
        sys.path.remove(str(DEMO))


def excerpts(books: Sequence[str], count: int = EXCERPTS_PER_BOOK) -> list[str]:
    """`count` excerpts of each book of EXCERPT characters, evenly over it and apart; of a shorter
    book, as many as it has.
    """
    found = []
    for book in books:
        places = len(book) // EXCERPT
        taken = min(count, places)
        for number in range(taken):
            start = number * places // taken * EXCERPT
            found.append(book[start : start + EXCERPT])
    return found


def write(folder: Path, books: Sequence[Path]) -> None:
    """All files, those that are there already too; without books, no books.jsonl."""
    texts = {f"fresh/{language}.jsonl": fresh_pages(language) for language in ("en", "zh")}
    texts["mirrors.jsonl"] = [text for language in ("en", "zh") for text in mirrors(language)]
    if books:
        texts["books.jsonl"] = excerpts([path.read_text("utf-8") for path in sorted(books)])
    for name, lines in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = (json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in lines)
        path.write_text("".join(rows), encoding="utf-8")
