"""What a page says of itself in <meta>, <link>, <title> and JSON-LD."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

_TAG = re.compile(
    rb'<(?:meta|link) ((?:[^<>"]++|"[^"]*+")*+)>|<title[^<>]*>([^<]*)</title>|<script ([^<>]*)>'
)
_BEGINNINGS = np.frombuffer(b"<met<lin<tit<scr", "<u4")
_ATTRIBUTE = re.compile(r'([a-zA-Z:-]+)="([^"]*)"')
_MAX_JSON = 1 << 19
_MAX_NODES = 2_000
_SAID = ("name", "headline", "description", "articleBody", "text", "reviewBody")
_MAX_SAID = 30_000


class Markup(NamedTuple):
    """The serialised source of a page: `source` in UTF-8, `openings` int64, the places of "<"."""

    source: bytes
    openings: npt.NDArray[np.int64]


def markup_of(page: str) -> Markup:
    """The same from text."""
    source = page.encode("utf-8", "replace")
    return Markup(source, np.flatnonzero(np.frombuffer(source, np.uint8) == ord("<")))


@dataclass
class Head:
    """Meta data as they stand: names in lower case, the first value of each."""

    title: str = ""
    meta: dict[str, str] = field(default_factory=dict)
    canonical: str = ""
    nodes: list[dict[str, Any]] = field(default_factory=list)

    def types(self) -> set[str]:
        """The @type of every JSON-LD node."""
        found: set[str] = set()
        for node in self.nodes:
            kinds = node.get("@type")
            for kind in kinds if isinstance(kinds, list) else [kinds]:
                if isinstance(kind, str):
                    found.add(kind.rsplit("/", 1)[-1])
        return found

    def stated(self) -> str:
        """What JSON-LD says in words: names, descriptions and texts, navigation paths aside."""
        said: list[str] = []
        size = 0
        for node in self.nodes:
            if node.get("@type") in ("BreadcrumbList", "WebSite", "Organization"):
                continue
            for key in _SAID:
                value = node.get(key)
                if isinstance(value, str) and size < _MAX_SAID:
                    said.append(value[:_MAX_SAID])
                    size += len(value)
        return " ".join(said)


def read_head(markup: Markup) -> Head:
    """From the serialised source of a page."""
    head = Head()
    source = markup.source
    end = 0
    for at in _beginnings(markup):
        found = _TAG.match(source, at) if at >= end else None
        if found is None:
            continue
        end = found.end()
        attributes, title, script = found.groups()
        if attributes is not None:
            pairs = dict(_ATTRIBUTE.findall(attributes.decode()))
            if "content" in pairs:
                name = (
                    pairs.get("property") or pairs.get("name") or pairs.get("itemprop") or ""
                ).lower()
                if name and pairs["content"]:
                    head.meta.setdefault(name, html.unescape(pairs["content"]))
            elif pairs.get("rel", "").lower() == "canonical" and "href" in pairs:
                head.canonical = head.canonical or html.unescape(pairs["href"])
        elif title is not None:
            head.title = head.title or html.unescape(title.decode()).strip()
        elif b"ld+json" in script:
            data = source[end : max(source.find(b"</script", end), end)].decode()
            if 0 < len(data) <= _MAX_JSON:
                head.nodes += _nodes(data)
    return head


def _beginnings(markup: Markup) -> list[int]:
    """Where `_TAG` may match: a pattern that is tried at every "<" takes five times as long."""
    source, openings = markup
    openings = openings[: np.searchsorted(openings, len(source) - 3)]
    if not len(openings):
        return []
    four = np.ndarray((len(source) - 3,), "<u4", source, strides=(1,))[openings]
    places: list[int] = openings[np.isin(four, _BEGINNINGS)].tolist()
    return places


def _nodes(source: str) -> list[dict[str, Any]]:
    try:
        data = json.loads(source, strict=False)
    except (ValueError, RecursionError):
        return []
    found: list[dict[str, Any]] = []
    waiting = [data]
    while waiting and len(found) < _MAX_NODES:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += reversed(value)
        elif isinstance(value, dict):
            found.append(value)
            waiting += [inner for inner in value.values() if isinstance(inner, (dict, list))]
    return found


_ARTICLES = {
    "Article",
    "NewsArticle",
    "BlogPosting",
    "TechArticle",
    "ScholarlyArticle",
    "Report",
    "Recipe",
    "OpinionNewsArticle",
    "ReportageNewsArticle",
    "AnalysisNewsArticle",
    "HowTo",
    "MedicalWebPage",
}
_PRODUCTS = {
    "Product",
    "ProductGroup",
    "IndividualProduct",
    "Book",
    "Course",
    "SoftwareApplication",
    "Offer",
    "AggregateOffer",
    "Vehicle",
    "Movie",
    "VideoGame",
}
_LISTS = {"ItemList", "CollectionPage", "OfferCatalog", "SearchResultsPage", "ProductCollection"}
_FORUMS = {"DiscussionForumPosting", "QAPage", "Question", "Comment", "SocialMediaPosting"}


def page_features(head: Head) -> np.ndarray:
    types = head.types()
    kind = head.meta.get("og:type", "").lower()
    path = -1
    slug = -1
    if address := head.canonical or head.meta.get("og:url", ""):
        try:
            parts = [part for part in urlsplit(address).path.split("/") if part]
        except ValueError:
            parts = []
        path = len(parts)
        slug = parts[-1].count("-") if parts else 0
    return np.array(
        [
            len(types & _ARTICLES) > 0 or "Article" in "".join(types),
            len(types & _PRODUCTS),
            len(types & _LISTS),
            len(types & _FORUMS),
            2
            if kind == "article"
            else 1
            if kind.startswith(("product", "og:product"))
            else 3
            if kind == "website"
            else 0,
            min(path, 10),
            min(slug, 12),
        ],
        np.float32,
    )
