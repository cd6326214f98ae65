"""One HTTP request: connected safely, redirected safely, and answered by what was asked for or by
an error in words.

A response is what the server stores: no coding is undone. Redirects are followed without the
credentials of the first host, and from a public host never to a private address, which a redirect
could otherwise use to read this machine's network.
"""

from __future__ import annotations

import contextlib
import email.utils
import functools
import importlib.metadata
import os
import re
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from infra.remote import addresses
from infra.remote.access import Access
from infra.remote.errors import Denied, NoSuchObject, RemoteError, Transient, Unreachable
from infra.remote.locations import shown
from infra.remote.pacing import connection

Response = urllib3.BaseHTTPResponse

MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_ANSWERS = (200, 206, 304, 412, 416)
"""Statuses that callers judge; all others are errors."""

_PASSING = (408, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524, 529)
_PASSING_CODES = {
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "RequestLimitExceeded",
}
"""Codes in XML errors of S3 and its like that pass by themselves, whatever the status."""

_ERROR_BYTES = 16 << 10


@dataclass(frozen=True)
class Target:
    """Where to GET an object: a URL, headers for its host only, and what is known of the answer.

    `validator` is the answer's, as `validator_of` writes it ("" where it is not known). `denied`
    says what to set where the server refuses.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    validator: str = ""
    denied: str = (
        "it needs a login, which plain addresses do not have; download it, and name the local path"
    )

    @property
    def host(self) -> str:
        """Host and port, as pacing counts them."""
        return urlsplit(self.url).netloc


@contextlib.contextmanager
def request(
    target: Target,
    access: Access,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    what: str = "",
    stop: threading.Event | None = None,
) -> Iterator[Response]:
    """One request, no retries: yields a response of status 200, 206, 304, 412 or 416, unread.

    Raises `Transient` for what may pass, else `NoSuchObject`, `Denied`, `Unreachable` or
    `RemoteError`; `Stopped` where `stop` is set while it waits for its turn. `what` names the
    object in messages.
    """
    what = what or shown(target.url)
    url, private, public_only = target.url, dict(target.headers), False
    for _ in range(MOST_REDIRECTS + 1):
        host = urlsplit(url).netloc
        with connection(host, access, stop):
            response = _send(method, url, {**private, **(headers or {})}, access, public_only, what)
            try:
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or not location:
                    _raise_errors(response, what, target.denied)
                    yield response
                    return
                if (response.length_remaining or 0) <= _ERROR_BYTES:
                    response.drain_conn()  # the connection can be used again
            except urllib3.exceptions.HTTPError as error:
                raise Transient(f"{_in_words(error)} from {host}") from None
            finally:
                _give_back(response, method)
        following = _followed(url, location, what)
        public_only = public_only or not addresses.leads_to_private(_hostname(url))
        if _origin(following) != _origin(url):
            private = {}
            if addresses.leads_to_link_local(_hostname(following)):
                raise _private(_hostname(following))
        url = following
    raise RemoteError(f"{what}: more than {MOST_REDIRECTS} redirects; name where they lead to")


def _give_back(response: Response, method: str) -> None:
    if method == "HEAD":
        with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):
            response.drain_conn()
    if not response.closed:
        response.close()  # unread bytes: no other request may use this connection
    response.release_conn()


def chunks(response: Response, what: str, size: int = 1 << 18) -> Iterator[bytes]:
    """The body as it comes; raises `Transient` where it is cut."""
    try:
        while data := response.read1(size, decode_content=False):
            yield data
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Transient(f"{what}: {_in_words(error)}") from None


def validator_of(response: Response) -> str:
    """What tells this content from an earlier or later one: the ETag without quotes, or the time of
    its last change; "" where neither is stated.
    """
    if etag := response.headers.get("ETag", "").strip():
        weak = "W/" if etag.startswith("W/") else ""
        return weak + etag.removeprefix("W/").strip('"')
    modified = response.headers.get("Last-Modified", "").strip()
    return f"modified {modified}" if modified else ""


def contradiction(response: Response, expected: str) -> str:
    """What an answer states of its content where it is surely another one than expected; "" where
    it is not, or cannot be told: a server may state less of one answer than of another.
    """
    if not expected:
        return ""
    if expected.startswith("modified "):
        modified = response.headers.get("Last-Modified", "").strip()
        return f"modified {modified}" if modified and f"modified {modified}" != expected else ""
    stated = validator_of(response)
    if stated.startswith("modified "):
        return ""
    return stated if stated.removeprefix("W/") != expected.removeprefix("W/") else ""


def conditions(validator: str) -> dict[str, str]:
    """Headers that make the server refuse (412) where the content is no longer that one."""
    if validator.startswith("modified "):
        return {"If-Unmodified-Since": validator.removeprefix("modified ")}
    return {"If-Match": f'"{validator}"'} if validator and not validator.startswith("W/") else {}


def _followed(url: str, location: str, what: str) -> str:
    following = urljoin(url, location)
    before, after = urlsplit(url), urlsplit(following)
    if after.scheme not in ("http", "https") or not after.hostname:
        raise RemoteError(f"{what}: redirected to {after.scheme}://, which is not followed")
    if before.scheme == "https" and after.scheme == "http":
        raise RemoteError(
            f"{what}: redirected from https to http at {after.netloc.rpartition('@')[2]}, which is "
            "not followed; name that address if it is to be trusted"
        )
    return after._replace(netloc=after.netloc.rpartition("@")[2]).geturl()


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _hostname(url: str) -> str:
    return urlsplit(url).hostname or ""


def _send(
    method: str,
    url: str,
    headers: Mapping[str, str],
    access: Access,
    public_only: bool,
    what: str,
) -> Response:
    sent = {"Accept-Encoding": "identity", "User-Agent": _user_agent(), **headers}
    host = _hostname(url)
    proxy = _proxy(url)
    if public_only and addresses.leads_to_private(host):
        raise _private(host)
    manager = _manager(os.getpid(), access.connections, public_only and not proxy, proxy)
    try:
        response: Response = manager.request(
            method,
            url,
            headers=sent,
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
                f"{what}: the certificate of {host} is not trusted ({_in_words(error)}); set "
                "SSL_CERT_FILE where it is your own authority's"
            ) from None
        raise Transient(f"{_in_words(error)} from {host}") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Transient(f"{_in_words(error)} from {host}") from None
    return response


def _raise_errors(response: Response, what: str, denied: str) -> None:
    status = response.status
    if status in _ANSWERS:
        return
    body = response.read(_ERROR_BYTES, decode_content=True).decode("utf-8", "replace")
    code, message = xml_error(body)
    said = f"HTTP {status}" + (f" {code}" if code else "") + (f": {message}" if message else "")
    slow = code in _PASSING_CODES or "reduce your request rate" in body.lower()
    if slow or status in _PASSING:
        raise Transient(said, wait_s=_retry_after(response.headers.get("Retry-After", "")))
    if status in (404, 410):
        raise NoSuchObject(f"{what}: no such object ({said}); check the address")
    if status in (401, 402, 403, 407, 451):
        raise Denied(f"{what}: refused ({said}); {denied}")
    raise RemoteError(f"{what}: the server answered {said}")


def xml_error(body: str) -> tuple[str, str]:
    """Code and message of an XML error as S3 writes it; "" and "" for anything else."""
    code = re.search(r"<Code>\s*(\w+)\s*</Code>", body)
    message = re.search(r"<Message>([^<]{0,200})", body)
    return (code[1] if code else ""), (message[1].strip().rstrip(".") if code and message else "")


def _retry_after(value: str) -> float:
    """Seconds that a Retry-After header asks for; 0 for none."""
    if not value:
        return 0.0
    with contextlib.suppress(ValueError):
        return max(float(value), 0.0)
    with contextlib.suppress(ValueError, TypeError):
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    return 0.0


def _in_words(error: BaseException) -> str:
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "no address is known"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return str(error).partition("connection: ")[2] or "no connection"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "no answer in time"
    if isinstance(error, urllib3.exceptions.IncompleteRead):
        return f"the answer was cut, {error.expected or 0:,} bytes before its end"
    inner = error.args[-1] if error.args else error
    return str(inner if isinstance(inner, Exception) else error).strip("'\"() ") or "no answer"


def _private(host: str) -> RemoteError:
    return RemoteError(
        f"redirected to {host}, which is in a private network or this machine; such redirects are "
        "not followed. Name that address in the recipe if it is meant"
    )


def _require_public(sock: socket.socket, host: str) -> socket.socket:
    """Check the address that was in fact connected to: a name may resolve to another each time."""
    if addresses.is_public(str(sock.getpeername()[0])):
        return sock
    sock.close()
    raise _private(host)


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
            login = f"{parts.username}:{parts.password or ''}"
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
