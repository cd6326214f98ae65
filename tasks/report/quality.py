"""The section on quality: rubrics, classifiers, and what sampling curves drew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.report.blocks import Block, Cell, Figure, Section, Side, Text, section, table
from tasks.report.chart import Line, chart
from tasks.report.notes import Inputs

Numbers = Mapping[str, Any]


def quality_numbers(inputs: Inputs) -> dict[str, Any]:
    """What the section shows, from manifests."""
    return {
        "labels": {a.name: a.statistics for a in inputs.get("labels", ())},
        "classifiers": {a.name: a.statistics for a in inputs.get("classifier", ())},
        "scores": {a.name: a.statistics for a in inputs.get("scores", ())},
        "curves": [
            curve for cut in inputs.get("cut", ()) for curve in cut.statistics.get("curves", ())
        ],
        "repeats": {
            a.name: a.statistics["repeats"]
            for a in inputs.get("binning", ())
            if any(times != "1" for times in a.statistics.get("repeats", ()))
        },
    }


def quality(numbers: Numbers) -> Section | None:
    """Rubrics, classifiers, curves."""
    found = numbers["quality"]
    return section(
        "Quality",
        *_rubrics(found["labels"]),
        *_classifiers(found["classifiers"]),
        *_curves(found["curves"]),
        *_repeats(found["repeats"]),
    )


def _rubrics(labels: Mapping[str, Mapping[str, Any]]) -> Iterator[Block]:
    if not labels:
        return
    rows = []
    for name, found in labels.items():
        agreed, dollars = found["agreement"], found["dollars"]
        rows.append(
            (
                name,
                found["documents"],
                found["scored"],
                found["malformed"]["answers"],
                f"{found['requests']['asked']:,} + {found['requests']['cached']:,}",
                _percent(agreed["same"]),
                _number(agreed["kappa"]),
                None if dollars is None else f"${dollars:,.2f}",
            )
        )
    columns = ["rubric", "#documents", "#with a score", "#malformed answers", "#asked + known"]
    columns += ["#asked twice, same", "#kappa", "#cost"]
    yield table("Rubrics", columns, rows)
    for name, found in labels.items():
        scores = sorted({score for by in found["scores"].values() for score in by}, key=float)
        lines = [
            (source, *(by.get(score, 0) for score in scores))
            for source, by in found["scores"].items()
        ]
        yield table(f"Scores of {name}", ["source", *(f"#{score}" for score in scores)], lines)


def _classifiers(classifiers: Mapping[str, Mapping[str, Any]]) -> Iterator[Block]:
    trained = {name: found for name, found in classifiers.items() if "auc" in found}
    if not trained:
        return
    rows = []
    for name, found in trained.items():
        low, high = found["auc_interval"]
        sides = found["documents"]
        rows.append(
            (
                name,
                found["kind"],
                f"{sides['training']['good']:,} / {sides['training']['other']:,}",
                f"{sides['held_out']['good']:,} / {sides['held_out']['other']:,}",
                Cell(f"{found['auc']:.3f}", small=f"{low:.3f} to {high:.3f}"),
                f"{found['auc_of_length']:.3f}",
                _number(found.get("calibration_error")),
            )
        )
    columns = ["classifier", "kind", "#trained on, good / other", "#held out, good / other"]
    columns += ["#AUC", "#AUC of the length alone", "#calibration error"]
    yield Text(
        "Measured on documents that were not trained on, near duplicates held out together. AUC is "
        "the chance that a good document has a higher score than another; its interval is a "
        "bootstrap's over groups of near duplicates."
    )
    yield table("Classifiers", columns, rows)
    drawn = [
        (Figure(_reliability(name, found["reliability"])),)
        for name, found in trained.items()
        if len(found.get("reliability", ())) > 1
    ]
    if drawn:
        yield Side(tuple(drawn[:3]))
    for name, found in trained.items():
        yield Text(f"Where {name} disagrees most with what it was taught, among those documents:")
        yield from _disagreements(found["disagreements"])


def _reliability(name: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    """Share of good documents over the mean score, beside the diagonal."""
    points = [(row["mean"], row["good"]) for row in rows]
    stated = Line("as stated", 5, [(0.0, 0.0), (1.0, 1.0)], dashed=True)
    return chart(
        f"Calibration of {name}",
        [Line("good documents", 0, points), stated],
        x="score",
        y="share",
        zero=True,
        wide=False,
    )


def _disagreements(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Block]:
    for kind, caption in (
        ("missed", "Good, with the lowest scores"),
        ("mistaken", "Not good, with the highest scores"),
    ):
        rows = [
            (
                Cell(row["text"], small=row["url"] or row["id"], tone="soft"),
                row["source"],
                None if row["label"] is None else f"{row['label']:g}",
                f"{row['score']:.3f}",
            )
            for row in found[kind]
        ]
        if rows:
            yield table(caption, ["text", "source", "#rubric", "#score"], rows)


def _curves(curves: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    rows = []
    for curve in curves:
        starts = [0.0, *curve["starts"]]
        for step, (start, factor) in enumerate(zip(starts, curve["factors"], strict=True)):
            counts = curve.get("documents") or [0] * len(starts)
            copies = curve.get("copies") or [0] * len(starts)
            count, many = counts[step], copies[step]
            where = f"{curve['source']}, {curve['classifier']}, {curve['language']}"
            rows.append(
                (
                    f"{where}: from {start:g} %",
                    "drop" if not factor else f"{factor:g}",
                    f"{many / count:.3f}" if count else None,
                    count,
                    many,
                )
            )
    if rows:
        yield Text(
            "How often documents are repeated by the percentile of their score, as the recipe "
            "states it and as it was drawn, before duplicates are dropped."
        )
        yield table(
            "Sampling curves",
            ["percentile", "#stated", "#drawn", "#documents", "#copies"],
            rows,
        )


def _repeats(repeats: Mapping[str, Mapping[str, int]]) -> Iterator[Block]:
    rows = [
        (category, int(times), documents, int(times) * documents)
        for category, by_times in repeats.items()
        for times, documents in by_times.items()
    ]
    if rows:
        columns = ["category", "#times in an epoch", "#documents", "#copies"]
        yield table("Repeats in the bins", columns, rows)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
