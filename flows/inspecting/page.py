"""Writes what `puna inspect` found for a terminal or a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.text import Text

from flows.inspecting.explain import Measured
from flows.inspecting.look import Look, Shown
from flows.monitoring.console import marked

REASONS_SHOWN = 8
URL_CHARACTERS = 300

WIDEST = (48, 12, 64)
"""Characters up to which the columns rule, value and limit are aligned."""

_COLOURS = {"kept": "green", "edited": "yellow", "dropped": "red", "failed": "red"}
_VERDICT_COLOURS = {"drops": "red", "fails": "red", "edits": "yellow", "passes": "green"}
_STATED = {
    "title": "title",
    "author": "author",
    "published": "published",
    "license": "license",
    "declared_language": "declares",
    "dump": "dump",
    "stated_category": "states category",
}


def write(console: Console, look: Look, request_words: str) -> None:
    """Write all of it."""
    for line in _header(look):
        console.print(line, soft_wrap=True, highlight=False)
    for number, shown in enumerate(look.shown, 1):
        console.print()
        for text in _document(look, shown, number):
            console.print(text, soft_wrap=True, highlight=False)
    if not look.shown:
        console.print(f"\nno document matches {request_words}".rstrip(), highlight=False)


def _header(look: Look) -> Iterator[str]:
    yield ", ".join(artifact.identity for artifact in look.found.artifacts)
    if look.stage not in ("cut", "ingest", "pii"):
        cut = look.found.cut
        yield f"as {cut.identity} applied it" if cut else "no cut has read it: nothing is decided"
    choice = look.choice
    total = sum(choice.fates.values())
    fates = ", ".join(f"{choice.fates[fate]:,} {fate}" for fate in sorted(choice.fates))
    what = "records" if look.stage == "ingest" else "documents"
    yield f"{total:,} {what}: {fates}" if total else f"no {what}"
    reasons = choice.reasons.most_common()
    if reasons:
        listed = ", ".join(f"{name} {count:,}" for name, count in reasons[:REASONS_SHOWN])
        more = len(reasons) - REASONS_SHOWN
        yield "  " + listed + (f" and {more} more reasons" if more > 0 else "")
    if choice.scores is not None:
        low, high = choice.scores
        what = "bytes of text" if look.stage == "ingest" else "scores"
        yield f"{what} from {_number(low)} to {_number(high)}: {choice.matching:,} documents"


def _document(look: Look, shown: Shown, number: int) -> Iterator[Text]:
    details = shown.details
    head = Text(f"{number}/{len(look.shown)} ")
    head.append(shown.fate, style=f"bold {_COLOURS[shown.fate]}")
    if shown.reasons and (shown.fate != "kept" or look.stage != "quality"):
        head.append(f" {shown.reasons[0]}")
    yield head
    if details["url"]:
        yield Text(_shortened(details["url"]), style="bold")
    place = details["file"]
    if details["offset"] is not None:
        place += f" at {details['offset']:,}"
    known = (details["id"], details["source"], shown.language, place)
    yield Text("  ".join(filter(None, known)), style="dim")
    stated = [f"{_STATED[name]}: {details[name]}" for name in _STATED if details.get(name)]
    if stated:
        yield Text("  ".join(stated), style="dim")
    yield from _table(shown.measured)
    if shown.edited or shown.excerpt:
        yield Text()
        yield marked(_indented(shown.edited)) if shown.edited else Text(_indented(shown.excerpt))


def _table(measured: list[Measured]) -> Iterator[Text]:
    """One line per value, in columns."""
    rows = [(entry.rule, _number(entry.value), entry.limit, entry.verdict) for entry in measured]
    widths = [
        min(max((len(row[column]) for row in rows), default=0), WIDEST[column])
        for column in range(3)
    ]
    for rule, value, limit, verdict in rows:
        line = Text(f"  {rule:<{widths[0]}}  {value:>{widths[1]}}")
        if limit or any(row[2] for row in rows):
            line.append(f"  {f'limit: {limit}' if limit else '':<{widths[2] + 7}}", style="dim")
        line.append(f"  {verdict}", style=_VERDICT_COLOURS.get(verdict, "dim"))
        line.rstrip()
        yield line


def _shortened(url: str) -> str:
    """A URL of at most a few lines; `--json` has all of it."""
    left_out = len(url) - URL_CHARACTERS
    return url if left_out <= 0 else f"{url[:URL_CHARACTERS]}... ({left_out:,} more characters)"


def _number(value: float | str | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.4f}".rstrip("0") if abs(value) < 10 else f"{value:,.2f}".rstrip("0")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line.strip() else "" for line in text.split("\n"))


def in_words(given: Mapping[str, object]) -> str:
    """The options that narrow a request, as they were typed."""
    words = []
    for name, value in given.items():
        name = name.replace("_", "-")
        if value is True:
            words.append(f"--{name}")
        elif isinstance(value, (list, tuple)):
            words += [f"--{name} {one}" for one in value]
        elif value not in (None, False):
            words.append(f"--{name} {value}")
    return " ".join(words)
