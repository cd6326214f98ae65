"""Says what a stage measured of a document, against which limit, and what followed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.ledger import UNDETERMINED
from tasks.documents.curves import Curve

if TYPE_CHECKING:
    from tasks.documents.keeps import Keeps

OVERLAP_SHOWN = 200

Limits = Callable[[str, str, str], "Mapping[str, Any] | None"]
"""(rule, text, language) -> the quality rule's settings; None where it is off."""


@dataclass(frozen=True)
class Measured:
    """A value beside its limit. `verdict`: "drops", "edits", "passes", "noted" (fails, but `keep`
    does not drop by it), "" where nothing is decided.
    """

    rule: str
    value: float | str | None
    limit: str
    verdict: str

    def json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "rule": self.rule,
            "value": self.value,
            "limit": self.limit,
            "verdict": self.verdict,
        }


def measured(
    stage: str,
    details: Mapping[str, Any],
    keeps: Keeps,
    limits: Limits,
    asked: Mapping[str, float | None],
) -> list[Measured]:
    """All that the stage measured of one document (`tasks.documents.viewing.details_of`).

    `asked`: quality rule that was asked for -> its value, measured again.
    """
    parts: dict[str, Callable[[], Iterator[Measured]]] = {
        "langid": lambda: _language(details, keeps),
        "quality": lambda: _quality(details, keeps, limits, asked),
        "perplexity": lambda: _perplexity(details, keeps),
        "decontaminate": lambda: _contaminated(details, keeps),
        "line_dedup": lambda: _repeated(details),
        "pii": lambda: _masked(details),
        "scores": lambda: _scored(details, keeps),
    }
    if stage != "cut":
        return list(parts[stage]()) if stage in parts else []
    shown = [*_blocked(details), *(entry for part in parts.values() for entry in part())]
    shown += _uncategorised(details, keeps)
    return shown


def _language(details: Mapping[str, Any], keeps: Keeps) -> Iterator[Measured]:
    if details.get("language_score") is None:
        return
    keep, language = keeps.langid, details["language"]
    score = round(details["language_score"], 4)
    if keep is None:
        yield Measured(f"language {language}", score, "", "")
        return
    if keep.languages is not None and language not in keep.languages:
        yield Measured("language", language, f"one of {', '.join(keep.languages)}", "drops")
    # The stage compares float32 values; the score was one before it was rounded.
    low = details["language_score"] < keep.threshold
    verdict = "drops" if low else "passes"
    yield Measured(f"language {language}", score, f"at least {keep.threshold:g}", verdict)


def _quality(
    details: Mapping[str, Any], keeps: Keeps, limits: Limits, asked: Mapping[str, float | None]
) -> Iterator[Measured]:
    """The rule that was asked for, then those that drop the document, then those that it fails
    without being dropped by them.
    """
    language, text = details.get("language") or UNDETERMINED, details["record"]
    failed = details.get("failed") or ()
    shown = []
    for entry in failed:
        rule = entry["rule"]
        verdict = "fails"
        if keeps.quality is not None:
            verdict = "drops" if keeps.quality.applies(rule) else "noted"
        elif keeps.known:
            verdict = "noted"
        settings = limits(rule, text, language)
        shown.append(Measured(rule, entry["value"], limit_in_words(settings), verdict))
    for rule, value in asked.items():
        if value is not None and rule not in [entry["rule"] for entry in failed]:
            settings = limits(rule, text, language)
            shown.append(Measured(rule, value, limit_in_words(settings), "passes"))
    yield from sorted(shown, key=lambda entry: (entry.rule not in asked, entry.verdict != "drops"))


def limit_in_words(settings: Mapping[str, Any] | None) -> str:
    """The limits of a rule's settings: "50 to 100,000", "at most 0.1"."""
    if settings is None:
        return "off"
    low, high = settings.get("min"), settings.get("max")
    if low is not None and high is not None:
        return f"{low:,} to {high:,}"
    if low is not None:
        return f"at least {low:,}"
    return f"at most {high:,}" if high is not None else "none"


def _perplexity(details: Mapping[str, Any], keeps: Keeps) -> Iterator[Measured]:
    value = details.get("perplexity")
    if value is None:
        return
    cutoffs = keeps.cutoffs.get(details.get("language") or UNDETERMINED)
    if cutoffs is None:
        yield Measured("perplexity", round(value, 3), "", "")
        return
    head, middle = cutoffs
    bucket = "head" if value < head else "middle" if value < middle else "tail"
    limit = f"head below {head:,.5g}, middle below {middle:,.5g}"
    verdict = ""
    if keeps.perplexity is not None:
        kept = keeps.perplexity.root
        verdict = "passes" if bucket in kept else "drops"
        limit += f"; keeps {', '.join(kept)}"
    yield Measured(f"perplexity ({bucket})", round(value, 3), limit, verdict)


def _scored(details: Mapping[str, Any], keeps: Keeps) -> Iterator[Measured]:
    """The score of each classifier, beside the threshold or the curve's cut-offs."""
    for name, score in details.get("scores", {}).items():
        section = keeps.classifiers.get(name)
        shown = None if score is None else round(score, 4)
        if section is None or section.keep is None:
            yield Measured(f"score by {name}", shown, "", "")
            continue
        dropped = (details.get("reason") or "").startswith(f"classifier.{name}")
        if isinstance(section.keep, Curve):
            language = details.get("language") or UNDETERMINED
            cuts = keeps.limits.get(name, {}).get(language, ())
            limit = f"{section.keep.in_words()}; cut-offs {', '.join(f'{c:.4g}' for c in cuts)}"
        else:
            limit = f"{section.keep.comparison} {section.keep.limit:g}"
        if score is None:
            limit = f"none: {section.unscored}"
        yield Measured(f"score by {name}", shown, limit, "drops" if dropped else "passes")


def _contaminated(details: Mapping[str, Any], keeps: Keeps) -> Iterator[Measured]:
    hits = details.get("contaminated") or ()
    share = details.get("passage_share") or 0.0
    action = keeps.decontaminate if keeps.known else ""
    verdict = {"drop": "drops", "passage": "edits", "report": "noted"}.get(action, "")
    if hits and action == "passage" and (share > keeps.passage_share or share == 1.0):
        verdict = "drops"
    for hit in hits:
        overlap = hit["overlap"]
        shown = overlap if len(overlap) < OVERLAP_SHOWN else f"{overlap}..."
        yield Measured(
            f"{hit['benchmark']} {hit['item']}",
            f"{hit.get('words', 0)} common words: {shown}",
            "",
            verdict,
        )
    if hits and action == "passage":
        limit = f"at most {keeps.passage_share:g}"
        yield Measured("share of the text in passages", round(share, 3), limit, verdict)


def _repeated(details: Mapping[str, Any]) -> Iterator[Measured]:
    edits = details["edits"].get("line_dedup", ())
    if not edits:
        return
    removed = sum(edit.end - edit.start for edit in edits)
    total = max(len(details["text"]), 1)
    left = "".join(_left(details["text"], edits)).strip()
    verdict = "edits" if left else "drops"
    value = f"{removed:,} of {total:,} characters ({removed / total:.0%})"
    yield Measured("repeated in the source", value, "", verdict)


def _masked(details: Mapping[str, Any]) -> Iterator[Measured]:
    counts = Counter(edit.reason for edit in details["edits"].get("pii", ()))
    for reason, count in sorted(counts.items()):
        yield Measured(reason, count, "", "edits")


def _left(text: str, edits: Any) -> Iterator[str]:
    done = 0
    for edit in edits:
        yield text[done : edit.start]
        done = edit.end
    yield text[done:]


def _blocked(details: Mapping[str, Any]) -> Iterator[Measured]:
    reason = details.get("reason") or ""
    if reason.startswith("block."):
        _, kind, name = reason.split(".", 2)
        yield Measured(f"{kind} on block list {name}", details["url"], "", "drops")


def _uncategorised(details: Mapping[str, Any], keeps: Keeps) -> Iterator[Measured]:
    reason, category = details.get("reason") or "", keeps.category
    if isinstance(category, Mapping) and "of" in category:
        wanted = f"one of {', '.join(category['of'])} (field {category['field']})"
        if reason == "category.missing":
            yield Measured("category", "none", wanted, "drops")
        elif reason == "category.unstated":
            yield Measured("category", details.get("stated_category") or "", wanted, "drops")
    elif reason == "category.none":
        by_language = isinstance(category, Mapping)
        wanted = f"a language of category: {', '.join(category or ())}" if by_language else ""
        yield Measured("category", details["language"], wanted or "a category", "drops")
