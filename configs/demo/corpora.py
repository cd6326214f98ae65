"""Write the corpora of the small twins of the recipes: `python configs/demo/corpora.py OUT_FOLDER
[--seed N]`.

The demo's country again, by kinds of text: web pages, an encyclopedia, books, questions with
answers, code and mathematics about its towns and people, each in the layout of the data set whose
place it takes.

    OUT/slimpajama.jsonl, skypile.jsonl, fineweb.jsonl, c4.jsonl    {"text"}: pages
    OUT/wikipedia.jsonl, books.jsonl                                {"text"}
    OUT/stackexchange.jsonl                                         {"text"}: a question, its answer
    OUT/starcoder.jsonl, github.jsonl                               {"content"}: Python
    OUT/arxiv.jsonl, proof-pile.jsonl                               {"text"}: TeX
    OUT/qa-zh.jsonl                                                 {"kind", "input", "target"}
    OUT/qa-en.jsonl                                                 {"question", "response"}

The bytes are a function of the seed. Only the standard library is used.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from generate import jsonl
from phrases import FILLERS, MONTHS, TEMPLATES
from world import Entity, World

DOCUMENTS = {"code": 500, "proofs": 500, "books": 8, "answers": 600}
PAGES_PER_BOOK = 12
ENTRIES_EVERY = 7
"""Of the reference text; few, so that a run reads them more than once, as LLaMA did."""

KINDS = ("OpenQA", "MRC", "Belle")
"""Of the questions in the data set that qa-zh stands for."""

Writer = Callable[[World, random.Random], Iterator[str]]


def pages(language: str, part: int, of: int) -> Writer:
    """Every `of`-th clean page of a language, from `part` on: corpora share no page."""

    def write(world: World, rng: random.Random) -> Iterator[str]:
        clean = [page.text for page in world.pages(language) if page.kind != "leak"]
        rng.shuffle(clean)
        yield from clean[part::of]

    return write


def entries(world: World, rng: random.Random) -> Iterator[str]:
    yield from world.reference("en")[::ENTRIES_EVERY]


def books(world: World, rng: random.Random) -> Iterator[str]:
    """Long documents: a dozen chapters, each a page."""
    clean = [page.text for page in world.pages("en") if page.kind in ("diary", "people", "town")]
    for _ in range(DOCUMENTS["books"]):
        chapters = rng.sample(clean, PAGES_PER_BOOK)
        yield "\n\n".join(f"Chapter {n}\n\n{text}" for n, text in enumerate(chapters, 1))


def _asked(world: World, language: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Questions about known towns and people in the crawl's wording, and their answers."""
    known = world.of("known")
    for _ in range(DOCUMENTS["answers"]):
        entity = rng.choice(known)
        attribute = rng.choice(sorted(entity.facts))
        forms, value = TEMPLATES[language][attribute], entity.facts[attribute][language]
        name = entity.names[language]
        answer = rng.choice(forms["facts"]).format(e=name, v=value)
        yield rng.choice(forms["faq"]).format(e=name), answer


def kinds(world: World, rng: random.Random) -> Iterator[dict[str, str]]:
    """Instructions of several kinds in one file: questions, and every tenth a wish for a text."""
    for number, (asked, reply) in enumerate(_asked(world, "zh", rng)):
        if number % 10 == 9:
            wish = f"请写一句话，谈谈{rng.choice(MONTHS['zh'])}的旅行。"
            line = rng.choice(FILLERS["zh"])
            line = line.format(month=rng.choice(MONTHS["zh"]), n=rng.randint(2, 30))
            yield {"kind": "Composition", "input": wish, "target": line}
        else:
            yield {"kind": KINDS[number % len(KINDS)], "input": asked, "target": reply}


def answers(world: World, rng: random.Random) -> Iterator[str]:
    yield from (f"Q: {asked}\n\nA: {answer}" for asked, answer in _asked(world, "en", rng))


def _identifier(entity: Entity) -> str:
    return entity.names["en"].lower().replace(" ", "_")


def code(world: World, rng: random.Random) -> Iterator[str]:
    """Small Python modules: a table of facts and functions over it."""
    known = world.of("known")
    for _ in range(DOCUMENTS["code"]):
        some = rng.sample(known, rng.randint(2, 4))
        rows = [
            f'    "{_identifier(e)}": {{"{a}": "{e.facts[a]["en"]}"}},'
            for e in some
            for a in [rng.choice(sorted(e.facts))]
        ]
        name, step = _identifier(some[0]), rng.randint(2, 9)
        yield "\n".join(
            [
                "TABLE = {",
                *rows,
                "}\n\n",
                f"def visits_to_{name}(days: int) -> list[int]:",
                f'    """Every {step} days until `days`."""',
                f"    return list(range(0, days, {step}))\n\n",
                f"def of_{name}(key: str) -> str:",
                f'    return TABLE["{name}"].get(key, "")',
            ]
        )


def proofs(world: World, rng: random.Random) -> Iterator[str]:
    """Sums of arithmetic progressions, in TeX."""
    for _ in range(DOCUMENTS["proofs"]):
        first, step, count = rng.randint(1, 40), rng.randint(2, 12), rng.randint(5, 40)
        last = first + step * (count - 1)
        pair, total = first + last, count * (first + last) // 2
        yield (
            f"\\begin{{lemma}} The {count} numbers ${first}, {first + step}, \\dots, {last}$ have "
            f"the sum ${total}$.\\end{{lemma}}\n"
            "\\begin{proof} Pair the first with the last. Each pair has the sum "
            f"${first} + {last} = {pair}$, and there are ${count} / 2$ pairs, so the sum is "
            f"${count} \\cdot {pair} / 2$. \\end{{proof}}"
        )


TEXTS: dict[str, tuple[str, Writer]] = {
    "slimpajama": ("text", pages("en", 0, 1)),
    "skypile": ("text", pages("zh", 0, 1)),
    "fineweb": ("text", pages("en", 0, 2)),
    "c4": ("text", pages("en", 1, 2)),
    "wikipedia": ("text", entries),
    "books": ("text", books),
    "stackexchange": ("text", answers),
    "starcoder": ("content", code),
    "github": ("content", code),
    "arxiv": ("text", proofs),
    "proof-pile": ("text", proofs),
}
"""Corpus -> (field of its text, what writes it)."""


def corpora(seed: int) -> dict[str, bytes]:
    """Every file by its name."""
    world, files = World(seed), {}
    for name, (field, write) in TEXTS.items():
        texts = write(world, random.Random(f"{seed}/{name}"))
        files[f"{name}.jsonl"] = jsonl([{field: text} for text in texts])
    files["qa-zh.jsonl"] = jsonl(list(kinds(world, random.Random(f"{seed}/qa-zh"))))
    english = _asked(world, "en", random.Random(f"{seed}/qa-en"))
    rows = [{"question": asked, "response": reply} for asked, reply in english]
    files["qa-en.jsonl"] = jsonl(rows)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the corpora of the recipes' small twins.")
    parser.add_argument("out", type=Path, metavar="OUT_FOLDER")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, data in corpora(arguments.seed).items():
        path = arguments.out / name
        if not path.exists() or path.read_bytes() != data:  # an equal file keeps its cached hash
            path.write_bytes(data)
        print(f"{len(data):>10,} bytes  {path}")


if __name__ == "__main__":
    main()
