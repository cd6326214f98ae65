"""The sections on documents: funnel, extraction, languages, duplicates, contamination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.report.blocks import (
    Block,
    Cell,
    Figure,
    Fold,
    Section,
    Side,
    Table,
    Text,
    section,
    table,
)
from tasks.report.chart import Line, Mark, chart, steps

Numbers = Mapping[str, Any]

REASONS_SHOWN, LANGUAGES_SHOWN, DECLARED_SHOWN = 16, 12, 24
"""Rows of tables; the rest is in summary.json."""

LINE_CHARACTERS = 300


def documents(numbers: Numbers) -> Section | None:
    """The funnel, and why documents were dropped."""
    rows = numbers["funnel"]
    if not rows:
        return None
    blocks: list[Block] = [
        Text(
            "Documents read, and documents left after each step that drops some; kept is the share "
            "of the step before."
        ),
        *(funnel(row, number) for number, row in enumerate(rows)),
    ]
    if numbers["reasons"]:
        dropped = bars("Why documents were dropped", "reason", _top(numbers["reasons"], "reason"))
        blocks.append(Side(((dropped,), *_by_source(numbers["reasons"]))))
    return section("Documents", *blocks)


def _by_source(reasons: Sequence[Mapping[str, Any]]) -> list[tuple[Block, ...]]:
    """The most frequent reasons with their sources, if there are several."""
    if len({row["source"] for row in reasons}) < 2:
        return []
    rows = [(row["reason"], row["source"], row["documents"]) for row in reasons[:REASONS_SHOWN]]
    return [(table("By source", ["reason", "source", "#documents"], rows, compact=True),)]


def funnel(row: Mapping[str, Any], colour: int = 0) -> Table:
    """The steps of one source with bars, and what share of the step before is left."""
    lines = []
    most = max((step["documents"] for step in row["steps"]), default=0)
    before = None
    for step in row["steps"]:
        count = step["documents"]
        left = f"{count / before:.1%}" if before else ""
        bar = Cell(f"{count:,}", bar=count / most if most else 0.0, colour=colour)
        lines.append((step["step"], bar, left))
        before = count
    return table(row["source"], ["step", "#documents", "#kept"], lines, compact=True)


def bars(
    caption: str, name: str, counts: Mapping[str, float], unit: str = "documents", colour: int = 0
) -> Table:
    """Names with bars as long as their counts."""
    most = max(counts.values(), default=0) or 1
    lines = [
        (key, Cell(f"{count:,.0f}", bar=count / most, colour=colour))
        for key, count in counts.items()
    ]
    return table(caption, [name, f"#{unit}"], lines, compact=True)


def _top(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, float]:
    counts: dict[str, float] = {}
    for row in rows:
        counts[row[name]] = counts.get(row[name], 0) + row["documents"]
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    top = dict(ordered[:LANGUAGES_SHOWN])
    if len(ordered) > LANGUAGES_SHOWN:
        top["others"] = sum(count for _, count in ordered[LANGUAGES_SHOWN:])
    return top


def extraction(numbers: Numbers) -> Section | None:
    """What extraction made of pages, by declared language."""
    found = numbers["extraction"]
    if not found:
        return None
    largest = max((row["yield"] or 0.0 for row in found), default=0.0) or 1.0
    with_pages = [row for row in found if row["pages"]][:LANGUAGES_SHOWN]
    few = [
        (
            row["language"],
            row["pages"],
            _share_bar(row["lost"], row["lost"], 4),
            _share_bar(row["yield"], (row["yield"] or 0.0) / largest, 0),
        )
        for row in with_pages
    ]
    counts = [
        (row["language"], *(row[name] for name in _COUNTS.values()))
        for row in found[:DECLARED_SHOWN]
    ]
    more = len(found) - DECLARED_SHOWN
    everything = table("Counts by language", ["declared", *(f"#{n}" for n in _COUNTS)], counts)
    rest = [Text(f"{more} more languages are in summary.json.")] if more > 0 else []
    return section(
        "Extraction by language",
        Text(
            "HTML pages by the language that they declare (und: none): how many gave no document, "
            "and how much text the others gave. Beside it, the documents that language ID finds to "
            "be of that language. A language that loses many pages, or gives little text, is one "
            "that extraction fails."
        ),
        table(
            "Pages by declared language",
            ["declared", "#pages", "#lost", "#text per byte"],
            few,
        ),
        Fold("All counts, with the languages detected", (everything, *rest)),
    )


_COUNTS = {
    "pages": "pages",
    "documents": "documents",
    "bytes of pages": "payload_bytes",
    "bytes of text": "text_bytes",
    "detected": "detected",
    "bytes detected": "detected_bytes",
}
"""Title -> field of a row on extraction."""


def _share_bar(share: float | None, length: float | None, colour: int) -> Cell | None:
    return None if share is None else Cell(f"{share:.1%}", bar=length, colour=colour)


def removed(numbers: Numbers) -> Section | None:
    """Text that was removed from documents which were kept."""
    blocks: list[Block] = []
    if numbers["edits"]:
        rows = [(row["reason"], row["source"], row["bytes"]) for row in numbers["edits"]]
        blocks.append(table("Bytes removed", ["reason", "source", "#bytes"], rows, compact=True))
    for source, lines in numbers["repeated_lines"].items():
        if lines:
            repeated = [(line["text"][:LINE_CHARACTERS], line["copies"]) for line in lines]
            caption = f"Most repeated lines in {source}"
            blocks.append(table(caption, ["text", "#copies"], repeated, compact=True))
    return section("Text removed from documents", *blocks)


def contamination(numbers: Numbers) -> Section | None:
    """Benchmark items that were found in the documents."""
    rows = [
        (row["benchmark"], row["items"], row["items_hit"], row["unmatchable"], row["documents"])
        for row in numbers["contaminated"]
    ]
    if not rows:
        return None
    return section(
        "Benchmark contamination",
        Text(
            "Benchmark items found in the documents as read, before any were dropped. Items too "
            "short to be distinctive are searched for together with their choices, or not at all."
        ),
        table(
            "Items found in the data",
            ["benchmark", "#items", "#found", "#too short", "#documents"],
            rows,
        ),
    )


def languages(numbers: Numbers) -> Section | None:
    """Documents by language, and perplexity with its cut-offs."""
    if not numbers["languages"]:
        return None
    drawn = tuple(Figure(found) for cut in numbers["cutoffs"] if (found := perplexity(cut)))
    counted = bars("Documents by language", "language", _top(numbers["languages"], "language"))
    return section(
        "Languages and perplexity", Side(((counted,), drawn) if drawn else ((counted,),))
    )


def perplexity(cut: Mapping[str, Any]) -> Any:
    """Histogram of perplexity for one language, with the cut-offs of head and middle."""
    low, counts = cut["histogram"]["low"], cut["histogram"]["documents"]
    if not low:
        return None
    edges = [*low, low[-1] * 1.09 or 1.0]
    return chart(
        f"Perplexity, {cut['language']}",
        [Line("", 0, steps(edges, counts), area=True)],
        x="perplexity",
        y="documents",
        marks=[
            Mark("head", edges[0], drawn=False),
            Mark("middle", cut["head"]),
            Mark("tail", cut["middle"]),
        ],
        log_x=True,
        zero=True,
        wide=False,
    )


def duplicates(numbers: Numbers) -> Section | None:
    """Clusters by size, and the largest ones."""
    found = numbers["duplicates"]
    if not found:
        return None
    blocks: list[Block] = [
        Text(
            f"{found['eligible']:,} documents compared; {found['exact']:,} exact and "
            f"{found['near']:,} near duplicates were removed, each verified against the document "
            "kept in its place."
        )
    ]
    if apart := numbers["not_deduplicated"]:
        counts = ", ".join(f"{source} ({count:,})" for source, count in apart.items())
        blocks.append(
            Text(f"Documents of these sources were compared with none (dedup: false): {counts}.")
        )
    if found.get("cluster_sizes"):
        blocks.append(cluster_sizes(found["cluster_sizes"]))
    if numbers["clusters"]:
        blocks.append(Fold(f"The {len(numbers['clusters'])} largest clusters", _largest(numbers)))
    return section("Duplicates", *blocks)


def semantic(numbers: Numbers) -> Section | None:
    """Pairs of documents by the cosine of their vectors, and what was dropped by it."""
    found, decided = numbers["neighbours"], numbers["semantic"]
    if not found:
        return None
    blocks: list[Block] = [
        Text(
            f"{found['documents']:,} documents compared by vectors of "
            f"{found['vectors']['model']}; {found['pairs']:,} pairs are near."
            + (
                f" {decided['near']:,} documents were removed, whose cosine to one that stayed is "
                f"{decided['limit']:g} or more."
                if decided
                else " None was removed (semantic.keep is not stated)."
            )
        )
    ]
    if found["without_vector"]:
        blocks.append(Text(f"{found['without_vector']:,} documents have no text to compare."))
    if found["saturated"]:
        blocks.append(
            Text(
                f"{found['saturated']:,} documents have as many pairs in a cluster as are kept "
                "(semantic.neighbours); of what is near those, some may have stayed."
            )
        )
    counts = {f"{low / 100:.2f}": count for low, count in enumerate(found["histogram"]) if count}
    if counts:
        blocks.append(bars("Pairs by cosine, from", "cosine", counts, "pairs"))
    for side, title in (("removed", "Removed, and kept"), ("kept", "Below the limit: both kept")):
        if pairs := decided.get("examples", {}).get(side):
            rows = [
                (f"{pair['similarity']:.3f}", *(one["text"] for one in pair["texts"]))
                for pair in pairs
            ]
            blocks.append(Fold(title, (table(title, ["cosine", "one", "other"], rows),)))
    return section("Documents that say the same", *blocks)


def cluster_sizes(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Clusters by size, in bins from one power of two to the next."""
    most = max((row["documents"] for row in rows), default=0) or 1
    lines = [
        (
            f"{row['from']:,}" if row["from"] == row["to"] else f"{row['from']:,} to {row['to']:,}",
            row["clusters"],
            Cell(f"{row['documents']:,}", bar=row["documents"] / most),
        )
        for row in rows
    ]
    columns = ["documents in a cluster, with the one kept", "#clusters", "#documents"]
    return table("Clusters by size", columns, lines, compact=True)


def _largest(numbers: Numbers) -> tuple[Block, ...]:
    rows = []
    for row in numbers["clusters"]:
        from_sources = ", ".join(f"{source} {count:,}" for source, count in row["sources"].items())
        partly = row["listed"] < row["size"] - 1
        rows.append(
            (
                Cell(row["representative"], code=True),
                row["size"],
                row["exact"],
                row["near"],
                f"{row['least']:.3f}" if row["least"] is not None else None,
                Cell(row["source"], small=row["crawl"], tone="soft"),
                from_sources + (f" (of the first {row['listed']:,})" if partly else ""),
            )
        )
    columns = ["kept document", "#documents", "#exact", "#near", "#lowest similarity", "source"]
    return (
        Text(
            "One document of each cluster is kept. To compare it with those removed: "
            "puna inspect --stage dedup --cluster ID."
        ),
        table("Largest clusters", [*columns, "removed from"], rows),
    )
