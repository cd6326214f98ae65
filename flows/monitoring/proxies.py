"""Keep requests to this machine off the environment's proxies: no proxy can reach its 127.0.0.1.

Prefect's client (httpx), its web sockets and the server's own requests read the environment, so
this machine is excepted there, for this process and all that it starts. A server elsewhere that
PREFECT_API_URL names is reached as the environment says.
"""

from __future__ import annotations

import importlib.util
import ipaddress
from collections.abc import MutableMapping
from urllib.parse import urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SCHEMES = ("http", "https")


def reach_loopback_directly(environment: MutableMapping[str, str], api_url: str | None) -> None:
    """Except this machine from the environment's proxies.

    `api_url`: the server that the user named, or None where it is to be one of ours. With a server
    on this machine, proxies of a kind that httpx has no client for are removed: it refuses to start
    with one, whether or not it would be used.
    """
    proxies = [
        name for name in environment if name.lower() in ("http_proxy", "https_proxy", "all_proxy")
    ]
    if not any(environment[name] for name in proxies):
        return
    host = urlsplit(api_url).hostname if api_url else None
    local = host is None or is_loopback(host)
    stated = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    words = [word.strip() for word in stated.split(",") if word.strip()]
    if "*" not in words:
        own = [*LOOPBACK, *([host] if host and local else [])]
        words += [word for word in dict.fromkeys(own) if word not in words]
    environment["no_proxy"] = environment["NO_PROXY"] = ",".join(words)
    if local:
        for name in proxies:
            if not _has_client(environment[name]):
                del environment[name]


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is this machine by its name or number alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _has_client(proxy: str) -> bool:
    scheme = proxy.partition("://")[0].lower() if "://" in proxy else "http"
    return scheme in _SCHEMES or (
        scheme in ("socks5", "socks5h") and importlib.util.find_spec("socksio") is not None
    )
