"""Text of five kinds from the shared data, as JSON lines of pieces of a few paragraphs:

    web      English pages (C4, FineWeb)
    books    English novels
    german   German novels
    chinese  a Chinese weekly on technology, and passages of Chinese Wikipedia
    tex      papers as LaTeX

The bytes are the same every time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

PIECE = 1_200
"""Characters of a piece, at least; a piece ends with a paragraph or a line."""

LIMIT = {
    "web": 1_600_000,
    "books": 3_200_000,
    "german": 1_600_000,
    "chinese": 800_000,
    "tex": 1_000_000,
}
"""Characters of each category; their proportions are the natural shares, more or less."""


def write(data: Path, folder: Path) -> None:
    """All five files."""
    folder.mkdir(parents=True, exist_ok=True)
    for category, texts in _texts(data).items():
        lines, size = [], 0
        for piece in _spread(list(texts)):
            if size >= LIMIT[category]:
                break
            lines.append(json.dumps({"text": piece}, ensure_ascii=False))
            size += len(piece)
        (folder / f"{category}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _texts(data: Path) -> dict[str, Iterator[str]]:
    books = sorted((data / "prose_en" / "classic-books").rglob("*.md"))
    novels = sorted((data / "prose_multi" / "eltec-deu").glob("*.xml"))
    weekly = sorted((data / "prose_zh" / "ruanyf-weekly" / "docs").glob("*.md"))
    return {
        "web": _web(data / "web_en"),
        "books": (piece for file in books for piece in pieces(_read(file))),
        "german": (p for file in novels for p in pieces(re.sub(r"<[^>]+>", "", _read(file)))),
        "chinese": (piece for file in weekly for piece in pieces(_read(file), PIECE // 3)),
        "tex": _field(data / "domain" / "llm-foundry-arxiv" / "arxiv.jsonl"),
    }


def _web(folder: Path) -> Iterator[str]:
    yield from pieces(_read(folder / "fineweb-sample" / "fineweb_sample.txt"))
    yield from _field(folder / "llamafactory" / "c4_demo.jsonl")


def _field(file: Path) -> Iterator[str]:
    for line in _read(file).splitlines():
        if line.strip():
            yield from pieces(json.loads(line)["text"])


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def pieces(text: str, size: int = PIECE) -> Iterator[str]:
    """Whole lines, joined until a piece has `size` characters; the rest of a text is dropped."""
    lines: list[str] = []
    for line in text.splitlines():
        line = re.sub(r"\s+", " ", line).strip()
        if line:
            lines += [line[start : start + size] for start in range(0, len(line), size)]
        if sum(map(len, lines)) >= size:
            yield "\n".join(lines)
            lines = []


def _spread(texts: list[str]) -> Iterator[str]:
    """All texts, of all parts of the list early: a limit then takes some of each book."""
    steps = 97
    for start in range(steps):
        yield from texts[start::steps]
