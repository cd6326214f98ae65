"""Are planted leaks found, and is clean prose left alone? Prints found/planted per benchmark and
manner, then every false alarm on the real prose and web samples.

    python tests/benchmarks/decontamination_check.py [items per benchmark and manner]

Reads PUNA_REAL_DATA or ../shared/data. A leak is an item as quiz pages print it (question, lettered
choices, answer) between two paragraphs of real prose of its language; it counts as found when that
very item is named. Columns `hyphenated`, `escaped twice`, `traditional`, `question` and
`question+answer` are not promised: the last two plant less, the bare question, and the question
with its right answer. Then: what stays of an item when its passage goes.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tasks.benchmarks.read import Item
from tasks.decontaminate.grams import ItemIndex, build_index
from tasks.decontaminate.run import PlacedHits
from tasks.decontaminate.stage import DecontaminateParameters
from tasks.documents.edits import Alignment, apply
from tasks.ingest.clean import clean
from tests.tasks.decontaminate import leaks

DATA = Path(
    os.environ.get("PUNA_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
BATCH = 2_000
HTML_ITEMS = 300


def planted(
    items: Sequence[Item], manner: Callable[[Item, random.Random, str, str], str]
) -> Iterator[str]:
    """A document for every item."""
    rng = random.Random(0)
    for item in items:
        paragraphs = leaks.prose(DATA, leaks.is_chinese(item))
        yield manner(item, rng, rng.choice(paragraphs), rng.choice(paragraphs))


def manners() -> dict[str, Callable[[Item, random.Random, str, str], str]]:
    """Name -> (item, random numbers, prose before, prose after) -> document."""
    found: dict[str, Callable[[Item, random.Random, str, str], str]] = {
        name: lambda item, rng, before, after, change=change: leaks.in_text(
            change(leaks.as_printed(item), rng), before, after
        )
        for name, change in {**leaks.MANNERS, **leaks.BEYOND}.items()
    }
    found["html"] = lambda item, rng, before, after: leaks.on_a_page(
        leaks.as_printed(item), before, after
    )
    found["question"] = lambda item, rng, before, after: leaks.in_text(item.question, before, after)
    found["question+answer"] = lambda item, rng, before, after: leaks.in_text(
        leaks.with_answer(item), before, after
    )
    return found


def find(index: ItemIndex, texts: Sequence[str]) -> list[set[int]]:
    """The items found in every text, in batches."""
    hits = [
        hits
        for start in range(0, len(texts), BATCH)
        for hits in index.grams.find(texts[start : start + BATCH])
    ]
    return [{hit.owner for hit in found} for found in hits]


def main() -> None:
    """See the module docstring."""
    limit = int(sys.argv[1]) if len(sys.argv) > 1 else None
    benchmarks = leaks.real_benchmarks(DATA)
    index = build_index(benchmarks, DecontaminateParameters(against={}))
    missed: list[tuple[str, Item]] = []
    print(
        f"{'benchmark':15}{'items':>7}{'too short':>10}  "
        + "".join(f"{name:>16}" for name in manners())
    )
    first = 0
    totals: Counter[str] = Counter()
    for name, items in benchmarks.items():
        rows = list(range(len(items)))
        if limit is not None:
            rows = sorted(random.Random(0).sample(rows, min(limit, len(rows))))
        cells = []
        for manner, plant in manners().items():
            used = rows[:HTML_ITEMS] if manner == "html" else rows
            found = find(index, list(planted([items[row] for row in used], plant)))
            hits = [first + row in owners for row, owners in zip(used, found, strict=True)]
            totals[f"{manner} found"] += sum(hits)
            totals[f"{manner} planted"] += len(hits)
            cells.append(f"{sum(hits)}/{len(hits)}")
            if manner in leaks.MANNERS or manner == "html":
                missed += [
                    (manner, items[row]) for row, hit in zip(used, hits, strict=True) if not hit
                ]
        print(
            f"{name:15}{len(items):7}{index.unmatchable[name]:10}  "
            + "".join(f"{cell:>16}" for cell in cells)
        )
        first += len(items)
    cells = [f"{totals[f'{manner} found']}/{totals[f'{manner} planted']}" for manner in manners()]
    print(
        f"{'all':15}{len(index.items):7}{sum(index.unmatchable.values()):10}  "
        + "".join(f"{c:>16}" for c in cells)
    )
    print(f"\nmissed as printed: {len(missed)} (the first 60)")
    for manner, item in missed[:60]:
        print(f"  {manner}: {item.benchmark} {item.id}: {leaks.as_printed(item)[:160]!r}")
    passages(index, limit)
    false_alarms(index)
    print("\nthe same with 8 words and 12 characters:")
    false_alarms(
        build_index(benchmarks, DecontaminateParameters(against={}, ngram=8, character_ngram=12))
    )


def passages(index: ItemIndex, limit: int | None) -> None:
    """Print what stays of planted items, and goes of the prose around them, where only passages are
    taken out.
    """
    margin = DecontaminateParameters(against={}).passage_margin
    items = [item for item in index.items if item.choices]
    items = items if limit is None else random.Random(0).sample(items, min(4 * limit, len(items)))
    texts = list(
        planted(items, lambda item, rng, *prose: leaks.in_text(leaks.as_printed(item), *prose))
    )
    found = [
        hits
        for start in range(0, len(texts), BATCH)
        for hits in index.grams.find(texts[start : start + BATCH])
    ]
    left: list[tuple[Item, str]] = []
    taken = own = 0
    cured: list[str] = []
    for item, text, hits in zip(items, texts, found, strict=True):
        choices = [index.items[hit.owner].choices for hit in hits]
        edits = PlacedHits("", text, hits, choices, margin, Alignment([])).edits
        cured.append(apply(text, edits))
        standing = set(cured[-1].split("\n"))
        left += [
            (item, line)
            for line in clean(leaks.as_printed(item)).split("\n")
            if line in standing and line
        ][:1]
        taken += len(text) - len(cured[-1])
        own += len(leaks.as_printed(item))
    again = sum(bool(owners) for owners in find(index, cured))
    print(
        f"\npassages: of {len(items)} items with choices {len(left)} leave a line, {again} are "
        f"found again; {taken / len(items):.0f} characters go for an item of {own / len(items):.0f}"
    )
    for item, line in left[:10]:
        print(f"  {item.benchmark} {item.id}: {line[:120]!r}")


def false_alarms(index: ItemIndex) -> None:
    """Print every hit in text that nobody planted anything in."""
    documents = list(leaks.clean_documents(DATA))
    texts = [text for _, text in documents]
    hits = [
        found
        for start in range(0, len(texts), BATCH)
        for found in index.grams.find(texts[start : start + BATCH])
    ]
    alarms = [
        (name, hit) for (name, _), found in zip(documents, hits, strict=True) for hit in found
    ]
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(
        f"\nfalse alarms: {len(alarms)} in {len(texts)} documents, {size:.1f} MB of prose_en, "
        "prose_zh and web_en"
    )
    for name, hit in alarms:
        item = index.items[hit.owner]
        print(
            f"  {name}: {item.benchmark} {item.id}: {hit.words} words: {hit.text[:120]!r} | "
            f"{item.question[:80]!r}"
        )


if __name__ == "__main__":
    main()
