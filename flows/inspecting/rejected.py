"""The records of which ingest made no document: counts from its ledger, and the sample that it
wrote to `records/` (`tasks.ingest.rejected`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows.inspecting.explain import Measured
from infra.store import Artifact
from tasks.ingest.rejected import FILE

if TYPE_CHECKING:
    from tasks.documents.choosing import Request

_CONTROLS = re.compile(r"[^\S\n ]|[^\x20-\x7e\n\xa0-\U0010ffff]")
"""What a terminal must not be sent; a record may be anything."""


def counted(artifacts: Iterable[Artifact]) -> tuple[Counter[str], Counter[str]]:
    """(side -> records, reason -> records), over the sources."""
    sides: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for artifact in artifacts:
        for entry in artifact.ledger.lost():
            sides[entry.side] += entry.documents
            reasons[entry.reason] += entry.documents
    return sides, reasons


def chosen(artifacts: Sequence[Artifact], request: Request) -> list[dict[str, Any]]:
    """Up to `request.sample` records, one of each reason in turn, the most frequent reason first;
    but a crawler's own records (requests, metadata) come last, as nobody expects documents there.

    `offset` is the place of the record in the decompressed content of its member, added to the
    member's in the file, as in the column of documents.
    """
    from tasks.documents.choosing import is_named

    _, counts = counted(artifacts)
    by_reason: dict[str, list[dict[str, Any]]] = {
        reason: [] for reason in sorted(counts, key=lambda r: (r.startswith("warc."), -counts[r]))
    }
    for artifact in artifacts:
        for entry in _sample(artifact):
            if not request.rules or any(is_named(rule, entry["reason"]) for rule in request.rules):
                by_reason.setdefault(entry["reason"], []).append(_readable(entry, artifact.name))
    for entries in by_reason.values():
        entries.sort(key=lambda entry: _order(entry, request.seed))
    turns = [
        entries[turn]
        for turn in range(request.sample)
        for entries in by_reason.values()
        if turn < len(entries)
    ]
    return turns[: request.sample]


def _sample(artifact: Artifact) -> list[dict[str, Any]]:
    try:
        sample: list[dict[str, Any]] = artifact.records.read_json(FILE)["records"]
    except FileNotFoundError:  # of ingest before version 4
        return []
    return sample


def _readable(entry: dict[str, Any], source: str) -> dict[str, Any]:
    place = None if entry["offset"] is None else entry["offset"] + entry["inner"]
    head = _CONTROLS.sub("\ufffd", entry["head"].replace("\r\n", "\n").replace("\t", " "))
    url = _CONTROLS.sub("\ufffd", entry["url"].replace("\n", " "))
    return {**entry, "source": source, "offset": place, "url": url, "head": head.strip()}


def measured_of(entry: dict[str, Any], parameters: Mapping[str, Any]) -> list[Measured]:
    """The value that made ingest refuse a record, and the limit, for reasons that have them."""
    head, reason = entry["head"], entry["reason"]
    status = re.match(r"HTTP/\S+ (\d{3})", head)
    declared = re.search(r"^content-type:[ ]*([^\n]*)", head, re.IGNORECASE | re.MULTILINE)
    value, limit = "", ""
    match reason:
        case "too_short":
            value = f"{len(head):,} characters" if head else "no text"
            limit = f"at least {parameters['min_characters']:,}"
        case "text_too_large":
            value, limit = "", f"at most {parameters['max_text_bytes']:,} bytes of text"
        case "page_too_large" | "record_too_large":
            value, limit = "", f"at most {parameters['max_page_bytes']:,} bytes"
        case "http_status" if status:
            value, limit = status[1], "200"
        case "content_type" | "not_html" | "not_text" if declared:
            value, limit = declared[1], "HTML or plain text"
    return [Measured(reason, value, limit, "")] if limit else []


def _order(entry: dict[str, Any], seed: int) -> bytes:
    words = json.dumps([seed, entry["source"], entry["order"]])
    return hashlib.blake2b(words.encode(), digest_size=8).digest()
