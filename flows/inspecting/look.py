"""Answers a request of `puna inspect`: counts, and the chosen documents with what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.inspecting.explain import Limits, Measured, measured
from flows.inspecting.inputs import Found
from flows.recipe.errors import nearest
from infra.stage import StageError
from infra.store import Artifact

if TYPE_CHECKING:
    from tasks.documents.choosing import Choice, Group, Request, Row
    from tasks.documents.viewing import Measure, SourceView
    from tasks.quality.rules import Assessor

STATED = ("license", "title", "author", "published", "declared_language", "dump", "stated_category")
"""Columns of what records state about their documents, shown where they do."""

EDITING = ("line_dedup", "decontaminate", "pii")
"""Stages of which documents that stay as they are are shown only on request."""


@dataclass(frozen=True)
class Shown:
    """One document: its fate, what was measured, an excerpt, and its edits in their context."""

    fate: str
    reasons: list[str]
    details: Mapping[str, Any]
    language: str
    measured: list[Measured]
    excerpt: str
    edited: str

    def json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        stated = {name: self.details[name] for name in STATED if self.details.get(name)}
        return {
            "fate": self.fate,
            "reasons": self.reasons,
            "id": self.details["id"],
            "source": self.details["source"],
            "url": self.details["url"],
            "date": self.details["date"],
            "file": self.details["file"],
            "offset": self.details["offset"],
            "language": self.language,
            **stated,
            "measured": [entry.json() for entry in self.measured],
            "excerpt": self.excerpt,
            **({"edited": self.edited} if self.edited else {}),
        }


@dataclass(frozen=True)
class Look:
    """Everything about a request: counts over all documents, and those shown."""

    found: Found
    stage: str
    choice: Choice
    shown: list[Shown]

    def json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        choice = self.choice
        return {
            "stage": self.stage,
            "artifacts": [artifact.identity for artifact in self.found.artifacts],
            "cut": self.found.cut.identity if self.found.cut else None,
            "documents": sum(choice.fates.values()),
            "fates": {fate: choice.fates[fate] for fate in sorted(choice.fates)},
            "reasons": dict(choice.reasons.most_common()),
            "matching": choice.matching,
            "shown": [entry.json() for entry in self.shown],
        }


def look(found: Found, stage: str, request: Request, words: int) -> Look:
    """Choose the documents and read them. Raises StageError for a request that the stage cannot
    answer.
    """
    from tasks.documents.choosing import choose
    from tasks.documents.viewing import details_of

    if stage == "ingest":
        return _look_at_ingest(found, request, words)
    quality = QualityOf(found.views)
    rule = quality.whole_rule(request.rules) if stage == "quality" else None
    choice = choose(_groups(found, stage, request, rule, quality), request)
    measured_rules = [f"quality.{name}" for name in quality.rules] if stage == "quality" else []
    _refuse_unknown_rules(stage, request, choice.reasons, measured_rules)
    _refuse_unanswerable(stage, request, choice, found)
    shown = []
    for row, details in zip(choice.rows, details_of(choice.rows), strict=True):
        asked = {}
        if rule is not None:
            asked[rule] = quality.value(row.place.view.name, rule, details["record"], row.language)
        shown.append(_shown(stage, row, details, quality, asked, words))
    return Look(found, stage, choice, shown)


def _look_at_ingest(found: Found, request: Request, words: int) -> Look:
    """Kept documents from the documents themselves; of the others, which have no text, the sample
    that ingest wrote down, and the ledger's counts.
    """
    from dataclasses import replace

    from flows.inspecting.rejected import chosen, counted, measured_of
    from tasks.documents.choosing import choose
    from tasks.documents.excerpts import excerpt
    from tasks.documents.verdicts import KEPT
    from tasks.documents.viewing import details_of

    sides, reasons = counted(found.artifacts)
    _refuse_unknown_rules("ingest", request, reasons)
    _refuse_unheard_of(request)
    only_kept = request.fates == (KEPT,) or request.percentile or request.languages
    rejected = [] if only_kept else chosen(found.artifacts, request)
    wants_kept = not request.rules and (not request.fates or KEPT in request.fates)
    room = max(request.sample - len(rejected), request.sample // 2) if wants_kept else 0
    quality = QualityOf(found.views)
    choice = choose(
        _groups(found, "ingest", request, None, quality), replace(request, rules=(), sample=room)
    )
    if request.percentile is not None and choice.scores is None:
        raise StageError("ingest kept no document; leave --percentile out")
    if not request.languages:
        choice.fates.update(sides)
        choice.reasons.update(reasons)
    shown = [
        _shown("ingest", row, details, quality, {}, words)
        for row, details in zip(choice.rows, details_of(choice.rows), strict=True)
    ]
    parameters = {artifact.name: artifact.manifest.parameters for artifact in found.artifacts}
    refused = [
        Shown(
            entry["side"],
            [entry["reason"]],
            {"id": "", "date": "", **entry},
            "",
            measured_of(entry, parameters[entry["source"]]),
            excerpt(entry["head"], words),
            "",
        )
        for entry in rejected[: request.sample - len(shown)]
    ]
    return Look(found, "ingest", choice, [*refused, *shown])


def _groups(
    found: Found, stage: str, request: Request, rule: str | None, quality: QualityOf
) -> Callable[[], Iterator[Group]]:
    from tasks.documents import viewing

    by_value = request.near_limit or request.percentile is not None
    if stage == "quality" and by_value:
        if rule is None:
            raise StageError(
                "the values of quality belong to a rule: name one with --rule, such as --rule "
                "gopher.word_count"
            )
        measures = {view.name: quality.measure(view.name, rule) for view in found.views}
        return lambda: viewing.measured_groups(found.views, rule, measures)
    if stage == "ingest" and request.percentile is not None:
        return lambda: viewing.text_bytes_groups(found.views)
    return lambda: viewing.verdict_groups(found.views, stage)


def _refuse_unanswerable(stage: str, request: Request, choice: Choice, found: Found) -> None:
    if request.percentile is not None and choice.scores is None:
        raise StageError(f"no document of {stage} has a score; leave --percentile out")
    if request.near_limit and not choice.matching and choice.fates:
        why = (
            "no cut has read it, so it has no limit"
            if found.cut is None
            else "none of its documents has a value beside a limit"
        )
        raise StageError(f"{stage}: {why}; leave --near-limit out")


def _refuse_unheard_of(request: Request) -> None:
    """Refuse what documents of ingest never have: edits, and values beside a limit."""
    from tasks.documents.verdicts import EDITED

    if EDITED in request.fates:
        raise StageError("ingest edits no document; leave --edited out")
    if request.near_limit:
        raise StageError("documents of ingest have no value beside a limit; leave --near-limit out")


def _refuse_unknown_rules(
    stage: str, request: Request, counts: Counter[str], measured_rules: Sequence[str] = ()
) -> None:
    """`measured_rules`: rules that exist even where no document fails them."""
    from tasks.documents.choosing import is_named

    for rule in request.rules:
        if not any(is_named(rule, reason) for reason in (*counts, *measured_rules)):
            reasons = [reason for reason, _ in counts.most_common()]
            raise StageError(
                f"{stage}: no document has a reason {rule!r}{nearest(rule, reasons)}; there are: "
                f"{', '.join(reasons) or 'none'}"
            )


def _shown(
    stage: str,
    row: Row,
    details: Mapping[str, Any],
    quality: QualityOf,
    asked: Mapping[str, float | None],
    words: int,
) -> Shown:
    from tasks.documents.excerpts import excerpt

    view: SourceView = row.place.view
    edited = _edited(stage, details, view) if stage in EDITING else ""
    known = {**details, "language": details.get("language") or row.language}
    return Shown(
        row.fate,
        row.reasons,
        details,
        row.language,
        measured(stage, known, view.keeps, quality.limits(view.name), asked),
        excerpt(details["record"], words),
        edited,
    )


def _edited(stage: str, details: Mapping[str, Any], view: SourceView) -> str:
    """The text around what was removed, or around the items of benchmarks found in it."""
    from tasks.documents.excerpts import edited_excerpt, marked_excerpt

    spans = [
        (hit["start"], hit["end"])
        for hit in details.get("contaminated") or ()
        if stage == "decontaminate" and hit["start"] is not None
    ]
    if stage == "decontaminate" and view.keeps.decontaminate != "passage":
        return marked_excerpt(details["text"], spans) if spans else ""
    return edited_excerpt(details["text"], details["edits"].get(stage, []), spans)


class QualityOf:
    """The limits of the quality rules of each source, and values measured again."""

    def __init__(self, views: list[SourceView] | Any) -> None:
        self._artifacts: dict[str, Artifact] = {}
        self._assessors: dict[str, Assessor] = {}
        self.rules: dict[str, None] = {}
        for view in views:
            if (artifact := view.roles.get("quality")) is not None:
                self._artifacts[view.name] = artifact
                self.rules |= dict.fromkeys(artifact.statistics["rules"])

    def _assessor(self, source: str) -> Assessor:
        from tasks.quality.inspect import assessor_of

        if source not in self._assessors:
            self._assessors[source] = assessor_of(self._artifacts[source])
        return self._assessors[source]

    def whole_rule(self, names: tuple[str, ...]) -> str | None:
        """The rule that a request names, if it names one and not a group."""
        if len(names) != 1:
            return None
        name = names[0].removeprefix("quality.")
        return name if name in self.rules else None

    def limits(self, source: str) -> Limits:
        """The settings of a source's rules."""
        from tasks.quality.inspect import settings_of

        return lambda rule, text, language: settings_of(
            self._assessor(source), rule, text, language
        )

    def value(self, source: str, rule: str, text: str, language: str) -> float | None:
        """What a rule measures of a text."""
        return self._assessor(source).measure(rule, text, language)

    def measure(self, source: str, rule: str) -> Measure:
        """See `tasks.documents.viewing.Measure`."""
        limits = self.limits(source)

        def measure(text: str, language: str) -> tuple[float, float] | None:
            settings = limits(rule, text, language)
            value = self.value(source, rule, text, language)
            if settings is None or value is None:
                return None
            edges = [settings[name] for name in ("min", "max") if settings.get(name) is not None]
            distance = min((abs(value - edge) / max(edge, 1) for edge in edges), default=0.0)
            return value, distance

        return measure
