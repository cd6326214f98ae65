"""A recipe's crawls -> pins when it is planned: listings by content, what they list by name.

Where nothing is sampled, `select` needs no pins of archives: the index names those that it needs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from infra.io.files import replace_bytes
from infra.remote.access import Access
from infra.remote.listing import Listing
from infra.stage import Pin, StageError
from tasks.ingest.commoncrawl.crawls import LATEST, chosen, listed
from tasks.ingest.commoncrawl.listing import INDEX, SUBSET, archive, listing, sampled
from tasks.ingest.raw_documents import Unreadable
from tasks.ingest.stage import IndexSelect, IngestParameters

CRAWL, SELECT = "crawl", "select"
"""Parameters that pins are kept under: listings and archives, listings and parts of the index."""

WITH_LANGUAGES = "CC-MAIN-2018-39"
"""The first crawl whose index has languages."""

_LISTING = re.compile(r"crawl-data/([^/]+)/[^/]+\.paths\.gz")


def pin_crawls(parameters: IngestParameters, looking: Listing) -> dict[str, tuple[Pin, ...]]:
    """The pins of all crawls that a source names.

    Raises `StageError` for a crawl that is not listed, or whose index cannot be selected from, and
    as `infra.remote.objects.expand` does.
    """
    access = looking.access.impatient()
    crawls = crawls_of(parameters, looking)
    if parameters.select and parameters.select.languages:
        for crawl in crawls:
            if crawl < WITH_LANGUAGES:
                raise StageError(no_languages(crawl))
    found: dict[str, tuple[Pin, ...]] = {CRAWL: (), SELECT: ()}
    for crawl in crawls:
        found[CRAWL] += _archives(crawl, parameters, access)
        if parameters.select is not None:
            index = _index(crawl, parameters.host, access)
            _check_index(crawl, index, parameters.select, access)
            found[SELECT] += index
    return {path: pins for path, pins in found.items() if pins}


def crawls_of(parameters: IngestParameters, looking: Listing) -> list[str]:
    """The crawls that a source means now, oldest first; where there is none newer than what it has
    read (`latest`), those of its latest artifact.
    """
    there = listed(parameters.index_host, looking.access.impatient())
    if LATEST not in parameters.crawl:
        return chosen(parameters.crawl, there, ())
    before = looking.earlier()
    read = [ingested(manifest.pins) for manifest in before]
    known = [crawl for crawls in read for crawl in crawls]
    found = chosen(parameters.crawl, there, known)
    if not found and read and read[0]:
        return chosen(read[0], there, ())
    if not found:
        raise StageError(
            f"nothing new: Common Crawl lists no crawl after {', '.join(known[-1:])}, which the "
            "history has; name the crawls that this source is to read"
        )
    return found


def ingested(pins: Mapping[str, Iterable[Pin]]) -> list[str]:
    """The crawls that an artifact's pins are of, oldest first as they were pinned."""
    names = (_LISTING.fullmatch(pin.name) for pin in pins.get(CRAWL, ()))
    return [match[1] for match in names if match]


def listed_files(pins: Sequence[Pin]) -> tuple[Pin, ...]:
    """The archives, or parts of the index, among pins; the rest are listings."""
    return tuple(pin for pin in pins if not _LISTING.fullmatch(pin.name))


def crawl_of(pin: Pin) -> str:
    """The crawl that a part of the index is of."""
    return pin.name.partition("/crawl=")[2].partition("/")[0]


def no_languages(crawl: str) -> str:
    """The error for languages of an older crawl."""
    return (
        f"select.languages: the index of {crawl} has no languages; it has them since "
        f"{WITH_LANGUAGES}. Choose a later crawl, or read its archives and use langid"
    )


def _archives(crawl: str, parameters: IngestParameters, access: Access) -> tuple[Pin, ...]:
    pin, paths = listing(crawl, parameters.kind, parameters.host, access)
    everything = parameters.files is None and parameters.sample == 1
    if parameters.select is not None and everything:
        return (pin,)
    some = sampled(paths, parameters.files, parameters.sample)
    return (pin, *(archive(parameters.host, path) for path in some))


def _index(crawl: str, host: str, access: Access) -> tuple[Pin, ...]:
    pin, paths = listing(crawl, INDEX, host, access)
    parts = [path for path in paths if SUBSET in path]
    if not parts:
        raise StageError(
            f"the index of {crawl} has no part of {SUBSET.strip('/')} in {pin.path}; check host, "
            "or remove select"
        )
    return (pin, *(archive(host, path) for path in parts))


def _check_index(crawl: str, pins: Sequence[Pin], select: IndexSelect, access: Access) -> None:
    """Refuse an index that lacks columns, by its first part; looked up once for a listing."""
    from tasks.ingest.commoncrawl.index import IndexPart, check_schema, deciding, opened

    key = json.dumps([pins[0].sha256, deciding(select)])
    memory = access.cache / "lookups" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.checked"
    if memory.exists():
        return
    try:
        with opened(pins[1], access) as (file, _):
            check_schema(file.schema_arrow, IndexPart(crawl, pins[1], select, access))
    except Unreadable:
        raise StageError(
            f"{pins[1].path}: this part of the index of {crawl} is no whole Parquet file; check "
            "host, or remove select"
        ) from None
    replace_bytes(memory, b"")
