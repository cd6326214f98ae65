"""Keeps requests to this machine off the environment's proxies, which cannot reach its 127.0.0.1.

Prefect's client (httpx), its web sockets and the server's own requests read `no_proxy`, so loopback
is added there, for this process and its children. A server on another machine, named by
PREFECT_API_URL, is reached as the environment says.
"""

from __future__ import annotations

import importlib.util
import ipaddress
from collections.abc import MutableMapping
from urllib.parse import urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SCHEMES = ("http", "https")


def reach_loopback_directly(environment: MutableMapping[str, str], api_url: str | None) -> None:
    """Exempt this machine from the environment's proxies.

    `api_url`: the server that the user named, or None for one of ours. If the server is on this
    machine, values with which httpx refuses to start are removed, as nothing needs them: proxies
    that are not URLs or have an unsupported scheme, and exceptions that it cannot parse. Brackets
    around an exception (`[::1]`, as in URLs) are always removed: httpx adds its own.
    """
    proxies = [
        name for name in environment if name.lower() in ("http_proxy", "https_proxy", "all_proxy")
    ]
    if not any(environment[name] for name in proxies):
        return
    host = urlsplit(api_url).hostname if api_url else None
    local = host is None or is_loopback(host)
    stated = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    words = [_bare(word.strip()) for word in stated.split(",") if word.strip()]
    if local:
        words = [word for word in words if word == "*" or _is_host(word)]
    if "*" not in words:
        own = [*LOOPBACK, *([host] if host and local else [])]
        words += [word for word in dict.fromkeys(own) if word not in words]
    environment["no_proxy"] = environment["NO_PROXY"] = ",".join(words)
    if local:
        for name in proxies:
            if not _has_client(environment[name]):
                del environment[name]


def is_loopback(host: str) -> bool:
    """Whether a URL's host is this machine, judged by its name or address alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _bare(word: str) -> str:
    """`[::1]` -> `::1`; any other exception is unchanged."""
    return word[1:-1] if word.startswith("[") and word.endswith("]") else word


def _is_host(word: str) -> bool:
    """Whether httpx can parse an exception: a name or an address, with or without a scheme."""
    bare = word.partition("/")[0] if "://" not in word else word  # 10.0.0.0/8
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return _is_url(word if "://" in word else f"all://*{word}")
    return True


def _is_url(text: str) -> bool:
    import httpx

    try:
        httpx.URL(text)
    except (httpx.InvalidURL, ValueError, TypeError):
        return False
    return True


def _has_client(proxy: str) -> bool:
    if not _is_url(proxy if "://" in proxy else f"http://{proxy}"):
        return False
    scheme = proxy.partition("://")[0].lower() if "://" in proxy else "http"
    return scheme in _SCHEMES or (
        scheme in ("socks5", "socks5h") and importlib.util.find_spec("socksio") is not None
    )
