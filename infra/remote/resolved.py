"""Where redirects of lasting addresses lead, for as long as it is valid.

The hub redirects each request for a file to a signed address of another host. It is asked once; its
answer serves all ranges of the file, until the signature ends or is refused.
"""

from __future__ import annotations

import calendar
import contextlib
import math
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

_MOST = 4096
_SPARE_S = 30.0
"""An address is given up so long before its signature ends: a request takes its time."""


@dataclass(frozen=True)
class Resolved:
    """An address, whether it must be public, and when its signature ends (seconds since 1970)."""

    url: str
    public_only: bool
    until: float


Key = tuple[object, ...]
"""A URL, and the headers that it was asked with: who may read it is part of the answer."""

_known: OrderedDict[Key, Resolved] = OrderedDict()
_lock = threading.Lock()


def recall(key: Key) -> Resolved | None:
    """Where a URL is known to lead; None where that is unknown, or has ended."""
    with _lock:
        found = _known.get(key)
        if found is not None and time.time() > found.until - _SPARE_S:
            del _known[key]
            return None
        return found


def remember(key: Key, leads_to: str, public_only: bool) -> None:
    """Keep where a URL leads."""
    with _lock:
        _known[key] = Resolved(leads_to, public_only, valid_until(leads_to))
        while len(_known) > _MOST:
            _known.popitem(last=False)


def forget(key: Key) -> None:
    """Ask again the next time."""
    with _lock:
        _known.pop(key, None)


def forget_all() -> None:
    """Ask for every address again."""
    with _lock:
        _known.clear()


def valid_until(url: str) -> float:
    """When a signed address ends, as its query states it for S3, CloudFront, Google's and Azure's
    stores; infinity where it states nothing.
    """
    query = {name.lower(): values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    ends = [math.inf]
    for prefix in ("x-amz-", "x-goog-"):
        with contextlib.suppress(KeyError, ValueError):
            signed = time.strptime(query[f"{prefix}date"], "%Y%m%dT%H%M%SZ")
            ends.append(calendar.timegm(signed) + float(query[f"{prefix}expires"]))
    with contextlib.suppress(KeyError, ValueError):
        ends.append(float(query["expires"]))
    with contextlib.suppress(KeyError, ValueError):
        ends.append(calendar.timegm(time.strptime(query["se"][:19], "%Y-%m-%dT%H:%M:%S")))
    return min(ends)
