"""The sections on the tokenizer, the model before training, and the bins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.report.blocks import (
    Block,
    Cell,
    Figure,
    Fold,
    Heading,
    Section,
    Table,
    Text,
    section,
    table,
)
from tasks.report.chart import Chart, Line, Mark, chart

Numbers = Mapping[str, Any]
BEFORE, AFTER = 5, 0
"""Colours of tokens before and after."""


def tokenizer(numbers: Numbers) -> Section | None:
    """Size, compression, segmentation, and how the new tokens are used."""
    if not numbers["tokenizer"]:
        return None
    found, statistics = numbers["tokenizer_report"], numbers["tokenizer"]
    pieces = found.get("pieces") or {}
    new = pieces.get("new", 0)
    blocks: list[Block | None] = [
        Text(_size(found, statistics, new)),
        compression(statistics, grown=bool(new)),
        _curve(found, statistics),
        *_segmentation(found, new),
        *_use(pieces),
        *_given(found.get("given_pieces") or {}),
    ]
    plain = [
        (name.replace("_", " "), value if isinstance(value, int) else str(value))
        for name, value in statistics.items()
        if isinstance(value, (str, int, float)) and not isinstance(value, bool)
    ]
    everything = table("Statistics", ["name", "#value"], plain, compact=True)
    return section("Tokenizer", *blocks, Fold("All statistics", (everything,)))


def _size(found: Mapping[str, Any], statistics: Mapping[str, Any], new: int) -> str:
    if new:
        size = f"{found['base_size']:,} tokens grown by {new:,} to {found['size']:,}"
    else:
        size = f"{statistics['size']:,} tokens, the same as the base"
    if measured := found.get("measured"):
        size += (
            f"; measured on {measured['documents']:,} documents, {measured['characters']:,} "
            "characters, held-out text if there is any"
        )
    return size + "."


def compression(statistics: Mapping[str, Any], *, grown: bool) -> Table | None:
    """Tokens per character and byte before and after, by category and language."""
    groups = [
        (name, group)
        for kind in ("categories", "languages")
        for name, group in statistics.get(kind, {}).items()
    ]
    if not groups:
        return None
    most = max(
        group.get(f"tokens_per_character_{when}") or 0.0
        for _, group in groups
        for when in ("before", "after")
    )
    rows = []
    for name, group in groups:
        cells = []
        for unit in ("character", "byte"):
            for when, colour in (("before", BEFORE), ("after", AFTER)):
                value = group.get(f"tokens_per_{unit}_{when}")
                bar = value / most if value and unit == "character" and most else None
                text = f"{value:.3f}" if value is not None else "–"
                cells.append(Cell(text, bar=bar, colour=colour))
        rows.append((name, group["documents"], group["characters"], *cells))
    columns = ["text", "#documents", "#characters"]
    columns += [
        f"#tokens per {u}, {when}" for u in ("character", "byte") for when in ("base", "now")
    ]
    caption = "Compression, before and after" if grown else "Compression"
    return table(caption, columns, rows)


def _curve(found: Mapping[str, Any], statistics: Mapping[str, Any]) -> Figure | None:
    if not (curve := found.get("curve")) or not (drawn := size_curve(curve, statistics["size"])):
        return None
    return Figure(drawn)


def size_curve(curve: Mapping[str, Any], chosen: int) -> Chart | None:
    """Tokens relative to the base against vocabulary size by language, with chosen size and knee.

    `chosen`: the vocabulary size built.
    """
    points = curve["points"]
    sizes = [point["size"] for point in points]
    lines = []
    for colour, language in enumerate(points[0]["languages"]):
        first = points[0]["languages"][language] or 1
        shares = [point["languages"][language] / first for point in points]
        lines.append(Line(language, colour, list(zip(sizes, shares, strict=True))))
    training = [(point["size"], point["training"]) for point in points]
    lines.append(Line("training text", BEFORE, training, dashed=True))
    marks = [Mark(f"chosen {chosen:,}", chosen)]
    if sizes[0] <= curve["knee"] < chosen:
        marks.append(Mark(f"knee {curve['knee']:,}", curve["knee"]))
    return chart(
        "Compression against size",
        lines,
        x="vocabulary size (all from one training run, cut off early; at the knee, 1,000 more "
        "tokens shorten the training text by less than half a percent)",
        y="tokens, relative to the base",
        marks=marks,
        zero=True,
    )


def _segmentation(found: Mapping[str, Any], new: int) -> list[Block]:
    examples = found.get("examples") or {}
    if not examples:
        return []
    rows = [
        (
            f"{language}, {'base' if when == 'before' else 'now'}",
            len(sentence[when]),
            Cell(
                "",
                pieces=tuple((_shown(text), bool(is_new), "") for text, is_new in sentence[when]),
            ),
        )
        for language, sentences in examples.items()
        for sentence in sentences
        for when in ("before", "after")
        if sentence[when]
    ]
    filled = "; filled boxes are new tokens" if new else ""
    boxes = Text(f"Each box is a token{filled}; · is a space, <E5> a byte.")
    sentences = table("Sentences in tokens", ["language", "#tokens", "sentence"], rows)
    return [Fold("Segmentation of sample sentences", (boxes, sentences))]


def _shown(piece: str) -> str:
    return piece.replace(" ", "·").replace("\n", "↵").replace("\t", "⇥")


def _use(pieces: Mapping[str, Any]) -> list[Block]:
    if not pieces.get("new"):
        return []

    def examples(found: Sequence[Mapping[str, Any]]) -> Cell:
        shown = (
            (_shown(one["text"]), True, f"{one['uses']:,}" if one.get("uses") else "")
            for one in found
        )
        return Cell("", pieces=tuple(shown))

    kinds = (("used", "used"), ("steps", "only parts of longer ones"), ("unused", "never used"))
    rows = [
        (
            name,
            pieces[kind]["count"],
            f"{pieces[kind]['share']:.1%}",
            examples(pieces[kind]["examples"]),
        )
        for kind, name in kinds
    ]
    rows.append(("longest", "", "", examples(pieces["longest"])))
    return [
        Heading("Use of the new tokens"),
        Text(
            f"{pieces['share_of_tokens']:.1%} of the tokens measured are new ones. The less text "
            "is measured, the more tokens appear unused."
        ),
        table(
            "New tokens", ["new tokens", "#tokens", "#share", "examples, with number of uses"], rows
        ),
    ]


def _given(given: Mapping[str, Any]) -> list[Block]:
    if not given:
        return []
    blocks: list[Block] = [
        Heading("Pieces given in the recipe"),
        Text(
            f"{given['added']:,} of {given['given']:,} pieces were added, with "
            f"{given['steps_added']:,} intermediate pieces and {given['characters_added']:,} "
            "characters that they need."
        ),
    ]
    if given["skipped"]:
        rows = [
            (
                reason,
                count,
                Cell(
                    "",
                    pieces=tuple((_shown(p), False, "") for p in given["examples"].get(reason, ())),
                ),
            )
            for reason, count in given["skipped"].items()
        ]
        blocks.append(table("Not added", ["because", "#pieces", "examples"], rows))
    return blocks


def model(numbers: Numbers) -> Section | None:
    """What the model was before training, and what was done to it."""
    found = numbers["model"]
    if not found:
        return None
    rows: list[tuple[str, str]] = [("parameters", f"{found['parameters']:,}")]
    sizes = f"{found['tokenizer_size']:,}, {found['matrix_rows']:,}"
    rows.append(("tokens; rows of the embedding matrices", sizes))
    if found.get("new_tokens"):
        kinds = " and ".join(dict.fromkeys(found["embeddings"].values()))
        rows.append(
            ("new tokens; how their rows were initialised", f"{found['new_tokens']:,}, {kinds}")
        )
        for end, norms in found["mean_row_norm"].items():
            new = "–" if norms["new"] is None else f"{norms['new']:.3f}"
            rows.append((f"mean norm of {end} rows: old, new", f"{norms['old']:.3f}, {new}"))
    if before := found.get("probability_before_training"):
        rows += [
            ("probability given to new tokens on English text", f"{before['new_tokens']:.2%}"),
            (
                "probability given to rows without a token (masked in all scores)",
                f"{before['padding']:.2%}",
            ),
        ]
    if found.get("positions"):
        rope = found.get("rope") or {}
        kind = f", rope {rope.get('rope_type', 'default')}" if rope else ""
        by = f" by {rope['factor']:.3g}" if rope.get("factor") else ""
        rows.append(("positions", f"{found['positions']:,}{kind}{by}"))
    if layers := found.get("layers"):
        of = found["layers_of_base"]
        every = len(layers) == of and not found.get("importance")
        kept = f"all {of}" if every else f"{', '.join(map(str, layers))} (of {of})"
        rows.append(("layers kept from the base", kept))
    blocks: list[Block] = [table("The model", ["property", "#value"], rows, compact=True)]
    if importance := found.get("importance"):
        most = max(importance) or 1.0
        by_layer = [
            (
                f"{number}",
                Cell(f"{value:.4g}", bar=max(0.0, value / most)),
                "kept" if number in layers else "removed",
            )
            for number, value in enumerate(importance)
        ]
        caption = f"Importance of the base's layers, by {found['importance_measure']}"
        blocks.append(table(caption, ["layer", "#importance", "kept?"], by_layer, compact=True))
    return section("Model before training", *blocks)


def bins(numbers: Numbers) -> Section | None:
    """The rows that training draws from."""
    if not numbers["bins"]:
        return None
    rows = [
        (
            category,
            found["documents"],
            found["tokens"],
            found["rows"],
            found["sequence_length"],
            f"{found['fill']:.2%}",
            found["split_documents"],
            f"{found['tokens_per_character']:.3f}",
        )
        for category, found in numbers["bins"].items()
    ]
    columns = ["category", "#documents", "#tokens", "#rows", "#tokens in a row", "#fill"]
    columns += ["#documents longer than a row", "#tokens per character"]
    return section("Bins", table("Bins by category", columns, rows))
