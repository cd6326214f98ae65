"""Hosts and URLs in one form each, so that an entry of a block list equals what it blocks.

Not part of the form: scheme, user, port, a leading `www.`, the fragment, case of the host, a slash
at the end. International names are in punycode, and paths are percent-encoded in one way.

    host_of("HTTP://WWW.Bücher.example:8080/a")    -> "xn--bcher-kva.example"
    page_of("https://www.a.example/~x/%7ey/?q=1#t") -> "a.example/~x/~y?q=1"
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import quote, unquote, unquote_to_bytes

MAX_SEGMENTS = 64
"""Path segments up to which the prefixes of a page are looked up."""

_SCHEME = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_PLAIN_HOST = re.compile(
    r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*"
)
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::\d*)?")
_IPV4 = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_SAFE_IN_PATH = "/~!$&'()*+,;=:@-._"
_MAX_HOST = 253


def host_of(url: str) -> str | None:
    """The host of a URL (with or without a scheme), or of a bare host; None if it has none."""
    return _split(url)[0]


def page_of(url: str) -> str | None:
    """Host, path and query of a URL; None if it has no host."""
    host, path, query = _split(url)
    if host is None:
        return None
    path = "/".join(filter(None, _encoded(path).split("/")))
    return host + (f"/{path}" if path else "") + (f"?{_encoded(query)}" if query else "")


def is_address(host: str) -> bool:
    """Whether a host is an IP address, which has no parent domains."""
    return ":" in host or _IPV4.fullmatch(host) is not None


def domains_of(host: str) -> Iterator[str]:
    """The host and its parent domains, down to the top-level domain."""
    yield host
    if not is_address(host):
        while "." in host:
            host = host.partition(".")[2]
            yield host


def prefixes_of(page: str) -> Iterator[str]:
    """What blocks a page: itself, the page without its query, every folder above it, its host."""
    yield page
    path = page.partition("?")[0]
    if path != page:
        yield path
    segments = path.split("/", MAX_SEGMENTS)[:MAX_SEGMENTS]
    for count in range(len(segments) - (len(segments) == path.count("/") + 1), 0, -1):
        yield "/".join(segments[:count])


def _split(url: str) -> tuple[str | None, str, str]:
    """(normal host or None, path, query)."""
    if scheme := _SCHEME.match(url):
        url = url[scheme.end() :]
    url = url.partition("#")[0]
    rest, _, query = url.partition("?")
    authority, _, path = rest.partition("/")
    return _normal_host(authority.rpartition("@")[2]), path, query


def _normal_host(host: str) -> str | None:
    host = host.lower()
    if host.startswith("[") or host.count(":") > 1:
        bracketed = _BRACKETED.fullmatch(host)
        try:
            return ipaddress.IPv6Address(bracketed[1] if bracketed else host).compressed
        except ValueError:
            return None
    host = host.partition(":")[0].rstrip(".")
    if "%" in host:
        host = unquote(host)
    if not host.isascii():
        try:
            host = host.encode("idna").decode().lower()
        except UnicodeError:
            return None
    host = host.removeprefix("www.") if host.count(".") > 1 else host
    return host if len(host) <= _MAX_HOST and _PLAIN_HOST.fullmatch(host) else None


def _encoded(text: str) -> str:
    """Percent-encoding in one form: characters that need none are decoded."""
    if text.isascii() and text.isalnum():
        return text
    return quote(unquote_to_bytes(text), safe=_SAFE_IN_PATH)
