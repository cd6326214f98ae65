"""Connections to servers: safe, pooled, and with their failures in words."""

from __future__ import annotations

import contextlib
import functools
import http.client
import importlib.metadata
import os
import socket
import ssl
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from infra.remote import addresses
from infra.remote.access import Access
from infra.remote.answers import Response
from infra.remote.errors import RemoteError, Transient, Unreachable


def send(
    method: str,
    url: str,
    headers: Mapping[str, str],
    access: Access,
    public_only: bool,
    what: str,
    body: bytes | None = None,
) -> Response:
    """One request as it is, its answer unread; `public_only` refuses addresses that are private.

    Raises `Transient`, `Unreachable` (a certificate) and `RemoteError`.
    """
    sent = {"Accept-Encoding": "identity", "User-Agent": _user_agent(), **headers}
    host = urlsplit(url).hostname or ""
    proxy = _proxy(url)
    if public_only and addresses.leads_to_private(host):
        raise private_address(host)
    manager = _manager(os.getpid(), access.connections, public_only and not proxy, proxy)
    try:
        response: Response = manager.request(
            method,
            url,
            headers=sent,
            body=body,
            preload_content=False,
            decode_content=False,
            redirect=False,
            retries=False,
            timeout=urllib3.Timeout(connect=access.connect_timeout_s, read=access.read_timeout_s),
        )
    except urllib3.exceptions.LocationParseError:
        raise RemoteError(f"{what}: is not a URL") from None
    except urllib3.exceptions.SSLError as error:
        if "CERTIFICATE" in str(error).upper():
            raise Unreachable(
                f"{what}: the certificate of {host} is not trusted ({in_words(error)}); set "
                "SSL_CERT_FILE where it is your own authority's"
            ) from None
        raise Transient(f"{in_words(error)} from {host}") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Transient(f"{in_words(error)} from {host}") from None
    return response


def in_words(error: BaseException) -> str:
    """What went wrong with a connection."""
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "no address is known"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return str(error).partition("connection: ")[2] or "no connection"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.IncompleteRead):
        missing = error.expected or 0
        return f"the answer was cut, {missing:,} byte{'s' * (missing != 1)} before its end"
    if error.args and isinstance(inner := error.args[-1], Exception):
        return in_words(inner)
    return str(error).strip("'\"() ") or "no answer"


def private_address(host: str) -> RemoteError:
    """The error for a redirect into a private network."""
    return RemoteError(
        f"redirected to {host}, which is in a private network or this machine; such redirects are "
        "not followed. Name that address in the recipe if it is meant"
    )


def _require_public(sock: socket.socket, host: str) -> socket.socket:
    """Check the address that was in fact connected to: a name may resolve to another each time."""
    if addresses.is_public(str(sock.getpeername()[0])):
        return sock
    sock.close()
    raise private_address(host)


class _PublicHTTP(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _require_public(super()._new_conn(), self.host)


class _PublicHTTPS(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _require_public(super()._new_conn(), self.host)


class _PublicHTTPPool(HTTPConnectionPool):
    ConnectionCls = _PublicHTTP


class _PublicHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _PublicHTTPS


def _proxy(url: str) -> str:
    """The proxy that the environment names for a URL; "" for none, as for this machine itself."""
    parts = urlsplit(url)
    if parts.hostname == "localhost" or (parts.hostname or "").startswith("127."):
        return ""
    proxies = urllib.request.getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all", "")
    if not found or urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    return found if "://" in found else f"http://{found}"


@functools.lru_cache(maxsize=16)
def _manager(process: int, connections: int, public_only: bool, proxy: str) -> urllib3.PoolManager:
    """Connections of this process: forked workers must not share their parent's."""
    bundle = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    settings: dict[str, Any] = {
        "num_pools": 32,
        "maxsize": connections,
        "block": False,  # `connection` bounds them, over processes too
        "ca_certs": bundle or certifi.where(),
    }
    if proxy:
        parts = urlsplit(proxy)
        headers = None
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers = urllib3.make_headers(proxy_basic_auth=login)
        address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return urllib3.ProxyManager(address, proxy_headers=headers, **settings)
    manager = urllib3.PoolManager(**settings)
    if public_only:
        manager.pool_classes_by_scheme = {"http": _PublicHTTPPool, "https": _PublicHTTPSPool}
    return manager


@functools.cache
def _user_agent() -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return f"puna/{importlib.metadata.version('puna')}"
    return "puna"
