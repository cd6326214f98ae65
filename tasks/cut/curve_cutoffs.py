"""The cut-offs of every sampling curve, by source, classifier and language."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.context import Context
from infra.stage import StageError
from infra.store import Artifact
from tasks.cut.apply import CutWork, collect_scores, count_scores
from tasks.cut.classified import Drawn, Limits, curves_of
from tasks.cut.scored import Cutoff, cutoffs, wanted_bins
from tasks.cut.stage import CutParameters
from tasks.documents.curves import Curve
from tasks.documents.scoring import scores_name

Place = tuple[str, str, str]
"""(source, classifier, language)."""

Scores = Mapping[str, Mapping[str, Artifact]]
"""Source -> classifier -> its scores."""


@dataclass(frozen=True)
class FoundLimits:
    """`by_place`: the cut-offs of each curve, one for each percentile at which it changes.
    `classifiers`: (source, classifier) -> what scored it. `earlier`: of an earlier cut, those that
    no document of this one asks for.
    """

    by_place: Mapping[Place, tuple[Cutoff, ...]]
    classifiers: Mapping[tuple[str, str], str]
    earlier: tuple[Mapping[str, Any], ...] = field(default=())

    def of(self, source: str) -> dict[str, Limits]:
        """Classifier -> language -> cut-offs, of one source."""
        found: dict[str, dict[str, tuple[Cutoff, ...]]] = {}
        for (name, classifier, language), limits in self.by_place.items():
            if name == source:
                found.setdefault(classifier, {})[language] = limits
        return {**found}


def scores_of(
    parameters: CutParameters, given: Sequence[Artifact]
) -> dict[str, dict[str, Artifact]]:
    """Source -> classifier -> its scores, of classifiers with a keep. Raises StageError where a
    keep has none.
    """
    there = {artifact.name: artifact for artifact in given}
    found: dict[str, dict[str, Artifact]] = {}
    for source, keep in parameters.sources.items():
        found[source] = {}
        for name, section in keep.classifiers.items():
            if section.keep is None:
                continue
            if (scores := there.get(scores_name(source, name))) is None:
                raise StageError(
                    f"source {source!r} has a keep for classifier {name!r} but no scores of it; "
                    "add the stage, or remove the keep"
                )
            found[source][name] = scores
    return found


def find_limits(context: Context, work: Mapping[str, CutWork], scores: Scores) -> FoundLimits:
    """Count the scores of documents that pass all other checks, then collect those near cut-offs.

    Of an earlier cut in the role calibration, cut-offs of the same classifier and curve are kept.
    """
    with_curve = {key: item for key, item in work.items() if curves_of(item.keep.classifiers)}
    curves = {
        (item.part.source, name): curve
        for item in with_curve.values()
        for name, curve in curves_of(item.keep.classifiers).items()
    }
    scored_by = {
        (source, name): str(scores[source][name].statistics.get("classifier", ""))
        for source, name in curves
    }
    known = calibrated(context.optional("calibration"), scored_by, curves)
    counted = context.map(count_scores, {f"scores.{key}": one for key, one in with_curve.items()})
    counts: dict[Place, Counter[int]] = {}
    for item, found in zip(with_curve.values(), counted.values(), strict=True):
        for place, bins in _places(item, found):
            counts.setdefault(place, Counter()).update({int(k): n for k, n in bins.items()})
    wanted = {
        place: frozenset(wanted_bins(bins, curves[place[:2]].starts))
        for place, bins in counts.items()
        if place not in known
    }
    refine = {
        f"near.{key}": dataclasses.replace(item, wanted_scores=_nested(wanted, item.part.source))
        for key, item in with_curve.items()
    }
    values: dict[Place, Counter[float]] = {}
    collected = context.map(collect_scores, refine)
    for item, found in zip(refine.values(), collected.values(), strict=True):
        for place, pairs in _places(item, found):
            values.setdefault(place, Counter()).update(dict(pairs))
    computed = {
        place: cutoffs(counts[place], values.get(place, {}), curves[place[:2]].starts)
        for place in wanted
    }
    used = {place: known[place] for place in counts if place in known}
    return FoundLimits(
        {**computed, **used},
        scored_by,
        tuple(_entry(place, known[place], scored_by, curves) for place in known.keys() - used),
    )


def calibrated(
    earlier: Artifact | None,
    scored_by: Mapping[tuple[str, str], str],
    curves: Mapping[tuple[str, str], Curve],
) -> dict[Place, tuple[Cutoff, ...]]:
    """The cut-offs of an earlier cut that still mean the same: same classifier, same curve."""
    if earlier is None:
        return {}
    statistics = earlier.statistics
    found = {}
    for entry in (*statistics.get("curves", ()), *statistics.get("other_curves", ())):
        key = (entry["source"], entry["classifier"])
        if (
            key in curves
            and entry["scored_by"] == scored_by[key]
            and tuple(entry["starts"]) == curves[key].starts
        ):
            limits = tuple(Cutoff(value, share) for value, share in entry["limits"])
            found[(*key, entry["language"])] = limits
    return found


def curve_statistics(
    limits: FoundLimits, work: Mapping[str, CutWork], results: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """For the manifest: cut-offs, factors as stated, documents and copies as drawn, by step."""
    drawn: dict[str, Drawn] = {}
    curves: dict[tuple[str, str], Curve] = {}
    for key, result in results.items():
        item = work[key]
        drawn.setdefault(item.part.source, Drawn()).add(result["curves"])
        for name, curve in curves_of(item.keep.classifiers).items():
            curves[item.part.source, name] = curve
    if not curves:
        return {}
    counts = {source: counted.to_json() for source, counted in drawn.items()}
    entries = [
        {
            **_entry(place, limits.by_place[place], limits.classifiers, curves),
            **counts[place[0]].get(place[1], {}).get(place[2], {}),
        }
        for place in sorted(limits.by_place)
    ]
    others = {"other_curves": [dict(entry) for entry in limits.earlier]} if limits.earlier else {}
    return {"curves": entries, **others}


def _entry(
    place: Place,
    limits: Iterable[Cutoff],
    scored_by: Mapping[tuple[str, str], str],
    curves: Mapping[tuple[str, str], Curve],
) -> dict[str, Any]:
    source, classifier, language = place
    curve = curves[source, classifier]
    return {
        "source": source,
        "classifier": classifier,
        "language": language,
        "scored_by": scored_by[source, classifier],
        "starts": list(curve.starts),
        "factors": list(curve.factors),
        "limits": [[limit.value, limit.share] for limit in limits],
    }


def _places(item: CutWork, found: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[Place, Any]]:
    for name, by_language in found.items():
        for language, counted in by_language.items():
            yield (item.part.source, name, language), counted


def _nested(
    wanted: Mapping[Place, frozenset[int]], source: str
) -> dict[str, dict[str, frozenset[int]]]:
    found: dict[str, dict[str, frozenset[int]]] = {}
    for (name, classifier, language), bins in wanted.items():
        if name == source:
            found.setdefault(classifier, {})[language] = bins
    return found
