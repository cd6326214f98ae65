"""Runs stage cut: read block lists, count perplexities, refine cut-offs, the same for scores that
have a curve, write reasons; three to five passes over columns.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from infra.context import Context
from infra.stage import Outcome, StageError
from infra.store import Artifact
from tasks.cut import by_field
from tasks.cut.apply import CutWork, collect_perplexities, count_perplexities, write_reasons
from tasks.cut.blocking import compile_lists, notes_on
from tasks.cut.classified import curves_of
from tasks.cut.curve_cutoffs import curve_statistics, find_limits, scores_of
from tasks.cut.funnel import funnel
from tasks.cut.percentiles import histogram, percentile, wanted_bins
from tasks.cut.stage import CutParameters, SourceCut
from tasks.documents.annotate import ledger_of, parts
from tasks.documents.categories import FieldCategory

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "line_dedup": ("emptied",),
    "langid": ("language", "language_score"),
    "quality": ("failed",),
    "perplexity": ("perplexity",),
    "decontaminate": ("contaminated", "passage_share"),
}
"""Role of an annotator -> the columns that checks read."""

Unit = tuple[str, str]
"""(language, what scored it: normaliser, SentencePiece model and n-gram model)."""


def run(context: Context) -> Outcome:
    """See `tasks.cut.stage`."""
    parameters: CutParameters = context.parameters
    sources = annotated_sources(parameters, context.inputs)
    blocks, block_statistics = compile_lists(context)
    scores = scores_of(parameters, context.many("scores"))
    work = {
        f"{source}.{part.name.removesuffix('.parquet')}": CutWork(
            part,
            keep,
            blocks[source],
            scores={name: found.path(part.name) for name, found in scores[source].items()},
        )
        for source, keep in parameters.sources.items()
        for part in parts(
            sources[source]["documents"],
            # Costs nothing to read, as all its values are equal, and gives the number of rows of a
            # source without annotations.
            document_columns(keep, blocked=bool(blocks[source])),
            {
                role: (annotated, columns_read(role, keep))
                for role, annotated in sources[source].items()
                if role in COLUMNS
            },
        )
    }
    units = {source: language_units(roles.get("perplexity")) for source, roles in sources.items()}
    counts, cutoffs = find_cutoffs(context, parameters, work, units)
    bucketed = {
        key: dataclasses.replace(
            item,
            cutoffs={
                language: cutoffs[unit]
                for language, unit in units[item.part.source].items()
                if unit in cutoffs
            },
        )
        for key, item in work.items()
    }
    limits = find_limits(context, bucketed, scores)
    final = {
        f"write.{key}": dataclasses.replace(item, limits=limits.of(item.part.source))
        for key, item in bucketed.items()
    }
    results = context.map(write_reasons, final)
    ledger = ledger_of(results)
    statistics = {
        "percentiles": {"head": parameters.head, "middle": parameters.middle},
        "cutoffs": [
            {
                "language": unit[0],
                "unit": unit[1],
                "sources": sorted(
                    source for source, known in units.items() if unit in known.values()
                ),
                "documents": sum(counts[unit].values()),
                "head": cutoffs[unit][0],
                "middle": cutoffs[unit][1],
                "histogram": histogram(counts[unit]),
            }
            for unit in sorted(cutoffs)
        ],
        **funnel(ledger["rows"]),
        "contaminated": _contaminated(final, results),
        **curve_statistics(limits, final, results),
    }
    if (earlier := context.optional("calibration")) is not None:
        statistics["calibration"] = earlier.identity
        statistics["other_cutoffs"] = [
            {"language": unit[0], "unit": unit[1], "head": head, "middle": middle}
            for unit, (head, middle) in sorted(calibrated_cutoffs(earlier).items())
            if unit not in cutoffs
        ]
    if block_statistics:
        statistics["block"] = block_statistics
        statistics["notes"] = notes_on(block_statistics, blocks, ledger["rows"])
    others = by_field.others_of(
        (final[key].part.source, result["others"]) for key, result in results.items()
    )
    if others:
        statistics["category_values"] = by_field.statistics_of(others)
        stated = {source: keep.category for source, keep in parameters.sources.items()}
        by_source = {s: c for s, c in stated.items() if isinstance(c, FieldCategory)}
        statistics.setdefault("notes", []).extend(by_field.notes_on(others, by_source))
    return Outcome(statistics, ledger)


def annotated_sources(
    parameters: CutParameters, inputs: Mapping[str, Sequence[Artifact]]
) -> dict[str, dict[str, Artifact]]:
    """Source -> role -> artifact. Raises StageError where a keep lacks the column it needs."""
    roles = {
        role: {artifact.name: artifact for artifact in inputs.get(role, ())}
        for role in ("documents", *COLUMNS)
    }
    if set(roles["documents"]) != set(parameters.sources):
        raise StageError(
            f"cut has keeps for the sources {sorted(parameters.sources)} but documents of "
            f"{sorted(roles['documents'])}; every source needs both"
        )
    sources = {
        source: {
            role: by_source[source] for role, by_source in roles.items() if source in by_source
        }
        for source in parameters.sources
    }
    for source, keep in parameters.sources.items():
        _check_source(source, keep, sources[source])
    return sources


def _check_source(source: str, keep: SourceCut, annotated: Mapping[str, Artifact]) -> None:
    for role in ("langid", "quality", "perplexity"):
        if getattr(keep, role) is not None and role not in annotated:
            raise StageError(
                f"source {source!r} has a keep for {role} but no {role} stage; add the stage, or "
                "remove the keep"
            )
    if isinstance(keep.category, dict) and "langid" not in annotated:
        raise StageError(
            f"source {source!r} has a category by language but no langid stage; add one, or one "
            "category"
        )
    if keep.quality is not None:
        rules = annotated["quality"].statistics["rules"]
        if unknown := keep.quality.unknown(rules):
            raise StageError(
                f"source {source!r} keeps by {list(unknown)}, which its quality stage did not "
                f"measure (it has {', '.join(rules)}); add them to quality.rules, or remove them "
                "from keep"
            )


def language_units(perplexity: Artifact | None) -> dict[str, Unit]:
    """Language -> the unit that scored it, from the statistics of the perplexity stage."""
    units: Mapping[str, str] = perplexity.statistics["units"] if perplexity is not None else {}
    return {language: (language, unit) for language, unit in units.items()}


def document_columns(keep: SourceCut, *, blocked: bool) -> tuple[str, ...]:
    """The columns of the documents that the checks of one source read."""
    by_value = ("category",) if isinstance(keep.category, FieldCategory) else ()
    drawn = ("id",) if curves_of(keep.classifiers) else ()
    return ("source", *(("url",) if blocked else ()), *by_value, *drawn)


def columns_read(role: str, keep: SourceCut) -> tuple[str, ...]:
    """The columns of an annotator that the checks of one source read."""
    by_script = role == "langid" and keep.langid is not None and keep.langid.scripts is not None
    return (*COLUMNS[role], "script") if by_script else COLUMNS[role]


def find_cutoffs(
    context: Context,
    parameters: CutParameters,
    work: Mapping[str, CutWork],
    units: Mapping[str, Mapping[str, Unit]],
) -> tuple[dict[Unit, Counter[int]], dict[Unit, tuple[float, float]]]:
    """By unit: counts of perplexity bins, and the cut-offs (head, middle)."""
    percents = (parameters.head, parameters.middle)
    calibrated = calibrated_cutoffs(context.optional("calibration"))
    scored = {key: item for key, item in work.items() if units[item.part.source]}

    counted = context.map(
        count_perplexities, {f"count.{key}": item for key, item in scored.items()}
    )
    counts: dict[Unit, Counter[int]] = {}
    for item, bins_by_language in zip(scored.values(), counted.values(), strict=True):
        for language, bins in bins_by_language.items():
            unit = _unit(units, item, language)
            counts.setdefault(unit, Counter()).update(
                {int(key): number for key, number in bins.items()}
            )

    wanted = {
        unit: frozenset(wanted_bins(bins, percents))
        for unit, bins in counts.items()
        if unit not in calibrated
    }
    refine = {
        f"collect.{key}": dataclasses.replace(
            item,
            wanted={
                language: wanted[unit]
                for language, unit in units[item.part.source].items()
                if unit in wanted
            },
        )
        for key, item in scored.items()
    }
    values: dict[Unit, Counter[float]] = {}
    collected = context.map(collect_perplexities, refine)
    for item, pairs_by_language in zip(refine.values(), collected.values(), strict=True):
        for language, pairs in pairs_by_language.items():
            values.setdefault(_unit(units, item, language), Counter()).update(dict(pairs))
    computed = {
        unit: tuple(percentile(counts[unit], values[unit], percent) for percent in percents)
        for unit in wanted
    }
    cutoffs = {unit: (head, middle) for unit, (head, middle) in computed.items()}
    return counts, cutoffs | {unit: calibrated[unit] for unit in counts if unit in calibrated}


def calibrated_cutoffs(earlier: Artifact | None) -> dict[Unit, tuple[float, float]]:
    """The cut-offs of an earlier cut, and those that it was given itself, by unit."""
    if earlier is None:
        return {}
    entries = (*earlier.statistics["cutoffs"], *earlier.statistics.get("other_cutoffs", ()))
    return {(e["language"], e["unit"]): (e["head"], e["middle"]) for e in entries}


def _unit(units: Mapping[str, Mapping[str, Unit]], item: CutWork, language: str) -> Unit:
    try:
        return units[item.part.source][language]
    except KeyError:
        raise StageError(
            f"source {item.part.source!r} has perplexities of {language!r}, but its perplexity "
            f"stage had language models only of {sorted(units[item.part.source])}; score the "
            "source again"
        ) from None


def _contaminated(
    work: Mapping[str, CutWork], results: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, int]]:
    total: dict[str, Counter[str]] = {}
    for key, result in results.items():
        if result["contaminated"]:
            total.setdefault(work[key].part.source, Counter()).update(result["contaminated"])
    return {source: dict(sorted(counts.items())) for source, counts in sorted(total.items())}
