"""Reads block lists: one domain, or one URL, per line, in the formats that are published.

    domains   example.com            the domain and all below it
              *.example.com          the same
              .gov                   a whole top-level domain: only with the leading dot
              0.0.0.0 example.com    hosts files; their names of the machine itself are skipped
              ||example.com^         Adblock, without options other than $all, $document, $important
              https://example.com/   a URL without a path
    urls      https://example.com/a  the page, and all pages below it (/a/b, /a?q), not /ab
              example.com/a/*        the same (UT1's `urls` have no scheme)
              ||example.com/a^

Lines are UTF-8; `#` and `!` begin comments, and files may be gzipped. A list becomes 64-bit hashes,
sorted, of 8 bytes per entry: a billion look-ups in a list of a million entries hit by accident
with a probability of 1 in 20,000.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import numpy as np
import numpy.typing as npt

from tasks.cut.addresses import host_of, is_address, page_of

Kind = Literal["domains", "urls"]

EXAMPLES = 3
"""Malformed lines of a list that are shown."""

_MAX_LINE = 8_192
_SHOWN = 80
_PLAIN_DOMAIN = re.compile(
    rb"(?!www\.)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z][a-z0-9-]*[a-z0-9]"
)
_HOSTS_FILE_ADDRESSES = (
    *("0.0.0.0", "127.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1%lo0", "ff00::0", "ff02::1", "ff02::2", "ff02::3"),
)
_OF_THE_MACHINE = {
    *("localhost", "localhost.localdomain", "local", "broadcasthost", "0.0.0.0"),
    *("ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix"),
    *("ip6-allnodes", "ip6-allrouters", "ip6-allhosts"),
}
_COSMETIC = re.compile(r"#[@?$]?#")
_WIDE_OPTIONS = {"", "all", "doc", "document", "important"}


class Malformed(ValueError):
    """A line that is no entry of its list."""


@dataclass
class Reading:
    """The hashes of a list's entries, sorted and unique, and its lines that are no entries."""

    hashes: npt.NDArray[np.uint64]
    malformed: int = 0
    examples: list[str] = field(default_factory=list)


def read_list(files: Iterable[Path], kind: Kind) -> Reading:
    """All entries of a list's files."""
    hashes = array("Q")
    reading = Reading(np.zeros(0, np.uint64))
    for path in files:
        for number, line in _lines(path):
            if kind == "domains" and _PLAIN_DOMAIN.fullmatch(line):  # most lines of most lists
                hashes.append(_hash(line))
                continue
            try:
                hashes.extend(hash_of(entry) for entry in entries_of(line.decode(), kind))
            except (Malformed, UnicodeDecodeError):
                reading.malformed += 1
                if len(reading.examples) < EXAMPLES:
                    shown = line[:_SHOWN].decode(errors="replace")
                    reading.examples.append(f"line {number:,} of {path.name}: {shown!r}")
    reading.hashes = np.unique(np.frombuffer(hashes, np.uint64))
    return reading


def hash_of(entry: str) -> int:
    """The hash of a domain or page in its normal form."""
    return _hash(entry.encode())


def _hash(entry: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(entry, digest_size=8).digest(), "little")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number, content) of lines that are neither blank nor comments; the rest of a line beyond
    `_MAX_LINE` bytes counts as another line.
    """
    with path.open("rb") as plain:
        is_gzip = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        file: IO[bytes] = gzip.GzipFile(fileobj=plain) if is_gzip else plain  # type: ignore[assignment]
        number = 0
        while line := file.readline(_MAX_LINE):
            number += 1
            line = line.removeprefix(b"\xef\xbb\xbf").strip()
            if line and line[:1] not in b"#!" and not (number == 1 and line[:1] == b"["):
                yield number, line


def entries_of(line: str, kind: Kind) -> list[str]:
    """The entries of one line in their normal form: one, but several or none in a hosts file.

    Raises Malformed.
    """
    words = re.split(r"\s+#", line)[0].split()
    if not words:
        return []
    if words[0] in _HOSTS_FILE_ADDRESSES and (len(words) > 1 or words[0] in _OF_THE_MACHINE):
        return [_domain(word) for word in words[1:] if word.lower() not in _OF_THE_MACHINE]
    if len(words) != 1 or _COSMETIC.search(words[0]):  # example.com##.banner: hides, blocks nothing
        raise Malformed
    word = _without_adblock(words[0])
    return [_domain(word) if kind == "domains" else _page(word)]


def _without_adblock(word: str) -> str:
    if not word.startswith("||"):
        return word
    word, _, options = word.removeprefix("||").partition("$")
    if not set(options.split(",")) <= _WIDE_OPTIONS:
        raise Malformed  # it blocks some requests to the domain, such as images
    return word.removesuffix("^")


def _domain(word: str) -> str:
    whole_tld = word.startswith((".", "*."))
    word = word.removeprefix("*").removeprefix(".")
    page = page_of(word)
    host = host_of(word)
    if host is None or page != host or "*" in word or "@" in word:
        raise Malformed
    if "." not in host and not is_address(host) and not whole_tld:
        raise Malformed
    return host


def _page(word: str) -> str:
    word = word.removesuffix("*")
    page = page_of(word)
    if page is None or "*" in word or "." not in page.partition("/")[0]:
        raise Malformed
    return page
