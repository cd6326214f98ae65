"""Remote references -> pins, whatever their scheme.

What a reference named when it was last looked up is remembered beside the cache: without a network
it stands, as long as all of it is cached.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from infra.io.files import replace_bytes
from infra.remote import cache
from infra.remote.access import Access
from infra.remote.errors import Unreachable
from infra.remote.locations import scheme_of, shown
from infra.remote.schemes import scheme
from infra.stage import Pin

_MOST_NAMED = 3


def stat(url: str, access: Access) -> Pin:
    """The pin of one object. Raises `Unreachable`, `NoSuchObject`, `Denied`, `Foreign`."""
    return scheme(url).stat(url, access)


def expand(reference: str, access: Access) -> list[Pin]:
    """The pins of all that a reference names; those of the last time where the network is down and
    all of them are cached. Raises as `stat` does.
    """
    known = scheme(reference)
    try:
        found = known.expand(reference, access)
    except Unreachable as error:
        return _cached(reference, access, error)
    file = _memory(reference, access)
    if _recall(file) != found:
        replace_bytes(file, json.dumps([pin.to_json() for pin in found]).encode())
    return found


def _cached(reference: str, access: Access, error: Unreachable) -> list[Pin]:
    """What a reference named the last time, where all of it is cached; else raises `Unreachable`
    with what is not.
    """
    remembered = _recall(_memory(reference, access))
    absent = [pin for pin in remembered if not cache.holds(pin, access)]
    if remembered and not absent:
        return remembered
    if not remembered:
        raise error
    names = ", ".join(pin.name for pin in absent[:_MOST_NAMED])
    more = f" and {len(absent) - _MOST_NAMED} more" if len(absent) > _MOST_NAMED else ""
    raise Unreachable(
        f"{error}. Of its {len(remembered)} objects, {len(remembered) - len(absent)} are cached; "
        f"not cached: {names}{more}"
    )


def expand_all(references: Sequence[str], access: Access) -> list[list[Pin] | Exception]:
    """`expand` of each, several at a time; an exception in place of what could not be pinned.

    A host that does not answer is asked once, not once for each of its objects.
    """
    silent: dict[str, Unreachable] = {}

    def one(reference: str) -> list[Pin] | Exception:
        host = urlsplit(reference).netloc if scheme_of(reference) != "s3" else "s3"
        try:
            if host in silent:
                error = Unreachable(f"{shown(reference)}: {host} does not answer")
                return _cached(reference, access, error)
            return expand(reference, access)
        except Unreachable as error:
            silent[host] = error
            return error
        except Exception as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(access.connections) as pool:
        return list(pool.map(one, references))


def _memory(reference: str, access: Access) -> Path:
    key = hashlib.sha256(f"{access.endpoint}\0{reference}".encode()).hexdigest()[:32]
    return access.cache / "lookups" / f"{key}.json"


def _recall(file: Path) -> list[Pin]:
    try:
        return [Pin.from_json(found) for found in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError):
        return []
