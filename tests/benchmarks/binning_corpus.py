"""Distinct text of any size for benchmarks of binning: real documents, edited anew in every round.

An encoder that remembers words meets new ones all the time: in every round one word in twenty is
another (half of them words that stand nowhere else), in Chinese one character in twenty. Documents
have the lengths of the real ones, from 200 characters to whole books cut into chapters of at most
40,000 characters.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

FOLDERS = {"en": ("prose_en", "web_en"), "zh": ("prose_zh",)}
SHORTEST, LONGEST = 200, 40_000
EDITED = 0.05
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_CHINESE = re.compile("[\u4e00-\u9fff]")


def documents(data: Path, language: str, seed: int = 11) -> list[str]:
    """The real documents of a language, cut at paragraphs to lengths between the limits."""
    dice = random.Random(seed)
    found: list[str] = []
    for folder in FOLDERS[language]:
        for path in sorted((data / folder).rglob("*")):
            if path.suffix not in (".txt", ".md") or not path.is_file():
                continue
            paragraphs = path.read_text("utf-8", "replace").split("\n\n")
            part: list[str] = []
            wanted, length = _length(dice), 0
            for paragraph in paragraphs:
                part.append(paragraph)
                length += len(paragraph) + 2
                if length >= wanted:
                    found.append("\n\n".join(part)[:LONGEST])
                    part, wanted, length = [], _length(dice), 0
            if length >= SHORTEST:
                found.append("\n\n".join(part)[:LONGEST])
    if language == "zh":
        found = [text for text in found if len(_CHINESE.findall(text)) > len(text) / 2]
    dice.shuffle(found)
    return found


def _length(dice: random.Random) -> float:
    """Characters of a document: lognormal, as on the web."""
    return min(max(dice.lognormvariate(7.6, 1.1), SHORTEST), LONGEST)


def distinct(data: Path, language: str, size: int, seed: int = 11) -> Iterator[str]:
    """Documents of `size` bytes in all (UTF-8), edited anew in every round."""
    originals = documents(data, language)
    dice = random.Random(seed)
    words = sorted({word for text in originals[:2_000] for word in text.split(" ") if word})
    characters = sorted(set(_CHINESE.findall("".join(originals[:2_000])))) or ["中"]
    made = 0
    while True:
        for text in originals:
            edited = (
                _english(text, words, dice)
                if language == "en"
                else _chinese(text, characters, dice)
            )
            yield edited
            made += len(edited.encode())
            if made >= size:
                return


def _english(text: str, words: list[str], dice: random.Random) -> str:
    parts = text.split(" ")
    for at in _places(len(parts), dice):
        if dice.random() < 0.5:
            parts[at] = dice.choice(words)
        else:
            cut = dice.randrange(len(parts[at]) + 1)
            parts[at] = parts[at][:cut] + "".join(dice.choices(_LETTERS, k=2)) + parts[at][cut:]
    return " ".join(parts)


def _chinese(text: str, characters: list[str], dice: random.Random) -> str:
    parts = list(text)
    for at in _places(len(parts), dice):
        if "\u4e00" <= parts[at] <= "\u9fff":
            parts[at] = dice.choice(characters)
    return "".join(parts)


def _places(count: int, dice: random.Random) -> list[int]:
    return [dice.randrange(count) for _ in range(int(count * EDITED) + 1)]


def write_selected(path: Path, texts: Iterator[str], language: str) -> tuple[int, int]:
    """Write texts as select does; returns documents and bytes of text."""
    count = size = 0
    with path.open("w") as sink:
        for count, text in enumerate(texts, 1):
            row = {
                "source": "", "target": text, "category": "web", "id": f"{count:032x}",
                "url": "", "language": language, "file": "a", "offset": 0,
            }  # fmt: skip
            sink.write(json.dumps(row, ensure_ascii=False) + "\n")
            size += len(text.encode())
    return count, size
