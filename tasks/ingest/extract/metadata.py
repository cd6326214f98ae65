"""Title, author, date and language of a page, where it states them; nothing is guessed from text.

For each the first that is there counts, what is written for machines before what is shown:

title     JSON-LD `headline` of an article, og:title, twitter:title, <title>, the first <h1>
author    JSON-LD `author`, meta author, article:author, dc.creator; names, not addresses
date      JSON-LD `datePublished`, article:published_time and other meta, the first
          <time datetime>; as YYYY-MM-DD
language  <html lang>, meta content-language, JSON-LD `inLanguage`, og:locale; as BCP 47
"""

from __future__ import annotations

import datetime
import html
import re
from collections.abc import Iterator
from email.utils import parsedate
from typing import Any, NamedTuple

from resiliparse.parse.html import HTMLTree

from tasks.ingest.extract.head import Head, markup_of, read_head

MAX_NAME_CHARACTERS = 200
"""A longer author is a text, not a name."""

MAX_TITLE_CHARACTERS = 1_000

_AUTHORS = (
    "author", "article:author", "dc.creator", "dcterms.creator", "citation_author",
    "parsely-author", "sailthru.author", "byl",
)  # fmt: skip
_DATES = (
    "article:published_time", "og:published_time", "datepublished", "date", "dc.date",
    "dc.date.issued", "dcterms.created", "dcterms.date", "dcterms.issued", "pubdate",
    "publishdate", "publish_date", "publish-date", "publication_date", "citation_publication_date",
    "citation_date", "parsely-pub-date", "sailthru.date", "article.published",
    "cxenseparse:recs:publishtime",
)  # fmt: skip
_LANGUAGE = re.compile(r"[a-zA-Z]{2,3}(?:[-_][a-zA-Z0-9]{2,8}){0,3}")
_ISO = re.compile(r"(\d{4})(?:-(\d\d?)-(\d\d?)|/(\d\d?)/(\d\d?)|(\d\d)(\d\d))(?!\d)")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = re.compile(
    r"(?:(\d{1,2})(?:st|nd|rd|th)?[ .-]+)?([A-Za-z]{3,9})[ .-]+"
    r"(?:(\d{1,2})(?:st|nd|rd|th)?,? +)?(\d{4})\b"
)
_TIME = re.compile(r'<time [^<>]*?datetime="([^"]+)"')
_H1 = re.compile(r"<h1\b[^<>]*>(.*?)</h1>", re.DOTALL)
_MARKUP = re.compile(r"<[^<>]*>")
_HTML = re.compile(r"<html\b([^<>]*)>")
_LANG = re.compile(r'\s(?:xml:)?lang="([^"]*)"')


class Metadata(NamedTuple):
    """What a page states; None where it does not. `date` is YYYY-MM-DD, `language` a BCP 47 tag."""

    title: str | None
    author: str | None
    date: str | None
    language: str | None


def page_metadata(tree: HTMLTree) -> Metadata:
    """Of a parsed page."""
    page = str(tree)
    return metadata_of(page, read_head(markup_of(page)))


def metadata_of(page: str, head: Head) -> Metadata:
    """The same from a page's serialised source and its head."""
    articles = [node for node in head.nodes if "headline" in node]
    return Metadata(
        _first(map(_title, _titles(page, head, articles))),
        _first(map(_name, _authors(head, articles))),
        _first(map(iso_date, _dates(page, head, articles))),
        _first(map(_language, _languages(page, head))),
    )


def _first(values: Iterator[str | None]) -> str | None:
    return next(filter(None, values), None)


def _titles(page: str, head: Head, articles: list[dict[str, Any]]) -> Iterator[Any]:
    yield from (node["headline"] for node in articles[:1])
    for name in ("og:title", "twitter:title"):
        yield head.meta.get(name)
    yield head.title
    if heading := _H1.search(page):
        yield html.unescape(_MARKUP.sub("", heading[1]))


def _authors(head: Head, articles: list[dict[str, Any]]) -> Iterator[Any]:
    for node in articles or head.nodes:
        if "author" in node:
            yield _names(node["author"], head)
    for name in _AUTHORS:
        yield head.meta.get(name)


def _dates(page: str, head: Head, articles: list[dict[str, Any]]) -> Iterator[Any]:
    for node in articles or head.nodes:
        yield node.get("datePublished")
    for name in _DATES:
        yield head.meta.get(name)
    for node in articles or head.nodes:
        yield node.get("dateCreated") or node.get("uploadDate")
    if shown := _TIME.search(page):
        yield html.unescape(shown[1])


def _languages(page: str, head: Head) -> Iterator[Any]:
    if (element := _HTML.search(page, 0, 10_000)) and (language := _LANG.search(element[1])):
        yield language[1]
    yield head.meta.get("content-language")
    for node in head.nodes[:20]:
        yield node.get("inLanguage")
    yield head.meta.get("og:locale")


def _names(author: Any, head: Head) -> str:
    """The name, or names, of a JSON-LD author: a string, a node, a reference to one, a list."""
    if isinstance(author, list):
        names = (_names(one, head) for one in author[:20])
        return ", ".join(dict.fromkeys(filter(None, names)))
    if isinstance(author, dict):
        if "name" not in author and "@id" in author:
            key = author["@id"]
            author = next((n for n in head.nodes if n.get("@id") == key and "name" in n), author)
        name = author.get("name")
        return (
            _names(name, head) if isinstance(name, list) else name if isinstance(name, str) else ""
        )
    return author if isinstance(author, str) else ""


def _text(value: Any) -> str:
    return " ".join(html.unescape(value).split()) if isinstance(value, str) else ""


def _title(value: Any) -> str | None:
    text = _text(value)
    return text if 0 < len(text) <= MAX_TITLE_CHARACTERS else None


def _name(value: Any) -> str | None:
    text = _text(value)
    if text[:3].lower() == "by ":
        text = text[3:].strip()
    is_name = 0 < len(text) <= MAX_NAME_CHARACTERS and "://" not in text and "@" not in text
    return text if is_name and any(map(str.isalpha, text)) else None


def _language(value: Any) -> str | None:
    if isinstance(value, str) and (found := _LANGUAGE.fullmatch(value.strip())):
        return found[0].replace("_", "-")
    return None


def iso_date(value: Any) -> str | None:
    """YYYY-MM-DD of a date as machines or English texts write it; None for anything else."""
    if not isinstance(value, str) or not (text := value.strip()[:100]):
        return None
    if found := _ISO.match(text):
        year, month, day = found[1], *filter(None, found.groups()[1:])
    elif parsed := parsedate(text):
        year, month, day = parsed[:3]
    elif (found := _MONTH.search(text)) and found[2][:3].lower() in _MONTHS:
        year, month = found[4], _MONTHS.index(found[2][:3].lower()) + 1
        day = found[1] or found[3]
        if day is None:
            return None
    else:
        return None
    try:
        date = datetime.date(int(year), int(month), int(day))
    except (ValueError, TypeError):
        return None
    return date.isoformat() if date.year >= 1900 else None
