"""The report's pictures, as inline SVG drawn by matplotlib: equal numbers give equal bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

rcParams.update(
    {
        "svg.hashsalt": "puna",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#8a8f98",
        "axes.labelcolor": "#50555e",
        "xtick.color": "#50555e",
        "ytick.color": "#50555e",
        "axes.grid": True,
        "grid.color": "#e7e9ee",
        "axes.axisbelow": True,
    }
)

COLOURS = ("#3c6e71", "#d9822b", "#6a4c93", "#2a7de1", "#b23a48", "#7d8597")


def svg(figure: Figure) -> str:
    """The figure as inline SVG."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None}
    )
    return buffer.getvalue().partition("<svg")[1] + buffer.getvalue().partition("<svg")[2]


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of a size in inches."""
    figure = Figure(figsize=(width, height))
    return figure, figure.add_subplot()


def funnel(rows: Sequence[Mapping[str, Any]]) -> str:
    """Documents left after each step, one group of bars per source."""
    bars = [
        (f"{row['source']}: {step['step']}", step["documents"], n)
        for n, row in enumerate(rows)
        for step in row["steps"]
    ]
    figure, axes = new_axes(7.5, 0.6 + 0.24 * len(bars))
    names, counts, groups = zip(*bars, strict=True)
    axes.barh(
        range(len(bars)),
        counts,
        color=[COLOURS[group % len(COLOURS)] for group in groups],
        height=0.75,
    )
    axes.set_yticks(range(len(bars)), names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("documents")
    for position, count in enumerate(counts):
        axes.annotate(f" {count:,}", (count, position), va="center", color="#50555e")
    axes.margins(x=0.12)
    return svg(figure)


def bars(values: Mapping[str, float], label: str) -> str:
    """Horizontal bars, one per name."""
    figure, axes = new_axes(5.0, 0.6 + 0.22 * max(1, len(values)))
    axes.barh(range(len(values)), list(values.values()), color=COLOURS[0], height=0.75)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(label)
    for position, value in enumerate(values.values()):
        axes.annotate(f" {value:,.0f}", (value, position), va="center", color="#50555e")
    axes.margins(x=0.15)
    return svg(figure)


def extraction(rows: Sequence[Mapping[str, Any]]) -> str:
    """By language: the share of its pages that gave no document, and text per byte of page."""
    figure = Figure(figsize=(7.5, 0.9 + 0.24 * len(rows)))
    names = [f"{row['language']} ({row['pages']:,})" for row in rows]
    sides = (
        ("lost", "pages without a document", COLOURS[4]),
        ("yield", "bytes of text per byte of page", COLOURS[0]),
    )
    for number, (key, label, colour) in enumerate(sides):
        axes = figure.add_subplot(1, 2, number + 1)
        values = [row[key] or 0.0 for row in rows]
        axes.barh(range(len(rows)), values, color=colour, height=0.75)
        axes.set_yticks(range(len(rows)), names if number == 0 else [""] * len(rows))
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(label)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlim(0, 1.25 * max(*values, 0.01))
        for position, value in enumerate(values):
            axes.annotate(f" {value:.1%}", (value, position), va="center", color="#50555e")
    figure.subplots_adjust(wspace=0.08)
    return svg(figure)


def cluster_sizes(rows: Sequence[Mapping[str, Any]]) -> str:
    """Number of clusters (log scale) by size, in bins from one power of two to the next."""
    figure, axes = new_axes(7.5, 2.4)
    counts = [row["clusters"] for row in rows]
    names = [
        f"{row['from']:,}" if row["from"] == row["to"] else f"{row['from']:,}-{row['to']:,}"
        for row in rows
    ]
    axes.bar(range(len(rows)), counts, color=COLOURS[0], width=0.8)
    axes.set_yscale("log")
    axes.set_ylim(0.7, 3 * max(1, *counts))
    axes.set_xlim(-0.6, max(len(rows), 5) - 0.4)  # keep a single bar from filling the plot
    axes.set_xticks(
        range(len(rows)),
        names,
        rotation=30 if len(rows) > 8 else 0,
        ha="right" if len(rows) > 8 else "center",
    )
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("documents in a cluster, including the one kept")
    axes.set_ylabel("clusters")
    for position, count in enumerate(counts):
        if count:
            axes.annotate(
                f"{count:,}", (position, count), ha="center", va="bottom", color="#50555e"
            )
    return svg(figure)


def compression(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """Tokens per character before and after, a pair of bars per category or language."""
    figure, axes = new_axes(5.2, 0.7 + 0.42 * len(groups))
    for offset, when, colour in ((-0.19, "before", COLOURS[5]), (0.19, "after", COLOURS[0])):
        values = [group.get(f"tokens_per_character_{when}") for group in groups.values()]
        if all(value is None for value in values):
            continue
        places = [place + offset for place in range(len(values))]
        axes.barh(places, [value or 0 for value in values], height=0.36, color=colour, label=when)
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                f" {value:.3f}" if value is not None else "",
                (value or 0, place),
                va="center",
                color="#50555e",
            )
    axes.set_yticks(range(len(groups)), list(groups))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("tokens per character")
    axes.margins(x=0.15)
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return svg(figure)


def size_curve(curve: Mapping[str, Any], chosen: int) -> str:
    """Tokens relative to the base against vocabulary size, per language, with chosen size and knee.

    `chosen`: the vocabulary size built.
    """
    figure, axes = new_axes(5.2, 2.9)
    points = curve["points"]
    sizes = [point["size"] for point in points]
    for number, language in enumerate(points[0]["languages"]):
        first = points[0]["languages"][language] or 1
        shares = [point["languages"][language] / first for point in points]
        axes.plot(
            sizes, shares, color=COLOURS[number % len(COLOURS)], linewidth=1.5, label=language
        )
    axes.plot(
        sizes,
        [p["training"] for p in points],
        color="#8a8f98",
        linewidth=1,
        linestyle=":",
        label="training text",
    )
    axes.axvline(chosen, color=COLOURS[1], linewidth=1)
    axes.annotate(
        f"chosen {chosen:,} ",
        (chosen, 1.02),
        xycoords=("data", "axes fraction"),
        ha="right",
        color=COLOURS[1],
    )
    if sizes[0] <= curve["knee"] < chosen:
        axes.axvline(curve["knee"], color="#50555e", linewidth=1, linestyle="--")
        axes.annotate(
            f"knee {curve['knee']:,}",
            (curve["knee"], 1.1),
            xycoords=("data", "axes fraction"),
            ha="center",
            color="#50555e",
        )
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("vocabulary size")
    axes.set_ylabel("tokens, relative to the base")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(frameon=False, loc="lower left", fontsize=8)
    return svg(figure)


def by_position(category: str, models: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Bits per byte against position in long documents of a category, one line per model."""
    figure, axes = new_axes(4.6, 2.4)
    for number, (model, points) in enumerate(models.items()):
        xs, ys = zip(*points, strict=True)
        axes.plot(
            xs,
            ys,
            color=COLOURS[number % len(COLOURS)],
            marker="o",
            markersize=2.5,
            linewidth=1.3,
            label=model,
        )
    axes.set_xlabel(f"position in bytes of text, {category}")
    axes.set_ylabel("bits per byte")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.margins(y=0.15)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return svg(figure)


def perplexity(cut: Mapping[str, Any]) -> str:
    """Histogram of perplexity for one language, with the cut-offs of head and middle."""
    low, documents = cut["histogram"]["low"], cut["histogram"]["documents"]
    figure, axes = new_axes(4.6, 2.2)
    widths = [
        following - edge
        for edge, following in zip(low, [*low[1:], low[-1] * 1.09 if low else 1], strict=True)
    ]
    axes.bar(
        low,
        documents,
        width=widths,
        align="edge",
        color=COLOURS[0],
        edgecolor="white",
        linewidth=0.4,
    )
    axes.set_xscale("log")
    axes.set_xlabel(f"perplexity, {cut['language']}")
    axes.set_ylabel("documents")
    for cutoff in (cut["head"], cut["middle"]):
        axes.axvline(cutoff, color=COLOURS[1], linestyle="--", linewidth=1)
    for name, at, side in (("head ", cut["head"], "right"), (" tail", cut["middle"], "left")):
        axes.annotate(
            name,
            (at, 1.02),
            xycoords=("data", "axes fraction"),
            ha=side,
            color=COLOURS[1],
            fontsize=8,
        )
    return svg(figure)
