"""Which crawls there are, and which of them a recipe means."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
from collections.abc import Sequence

from infra.io.files import replace_bytes
from infra.io.foreign import foreign_json
from infra.remote.access import Access
from infra.remote.errors import Foreign, RemoteError, Transient, Unreachable
from infra.remote.request import Target, chunks, request
from infra.remote.retry import persist
from infra.stage import StageError

LATEST = "latest"
_MOST_BYTES = 4 << 20
_NEWEST_SHOWN = 3


def listed(index_host: str, access: Access) -> list[str]:
    """Ids of all crawls, newest first, from the host's `collinfo.json`.

    Without a network, as they were when they were last asked for. Raises `Unreachable`, and
    `Foreign` where the answer is no such list.
    """
    url = f"{index_host.rstrip('/')}/collinfo.json"
    memory = access.cache / "lookups" / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.json"
    try:
        body = persist(lambda: _get(url, access), url, Target(url).host, access)
    except Unreachable:
        with contextlib.suppress(OSError):
            return _ids(url, memory.read_bytes())
        raise
    ids = _ids(url, body)
    replace_bytes(memory, body)
    return ids


def _get(url: str, access: Access) -> bytes:
    body = bytearray()
    with request(Target(url), access, what=url) as response:
        length = response.headers.get("Content-Length", "")
        for data in chunks(response):
            body += data
            if len(body) > _MOST_BYTES:
                raise RemoteError(f"{url}: is larger than a list of crawls; check index_host")
    if length.isdigit() and len(body) < int(length):
        raise Transient(f"cut after {len(body):,} of {length} bytes")
    return bytes(body)


def _ids(url: str, body: bytes) -> list[str]:
    try:
        found = [str(entry["id"]) for entry in foreign_json(body)]
    except (ValueError, KeyError, TypeError):
        found = []
    if not found:
        raise Foreign(
            f"{url}: is no list of crawls (a JSON array of objects with an id); check index_host"
        )
    return sorted(found, key=_age, reverse=True)


def _age(crawl: str) -> tuple[int, int]:
    """Sorts crawls by time: CC-MAIN-2024-22, CC-MAIN-2009-2010, CC-MAIN-2012."""
    numbers = [int(part) for part in crawl.split("-")[2:] if part.isdigit()]
    first = numbers[0] if numbers else 0
    return first, numbers[1] if len(numbers) > 1 and numbers[1] < 100 else 0


def chosen(stated: Sequence[str], there: Sequence[str], known: Sequence[str]) -> list[str]:
    """The crawls that a recipe means, oldest first.

    `there`: all that are listed, newest first. `known`: those that this source has read before.
    `latest` stands for those newer than every known one, or for the newest where none is known;
    there may be none. Raises `StageError` for an id that is not listed.
    """
    found: list[str] = []
    for crawl in stated:
        if crawl == LATEST:
            found += newer(there, known)
        elif crawl not in there:
            near = difflib.get_close_matches(crawl, there, n=1, cutoff=0.6)
            guess = f" (did you mean {near[0]!r}?)" if near else ""
            newest = ", ".join(there[:_NEWEST_SHOWN])
            raise StageError(
                f"Common Crawl lists no crawl {crawl!r}{guess}; its newest are {newest}"
            )
        else:
            found.append(crawl)
    return sorted(dict.fromkeys(found), key=_age)


def newer(there: Sequence[str], known: Sequence[str]) -> list[str]:
    """The listed crawls after the newest known one; the newest listed where none is known."""
    if not known:
        return list(there[:1])
    newest = max(map(_age, known))
    return [crawl for crawl in there if _age(crawl) > newest]
