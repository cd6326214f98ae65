"""The section on a crawl against the promoted run, from the scorecard of a recipe with a loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.report.blocks import Block, Cell, Fold, Section, Side, Table, Text, Value, section, table
from tasks.report.scores import Change

Card = Mapping[str, Any]
LANGUAGES_SHOWN = 12


def scorecard(numbers: Mapping[str, Any]) -> Section | None:
    """The section; None for a run without a scorecard."""
    card: Card = numbers["scorecard"]
    if not card:
        return None
    if card["first"]:
        told = Text("The first run of the loop: there is nothing to compare with.")
        return section("Against the promoted run", told)
    return section(
        "Against the promoted run", _verdict(card), *_scores(card), *_funnel(card), *_texts(card)
    )


def _verdict(card: Card) -> Text:
    refused = card["refused"]
    if refused:
        return Text(f"Not promoted: {'; '.join(refused)}.", "down")
    return Text("No score fell further than the recipe allows.")


def _scores(card: Card) -> Iterator[Block]:
    rows: list[tuple[Value, ...]] = []
    for score in card["scores"]:
        changed = Change(score["difference"], score["error"], score["paired"])
        verdict = "too far" if score["refused"] else ""
        rows.append(
            (
                score["row"],
                score["metric"],
                score.get("n"),
                f"{score['before']:.3f}",
                f"{score['now']:.3f}",
                Cell(f"{changed}", text_tone=changed.tone(score["metric"])),
                score["allowed"] or None,
                Cell(verdict, text_tone="down") if verdict else "",
            )
        )
    if rows:
        columns = ["score", "metric", "#n", "#promoted", "#now", "#change", "#may fall by", "fell"]
        yield table("Scores of the last phase", columns, rows)
    for side, model in (("promoted", "promoted model"), ("now", "last phase")):
        if alone := card.get("unmatched", {}).get(side):
            yield Text(f"Not compared, as only the {model} has them: {', '.join(alone)}.", "soft")


def _funnel(card: Card) -> Iterator[Block]:
    rows = [
        (f"{source['source']}, {step['step']}", step["last"], step["now"], _ratio(step))
        for source in card["funnel"]
        for step in source["steps"]
    ]
    if rows:
        yield table("Documents", ["source, step", "#last crawl", "#now", "#change"], rows)
    overlap = card["overlap"]
    known, eligible = overlap["known"], overlap["eligible"]
    yield Text(
        f"Earlier crawls have {known:,} of {eligible:,} documents ({overlap['share']:.1%}), "
        f"{overlap['repeated']:,} of them under the same id."
    )


def _ratio(step: Mapping[str, Any]) -> str:
    if not step["last"] or step["now"] is None:
        return ""
    return f"{step['now'] / step['last'] - 1:+.1%}".replace("-", "−")


def _texts(card: Card) -> Iterator[Block]:
    languages = [
        (row["language"], row["documents"], _share(row["last_share"]), _share(row["share"]))
        for row in card["languages"][:LANGUAGES_SHOWN]
    ]
    if languages:
        columns = ["language", "#documents", "#share in the last crawl", "#share now"]
        yield table("Languages, the largest shift first", columns, languages)
    rows = []
    for cut in card["perplexity"]:
        last, now = cut["last"] or {}, cut["now"]
        rows.append(
            (
                cut["language"],
                _median(last.get("median")),
                _median(now["median"]),
                _share(last.get("below_head")),
                _share(now["below_head"]),
            )
        )
    if rows:
        columns = ["language", "#median, last", "#median, now", "#below head, last"]
        yield table("Perplexity by the same models", [*columns, "#below head, now"], rows)
    yield from _domains(card["domains"])


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _median(value: float | None) -> str | None:
    return None if value is None else f"{value:,.1f}"


def _domains(found: Mapping[str, Any]) -> Iterator[Block]:
    if "new" not in found:
        return
    new, gone = found["new"], found["vanished"]
    yield Text(
        f"{found['domains']:,} domains, {found['last_domains']:,} in the last crawl: "
        f"{new['domains']:,} are new, with {new['share']:.1%} of the documents; "
        f"{gone['domains']:,} have vanished, which had {gone['share']:.1%} of the last ones."
    )
    sides = ((f"New domains: {new['domains']:,}", new), (f"Vanished: {gone['domains']:,}", gone))
    tables = tuple((_largest(caption, side["largest"]),) for caption, side in sides)
    yield Fold("The largest domains that are new or have vanished", (Side(tables),))


def _largest(caption: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    lines = [(row["domain"], row["documents"]) for row in rows]
    return table(caption, ["domain", "#documents"], lines, compact=True)
