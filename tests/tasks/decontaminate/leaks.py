"""Real benchmark items planted in real prose, in the forms in which leaks appear on pages."""

from __future__ import annotations

import functools
import html
import json
import random
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.benchmarks.formats import LETTERS
from tasks.benchmarks.model import BenchmarkFiles, Format
from tasks.benchmarks.read import Item, read_items
from tasks.ingest.clean import clean
from tasks.ingest.page import html_text
from tasks.text.scripts import unspaced_share

FILES: dict[str, tuple[Format, str]] = {
    "arc_easy": ("arc", "llm-foundry/world_knowledge/arc_easy.jsonl"),
    "arc_challenge": ("arc", "llm-foundry/world_knowledge/arc_challenge.jsonl"),
    "openbookqa": ("openbookqa", "llm-foundry/commonsense_reasoning/openbook_qa.jsonl"),
    "piqa": ("piqa", "llm-foundry/commonsense_reasoning/piqa.jsonl"),
    "boolq": ("boolq", "llm-foundry/reading_comprehension/boolq.jsonl"),
    "winogrande": ("winogrande", "llm-foundry/language_understanding/winogrande.jsonl"),
    "gsm8k": ("gsm8k", "llm-foundry/symbolic_problem_solving/gsm8k.jsonl"),
    "truthfulqa": ("truthfulqa", "truthfulqa/TruthfulQA.csv"),
    "mmlu": ("mmlu", "olmo-hf-arrow/**/test/*.arrow"),
    "cmmlu": ("cmmlu", "cmmlu/test/*.csv"),
    "ceval": ("ceval", "ceval-official/ceval-exam.zip"),
    "agieval": ("agieval", "agieval/v1/*.jsonl"),
}
"""Benchmark -> format and files below the folder `benchmarks`."""


def real_benchmarks(real_data: Path) -> dict[str, list[Item]]:
    """All items of all real benchmarks, by name."""
    folder = real_data / "benchmarks"
    return {
        name: read_items(
            name, BenchmarkFiles(format=format_, paths=("-",)), sorted(folder.glob(pattern))
        )
        for name, (format_, pattern) in FILES.items()
    }


def is_chinese(item: Item) -> bool:
    return unspaced_share("".join(item.question.split())) > 0.5


def as_printed(item: Item) -> str:
    """The question with its choices and the answer, as on quiz pages."""
    chinese = is_chinese(item)
    lines = [
        item.question,
        *(f"{letter}. {choice}" for letter, choice in zip(LETTERS, item.choices, strict=False)),
    ]
    if item.choices and item.answer is not None:
        lines.append(f"{'答案：' if chinese else 'Answer: '}{LETTERS[item.answer]}")
    return "\n".join(lines)


def with_answer(item: Item) -> str:
    """The question, with the right answer on the next line."""
    return item.question if item.answer is None else f"{item.question}\n{item.choices[item.answer]}"


def respaced(text: str, rng: random.Random) -> str:
    """Other white space between words, and some between Chinese characters."""
    text = re.sub(r"[ \n]", lambda _: rng.choice(["  ", "\t", "\u00a0", " \n", "\u3000"]), text)
    return re.sub(
        r"(?<=[\u4e00-\u9fff])(?=[\u4e00-\u9fff])", lambda _: rng.choice(["", " ", "\u3000"]), text
    )


def recased(text: str, rng: random.Random) -> str:
    """All capitals, or a random case for each letter."""
    return (
        text.upper()
        if rng.random() < 0.5
        else "".join(rng.choice([c.upper(), c.lower()]) for c in text)
    )


def full_width(text: str, rng: random.Random) -> str:
    """ASCII characters as full-width forms, at random."""
    share = rng.choice([0.5, 1.0])
    return "".join(
        chr(ord(c) + 0xFEE0) if "!" <= c <= "~" and rng.random() < share else c for c in text
    )


def half_width(text: str, rng: random.Random) -> str:
    """Full-width punctuation, letters and digits as ASCII."""
    return "".join(
        unicodedata.normalize("NFKC", c) if "\uff01" <= c <= "\uff5e" else c for c in text
    )


_MARKS = {
    "'": ["’", "‘", "`", ""],
    "’": ["'", ""],
    "-": ["–", "‐", " "],
    '"': ["“", "”", "«", "''"],
}


def repunctuated(text: str, rng: random.Random) -> str:
    """Each mark replaced by another, or removed if next to white space or Chinese."""
    out = []
    for position, character in enumerate(text):
        if unicodedata.category(character)[0] != "P":
            out.append(character)
        elif character in _MARKS:
            out.append(rng.choice(_MARKS[character]))
        else:
            beside = text[position + 1 : position + 2]
            free = not beside or beside.isspace() or unspaced_share(beside) > 0
            out.append(rng.choice([",", ";", "；", "…", "!", " — ", *([""] * 3 if free else [])]))
    return "".join(out)


def zero_width(text: str, rng: random.Random) -> str:
    """Invisible characters inserted into words."""
    invisible = [
        "\u200b",
        "\u200c",
        "\u200d",
        "\u200e",
        "\u2060",
        "\u00ad",
        "\ufeff",
        "\u034f",
        "\u3164",
        "\ufe0f",
    ]
    return "".join(
        c + (rng.choice(invisible) if c.isalnum() and rng.random() < 0.3 else "") for c in text
    )


def wrapped(text: str, rng: random.Random) -> str:
    """Lines of at most 30 columns, broken between words, in Chinese anywhere."""
    out, column = [], 0
    for word in re.findall(
        r"\s+|[\u2e80-\u9fff\uff00-\uffef]|[^\s\u2e80-\u9fff\uff00-\uffef]+", text
    ):
        if word.isspace():
            word = " " if "\n" not in word else "\n"
        if column + len(word) > 30:
            out.append("\n")
            column = 0
        out.append("" if word.isspace() and column == 0 else word)
        column = 0 if word == "\n" else column + len(word)
    return "".join(out)


_LIGATURES = {"ffi": "\ufb03", "ffl": "\ufb04", "ff": "\ufb00", "fi": "\ufb01", "fl": "\ufb02"}


def decomposed(text: str, rng: random.Random) -> str:
    """Ligatures, then another Unicode normal form."""
    for letters, ligature in _LIGATURES.items():
        text = text.replace(letters, ligature)
    return unicodedata.normalize(rng.choice(["NFD", "NFKD", "NFC"]), text)


def quoted(text: str, rng: random.Random) -> str:
    """Each line a separate paragraph, quoted as in e-mail and Markdown, with random bold words."""
    bold = re.sub(r"\S+", lambda word: f"**{word[0]}**" if rng.random() < 0.2 else word[0], text)
    return "\n\n".join(f"> {line}" for line in bold.split("\n"))


Manner = Callable[[str, random.Random], str]
MANNERS: dict[str, Manner] = {
    "verbatim": lambda text, rng: text,
    "re-spaced": respaced,
    "re-cased": recased,
    "full-width": full_width,
    "half-width": half_width,
    "punctuation": repunctuated,
    "zero-width": zero_width,
    "wrapped": wrapped,
    "decomposed": decomposed,
    "quoted": quoted,
}
"""Every leak in these is found."""


def hyphenated(text: str, rng: random.Random) -> str:
    """Long words broken at the end of a line, as in books."""
    return re.sub(
        r"\b([^\W\d_]{4})([^\W\d_]{4,})",
        lambda w: f"{w[1]}-\n{w[2]}" if rng.random() < 0.3 else w[0],
        text,
    )


def escaped_twice(text: str, rng: random.Random) -> str:
    """HTML entities that extraction left in the text."""
    return re.sub(r"[\"'&<>‘’“”—–]", lambda mark: f"&#{ord(mark[0])};", text)


def traditional(text: str, rng: random.Random) -> str:
    """Some frequent simplified characters replaced by traditional ones."""
    return text.translate(_TRADITIONAL)


_TRADITIONAL = str.maketrans(
    "国学说为这时会来个们对进经过发现东车马门问间长见点观电气号应当与专业处实际关于书写语后",
    "國學說為這時會來個們對進經過發現東車馬門問間長見點觀電氣號應當與專業處實際關於書寫語後",
)
BEYOND: dict[str, Manner] = {
    "hyphenated": hyphenated,
    "escaped twice": escaped_twice,
    "traditional": traditional,
}
"""Some leaks in these are not, as documented."""


def on_a_page(leak: str, before: str, after: str) -> str:
    """A web page with the leak between two paragraphs, as ingest extracts it."""
    question, *choices = leak.split("\n")
    items = "".join(f"<li>{html.escape(choice)}</li>\n" for choice in choices)
    page = (
        f"<html><head><title>Notes</title></head><body><div><h1>Notes</h1><p>{html.escape(before)}</p>\n"
        f"<p><b>{html.escape(question)}</b></p>\n<ol>{items}</ol>\n<p>{html.escape(after)}</p></div></body></html>"
    )
    return clean(html_text(page.encode(), "utf-8"))


def in_text(leak: str, before: str, after: str) -> str:
    """The leak between two paragraphs of plain text."""
    return clean(f"{before}\n\n{leak}\n\n{after}")


@functools.cache
def prose(real_data: Path, chinese: bool) -> tuple[str, ...]:
    """Paragraphs of real prose, 300 to 1,500 characters."""
    file = "prose_zh/four-novels/西游记.txt" if chinese else "prose_en/wikitext-2/valid.txt"
    paragraphs = (real_data / file).read_text("utf-8", errors="replace").split("\n")
    return tuple(text.strip() for text in paragraphs if 300 <= len(text) <= 1_500)


def clean_documents(real_data: Path) -> Iterator[tuple[str, str]]:
    """(name, text) of all real prose and web samples: lines of JSON, other files in 5,000s."""
    for folder in ("prose_en", "prose_zh", "web_en"):
        for file in sorted((real_data / folder).rglob("*")):
            if not file.is_file():
                continue
            name, text = str(file.relative_to(real_data)), file.read_text("utf-8", errors="replace")
            if file.suffix == ".jsonl":
                for number, line in enumerate(text.split("\n"), 1):
                    yield f"{name}:{number}", clean(readable(line))
            else:
                text = clean(readable(text) if file.suffix == ".json" else text)
                for start in range(0, len(text), 5_000):
                    # Pieces overlap, so that no run of words is cut.
                    yield f"{name}@{start}", text[start : start + 5_500]


def readable(data: str) -> str:
    """The strings in a JSON line, one per line; other text unchanged."""
    try:
        return "\n".join(strings(json.loads(data)))
    except json.JSONDecodeError:
        return data


def strings(value: object) -> Iterator[str]:
    """All strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
