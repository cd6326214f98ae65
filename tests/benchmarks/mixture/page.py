"""docs/mixture.md: figures and picture of `make mixture`, below what is written by hand."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.mixture.laws import LAW
from tasks.mixture.proxies import Proxy
from tasks.mixture.search import OBJECTIVE
from tests.benchmarks.mixture.unseen import Checked

HAND = Path(__file__).with_name("page.md")

Scores = Mapping[str, Sequence[Mapping[str, float]]]


def page(
    found: Mapping[str, Any],
    unseen: Sequence[Proxy],
    rows: Mapping[str, Sequence[Checked]],
    scores: Scores,
) -> str:
    """The whole page."""
    return "\n".join(
        [
            HAND.read_text(encoding="utf-8").rstrip(),
            "",
            *_search(found),
            "",
            *_unseen(found, unseen, rows),
            "",
            *_compared(found, scores),
            "",
        ]
    )


def _search(found: Mapping[str, Any]) -> list[str]:
    proxies = found["proxies"]
    sizes = sorted({proxy["parameters"] for proxy in proxies})
    tokens = sum(proxy["tokens"] for proxy in proxies)
    lines = [
        f"{len(proxies)} proxies of {sizes[0]:,} to {sizes[-1]:,} parameters read {tokens:,} "
        f"tokens in all. Their training and evaluation took {found['proxy_seconds'] / 60:.0f} "
        "minutes, added up, two at a time on two cores that others used too.",
        "",
        "| category | natural | proposed | spread over resampled proxies | allowed |",
        "|---|--:|--:|--:|--:|",
    ]
    for category, share in found["shares"].items():
        low, high = found["shares_interval"][category]
        least, most = found["limits"][category]
        natural = found["compared"]["natural"][category]
        lines.append(
            f"| {category} | {natural:.1%} | **{share:.1%}** | {low:.1%} to {high:.1%} "
            f"| {least:.1%} to {most:.1%} |"
        )
    return [*lines, *(f"\n- {note}" for note in found["notes"])]


def _unseen(
    found: Mapping[str, Any], unseen: Sequence[Proxy], rows: Mapping[str, Sequence[Checked]]
) -> list[str]:
    lines = [
        "## Mixtures that the search did not see",
        "",
        f"{len(unseen)} more proxies, of the same sizes and lengths and another seed, were "
        f"predicted with intervals of {found['level']:.0%}. The last column is of the weighted sum "
        "that is made least.",
        "",
        "| law | error on left-out proxies | error on unseen mixtures | losses within their "
        "interval | sums within theirs |",
        "|---|--:|--:|--:|--:|",
    ]
    for law, error in sorted(found["errors"].items(), key=lambda one: one[1]):
        own = [row for row in rows[law] if row.target != OBJECTIVE]
        sums = [row for row in rows[law] if row.target == OBJECTIVE]
        missed = statistics.fmean((row.predicted / row.observed - 1) ** 2 for row in own) ** 0.5
        name = f"**{law}** (taken)" if law == found["law"] else law
        lines.append(
            f"| {name}: {LAW[law].source} | {error:.2%} | {missed:.2%} | {_counted(own)} | "  # type: ignore[index]
            f"{_counted(sums)} |"
        )
    lines += ["", "![observed against predicted](images/mixture.svg)"]
    return lines


def _counted(rows: Sequence[Checked]) -> str:
    inside = sum(row.inside for row in rows)
    return f"{inside} of {len(rows)} ({inside / len(rows):.0%})"


def _compared(found: Mapping[str, Any], scores: Scores) -> list[str]:
    seeds = min((len(of_arm) for of_arm in scores.values()), default=0)
    if seeds == 0 or len(scores) < 2:
        return ["## The choice against others", "", "Not run yet."]
    categories = list(found["shares"])
    at = found["at"]
    lines = [
        "## The choice against others",
        "",
        f"A model of {at['parameters']:,} parameters, larger than any proxy, on {at['tokens']:,} "
        f"tokens of each mixture, with {seeds} seeds. Bits per byte of held-out text, means over "
        "seeds; *predicted* is what the search expected of the sum, with its interval of "
        f"{found['level']:.0%}.",
        "",
        f"| mixture | {' | '.join(categories)} | sum | predicted sum | behind the proposed |",
        f"|---|{'--:|' * (len(categories) + 3)}",
    ]
    import numpy as np

    tables = {
        arm: np.array([[one[c] for c in categories] for one in of_arm[:seeds]])
        for arm, of_arm in scores.items()
    }
    for arm, table in tables.items():
        means = table.mean(0)
        behind = "–"
        if arm != "proposed" and seeds > 1:
            differences = (table - tables["proposed"]).sum(1)
            behind = f"{differences.mean():+.3f} ± {_half(differences):.3f}"
        told = found["predicted"][OBJECTIVE].get(arm)
        predicted = "–"
        if told is not None:
            predicted = "{:.3f} ({:.3f} to {:.3f})".format(told["loss"], *told["interval"])
        lines.append(
            f"| {arm} | {' | '.join(f'{mean:.3f}' for mean in means)} | {means.sum():.3f} "
            f"| {predicted} | {behind} |"
        )
    return [
        *lines,
        "",
        "The last column is the mean over seeds of the difference of sums, pair by pair, with its "
        "95 % interval (Student's t over seeds).",
    ]


def _half(differences: Any) -> float:
    """Half the 95 % interval of the mean of differences over seeds."""
    from scipy.stats import t as student

    error = differences.std(ddof=1) / len(differences) ** 0.5
    return float(student.ppf(0.975, len(differences) - 1) * error)


def drawn(found: Mapping[str, Any], rows: Sequence[Checked], file: Path) -> None:
    """Losses of the unseen mixtures, observed and predicted with intervals, and the shares."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), width_ratios=(3, 2))
    targets = [target.partition("@")[0] for target in found["targets"]]
    for number, target in enumerate(targets):
        own = [row for row in rows if row.target == target]
        predicted = [row.predicted for row in own]
        errors = [
            [row.predicted - row.low for row in own],
            [row.high - row.predicted for row in own],
        ]
        observed = [row.observed for row in own]
        left.errorbar(
            observed, predicted, errors, fmt="o", ms=4, lw=1, color=f"C{number}", label=target
        )
    ends = [min(row.observed for row in rows if row.target != OBJECTIVE)]
    ends.append(max(row.observed for row in rows if row.target != OBJECTIVE))
    left.plot(ends, ends, color="#8c959f", lw=1, zorder=0)
    left.set_xlabel("observed bits per byte of an unseen mixture")
    left.set_ylabel(f"predicted, with its interval of {found['level']:.0%}")
    left.legend(frameon=False)
    categories = list(found["shares"])
    for number, (name, shares) in enumerate(
        (("natural", found["compared"]["natural"]), ("proposed", found["shares"]))
    ):
        places = [index + 0.38 * number for index in range(len(categories))]
        right.barh(places, [shares[c] for c in categories], 0.36, label=name)
    right.set_yticks([index + 0.19 for index in range(len(categories))], categories)
    right.invert_yaxis()
    right.set_xlabel("share")
    right.legend(frameon=False)
    for axes in (left, right):
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Neither a date nor random names, so that the same figures give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "mixture", "svg.fonttype": "none"}):
        figure.savefig(file, bbox_inches="tight", facecolor="white", metadata={"Date": None})
    plt.close(figure)
