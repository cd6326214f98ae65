"""The language that a page declares, and what extraction made of each language's pages.

A language whose pages give little text, or none, is one that extraction fails; language ID cannot
show it, as it sees only the text that is left. What a page declares is often wrong (templates say
"en"), so a table by it shows losses, not the composition of a crawl.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

_SEARCHED_BYTES = 1 << 14
_HTML = re.compile(rb"<html\b([^>]{0,2000})>", re.IGNORECASE)
_LANGUAGE = re.compile(
    rb"""\s(?:xml:)?lang\s*=\s*["']?\s*([a-z]{2,3})((?:[-_][a-z0-9]{2,8}){0,3})\s*(?:["'\s>]|\Z)""",
    re.IGNORECASE,
)
UNDECLARED = "und"
MOST_LANGUAGES = 200
"""Languages counted apart per part; further ones count as undeclared."""

LanguageCounts = dict[str, Counter[str]]
"""Primary language -> pages, documents, payload_bytes, text_bytes."""


def page_language(source: bytes) -> str:
    """The BCP 47 tag in a page's <html lang>; "" without a well-formed one."""
    element = _HTML.search(source, 0, _SEARCHED_BYTES)
    declared = _LANGUAGE.search(element[1]) if element else None
    if declared is None:
        return ""
    return declared[1].decode().lower() + declared[2].decode().replace("_", "-")


def count_page(
    counts: LanguageCounts, language: str, payload_bytes: int, text_bytes: int | None
) -> None:
    """Count a page; `text_bytes` is None if it gave no document."""
    code = language.partition("-")[0] or UNDECLARED
    if code not in counts and len(counts) >= MOST_LANGUAGES:
        code = UNDECLARED
    amounts = {"pages": 1, "payload_bytes": payload_bytes}
    if text_bytes is not None:
        amounts |= {"documents": 1, "text_bytes": text_bytes}
    counts.setdefault(code, Counter()).update(amounts)


def merge(counts: LanguageCounts, other: Mapping[str, Mapping[str, int]]) -> None:
    """Add the counts of a part."""
    for language, amounts in other.items():
        counts.setdefault(language, Counter()).update(amounts)


def rows_of(counts: LanguageCounts) -> list[dict[str, int | str]]:
    """One row per language, the most pages first."""
    return [
        {
            "language": language,
            **{
                name: amounts[name]
                for name in ("pages", "documents", "payload_bytes", "text_bytes")
            },
        }
        for language, amounts in sorted(
            counts.items(), key=lambda item: (-item[1]["pages"], item[0])
        )
    ]
