"""One HTTP request: connected safely, redirected safely, and answered by what was asked for or by
an error in words.

A response is what the server stores: no coding is undone. Redirects are followed without the
credentials of the first host, and from a public host never to a private address, which a redirect
could otherwise use to read this machine's network.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import urllib3

from infra.remote import addresses, resolved
from infra.remote.access import Access
from infra.remote.answers import ERROR_BYTES, Response, raise_errors
from infra.remote.connections import in_words, private_address, send
from infra.remote.errors import RemoteError, Transient
from infra.remote.locations import shown
from infra.remote.pacing import connection

MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Target:
    """Where to GET an object: a URL, headers for its host only, and what is known of the answer.

    `validator` is the answer's, as `validator_of` writes it ("" where it is not known). `denied`
    says what to set where the server refuses. `lasting`: what is there never changes, so that where
    it redirects to need not be asked for each request. `etagged`: the server states an ETag of
    every object, as S3 does.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    validator: str = ""
    denied: str = (
        "it needs a login, which plain addresses do not have; download it, and name the local path"
    )
    lasting: bool = False
    etagged: bool = False

    @property
    def host(self) -> str:
        """Host and port, as pacing counts them."""
        return urlsplit(self.url).netloc

    @property
    def key(self) -> resolved.Key:
        """What stands for it in `infra.remote.resolved`."""
        return (self.url, *sorted(self.headers.items()))


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
    sent = dict(headers or {})
    known = resolved.recall(target.key) if target.lasting and method == "GET" else None
    with contextlib.ExitStack() as stack:
        response = None
        if known is not None:
            try:
                response = stack.enter_context(_following(target, known, access, sent, what, stop))
            except RemoteError:
                resolved.forget(target.key)  # its signature has ended, say
            except Transient:
                resolved.forget(target.key)
                raise
        if response is None:
            start = resolved.Resolved(target.url, False, 0)
            response = stack.enter_context(
                _following(target, start, access, sent, what, stop, method)
            )
        yield response


@contextlib.contextmanager
def _following(
    target: Target,
    start: resolved.Resolved,
    access: Access,
    headers: Mapping[str, str],
    what: str,
    stop: threading.Event | None,
    method: str = "GET",
) -> Iterator[Response]:
    """The answer at an address, or where it redirects to."""
    url, public_only = start.url, start.public_only
    private = dict(target.headers) if _origin(url) == _origin(target.url) else {}
    for _ in range(MOST_REDIRECTS + 1):
        host = urlsplit(url).netloc
        with connection(host, access, stop):
            response = send(method, url, {**private, **headers}, access, public_only, what)
            try:
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or not location:
                    raise_errors(response, what, target.denied, target.etagged)
                    if target.lasting and url != target.url:
                        resolved.remember(target.key, url, public_only)
                    yield response
                    return
                if (response.length_remaining or 0) <= ERROR_BYTES:
                    response.drain_conn()  # the connection can be used again
            except urllib3.exceptions.HTTPError as error:
                raise Transient(f"{in_words(error)} from {host}") from None
            finally:
                _give_back(response, method)
        following = _followed(url, location, what)
        public_only = public_only or not addresses.leads_to_private(_hostname(url))
        if _origin(following) != _origin(url):
            private = {}
            if addresses.leads_to_link_local(_hostname(following)):
                raise private_address(_hostname(following))
        url = following
    raise RemoteError(f"{what}: more than {MOST_REDIRECTS} redirects; name where they lead to")


def _give_back(response: Response, method: str) -> None:
    if method == "HEAD":
        with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):
            response.drain_conn()
    if not response.closed:
        response.close()  # unread bytes: no other request may use this connection
    response.release_conn()


def chunks(response: Response, size: int = 1 << 18) -> Iterator[bytes]:
    """The body as it comes; raises `Transient` where it is cut."""
    try:
        while data := response.read1(size, decode_content=False):
            yield data
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Transient(in_words(error)) from None


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
