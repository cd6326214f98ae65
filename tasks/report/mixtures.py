"""The section on the searches for a mixture: shares, predicted losses, and how well laws fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from infra.quantities import duration
from tasks.report.blocks import Block, Cell, Figure, Fold, Heading, Section, Text, section, table
from tasks.report.chart import Line, chart

Numbers = Mapping[str, Any]
OBJECTIVE = "objective"


def mixtures(numbers: Numbers) -> Section | None:
    """Every search of the run."""
    blocks: list[Block | None] = []
    for name, found in numbers["mixtures"].items():
        if len(numbers["mixtures"]) > 1:
            blocks.append(Heading(name))
        blocks += _search(found)
    return section("Mixture", *blocks)


def _search(found: Numbers) -> list[Block | None]:
    fitted = [proxy for proxy in found["proxies"] if not proxy["left_out"]]
    at, law = found["at"], found["law"]
    seconds = found.get("proxy_seconds")
    took = f" They took {duration(seconds)} of training and evaluation." if seconds else ""
    return [
        Text(
            f"{len(fitted)} small models, each trained on another mixture, were fitted with the "
            f"law '{law}' ({found['source']}), which misses a proxy that it has not seen by "
            f"{found['errors'][law]:.2%} (root mean square). The shares have the least predicted "
            f"loss for {at['parameters']:,} parameters and {at['tokens']:,} tokens.{took}"
        ),
        _shares(found),
        _losses(found),
        _seen(fitted, found["targets"]),
        *(Text(note, "down") for note in found["notes"] if "left out" in note),
        *(Text(note) for note in found["notes"] if "left out" not in note),
        Fold("Laws, and the proxies", (_laws(found), _proxies(found))),
    ]


def _shares(found: Numbers) -> Block:
    compared, most = found["compared"], max(found["shares"].values())
    rows = [
        (
            category,
            Cell(f"{share:.1%}", bar=share / most),
            "{:.1%} to {:.1%}".format(*found["shares_interval"][category]),
            f"{compared['natural'][category]:.1%}",
            "{:.1%} to {:.1%}".format(*found["limits"][category]),
        )
        for category, share in found["shares"].items()
    ]
    columns = ["category", "#proposed", "#spread over resampled proxies", "#natural", "#allowed"]
    return table("Shares", columns, rows)


def _losses(found: Numbers) -> Block:
    rows = []
    for target, by_mixture in found["predicted"].items():
        name = "weighted sum" if target == OBJECTIVE else target.partition("@")[0]
        cells = [
            Cell(f"{one['loss']:.3f}", small="{:.3f} to {:.3f}".format(*one["interval"]))
            for one in (by_mixture[mixture] for mixture in ("proposed", "natural", "uniform"))
        ]
        rows.append((name, *cells))
    caption = f"Predicted bits per byte, with the interval of {found['level']:.0%} of a training"
    return table(caption, ["held-out text", "#proposed", "#natural", "#uniform"], rows)


def _seen(fitted: Sequence[Numbers], targets: Numbers) -> Block | None:
    """Each proxy's losses against what the fit without it predicts."""
    lines = []
    for colour, target in enumerate(targets):
        points = [
            (proxy["predicted"][target], proxy["losses"][target])
            for proxy in fitted
            if target in proxy["predicted"] and target in proxy["losses"]
        ]
        lines.append(Line(target.partition("@")[0], colour, sorted(points), scatter=True))
    values = [value for line in lines for point in line.points for value in point]
    if not values:
        return None
    ends = (min(values), max(values))
    drawn = chart(
        "Proxies: observed against predicted by the fit without each",
        [*lines, Line("equal", 5, [(end, end) for end in ends], dashed=True)],
        x="predicted bits per byte",
        y="observed bits per byte",
        wide=False,
    )
    return None if drawn is None else Figure(drawn)


def _laws(found: Numbers) -> Block:
    rows = [
        (law, f"{error:.2%}", "taken" if law == found["law"] else "")
        for law, error in sorted(found["errors"].items(), key=lambda one: one[1])
    ]
    return table("Laws", ["law", "#error on left-out proxies", ""], rows, compact=True)


def _proxies(found: Numbers) -> Block:
    rows = [
        (
            proxy["name"].rpartition("~")[2] + ("" if not proxy["left_out"] else " (left out)"),
            proxy["parameters"],
            proxy["tokens"],
            ", ".join(f"{c.partition('@')[0]} {s:.2f}" for c, s in proxy["shares"].items()),
            f"{max(proxy['epochs'].values(), default=0):.2f}",
        )
        for proxy in found["proxies"]
    ]
    columns = ["proxy", "#parameters", "#tokens", "shares", "#most epochs of a category"]
    return table("Proxies", columns, rows)
