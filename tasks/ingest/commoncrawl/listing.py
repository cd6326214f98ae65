"""Listings of a crawl's files (`crawl-data/CRAWL/KIND.paths.gz`), and samples of them."""

from __future__ import annotations

import hashlib
import heapq
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from infra.remote import cache, objects
from infra.remote.access import Access
from infra.remote.errors import Foreign, NoSuchObject
from infra.stage import UNKNOWN_BYTES, Pin

INDEX = "cc-index-table"
"""The listing of the columnar index, all of its subsets."""

SUBSET = "/subset=warc/"
"""The subset of the index that has the pages; the others have redirects, errors and robots.txt."""

_MOST_BYTES = 256 << 20
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=+-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.=+-]*)+")


def listing(crawl: str, kind: str, host: str, access: Access) -> tuple[Pin, list[str]]:
    """(the listing itself, pinned by its content; the paths in it).

    Raises as `infra.remote.objects.expand` does, and `Foreign` for what is no listing.
    """
    name = f"crawl-data/{crawl}/{kind}.paths.gz"
    url = at(host, name)
    try:
        (found,) = objects.expand(url, access)
    except NoSuchObject as error:
        if crawl > "CC-MAIN-2013":
            raise
        raise NoSuchObject(
            f"{error}. Crawls of before 2013 have ARC files, which are not read; the index by "
            "columns begins in 2013 too"
        ) from None
    with cache.local_pin(found, access) as local:
        paths = _paths(url, Path(local.path).read_bytes())
    return Pin(url, name, local.sha256, local.bytes), paths


def _paths(url: str, packed: bytes) -> list[str]:
    unpack = zlib.decompressobj(31)
    try:
        text = unpack.decompress(packed, _MOST_BYTES)
    except zlib.error:
        text = b""
    paths = text.decode("ascii", "replace").split()
    strange = next((path for path in paths if not _PATH.fullmatch(path)), "")
    if not paths or not unpack.eof or strange:
        what = f"it has the line {strange[:80]!r}" if strange else "it is no whole gzip file"
        raise Foreign(f"{url}: is no listing of paths ({what}); check host")
    return list(dict.fromkeys(paths))


def at(host: str, path: str) -> str:
    """The address of a path of Common Crawl."""
    return f"{host.rstrip('/')}/{path}"


def archive(host: str, path: str) -> Pin:
    """The pin of a listed file: its listed path identifies it."""
    return Pin(at(host, path), path, "", UNKNOWN_BYTES)


def sampled(paths: Sequence[str], files: int | None, share: float) -> list[str]:
    """The share of the paths of the smallest hashes, and of these `files` at most; in order.

    So a larger sample has all that a smaller one has.
    """
    chosen = [path for path in paths if _hash(path) < share * 2**64] if share < 1 else list(paths)
    if files is not None and files < len(chosen):
        chosen_few = set(heapq.nsmallest(files, chosen, key=_hash))
        chosen = [path for path in chosen if path in chosen_few]
    return chosen


def _hash(path: str) -> int:
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest())
