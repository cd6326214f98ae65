"""Asks a server with OpenAI's interface for chat: many requests side by side, each tried until it
is answered or patience ends.

A server that throttles (429) or is busy (503) and says how long to wait holds back all requests for
that time, not only the one that it told. The first request goes alone: an address, key or model
that is wrong is one error, at once.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import urllib3

from infra.remote.access import Access
from infra.remote.answers import PASSING, Response, retry_after
from infra.remote.connections import in_words, send
from infra.remote.errors import Denied, NoSuchObject, RemoteError, Stopped, Transient, Unreachable
from infra.remote.retry import backoff
from infra.stage import StageError
from tasks.labels.answers import Answer
from tasks.labels.rubric import Request
from tasks.labels.stage import Endpoint

FIRST_PATIENCE_S = 20.0
"""How long the first request is tried where nothing answers at the address."""

MOST_BYTES = 4 << 20

_OF_THE_REQUEST = (400, 413, 422)
"""Statuses that refuse one request, such as a prompt that is too long."""

_SHOWN = 200


@dataclass
class Gate:
    """When the next request may start: not before a server's wait is over, and not more often than
    the recipe says.
    """

    interval_s: float = 0.0
    _next: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def turn(self) -> float:
        """Seconds to wait for the next turn, which is then taken."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self.interval_s
            return turn - now

    def hold(self, seconds: float) -> None:
        """No request starts for so long."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def ask_all(
    requests: Iterable[Request],
    endpoint: Endpoint,
    access: Access,
    keep: Callable[[Request, Answer], None],
) -> None:
    """Ask every request, and hand each answer to `keep` as it comes, in this thread.

    Raises:
        StageError: the server cannot be reached, refuses the key, or has no such model.
    """
    patient = replace(access, retry_limit_s=endpoint.patience_s, read_timeout_s=endpoint.timeout_s)
    interval = 1 / endpoint.requests_per_second if endpoint.requests_per_second else 0.0
    server = Server(endpoint, patient, _key(endpoint), Gate(interval))
    todo = iter(requests)
    first = next(todo, None)
    if first is None:
        return
    keep(first, server.ask(first, first=True))
    with ThreadPoolExecutor(endpoint.concurrency, thread_name_prefix="labels") as pool:
        pending: dict[Future[Answer], Request] = {}
        try:
            while True:
                while len(pending) < endpoint.concurrency and (one := next(todo, None)):
                    pending[pool.submit(server.ask, one)] = one
                if not pending:
                    return
                for done in wait(pending, return_when=FIRST_COMPLETED).done:
                    keep(pending.pop(done), done.result())
        finally:
            server.stop.set()  # others that wait for their turn end now


def _key(endpoint: Endpoint) -> str:
    if endpoint.key is None:
        return ""
    key = os.environ.get(endpoint.key, "").strip()
    if not key:
        raise StageError(
            f"endpoint.key: the environment variable {endpoint.key} is not set; set it to the key "
            f"of {endpoint.url}, or remove `key` where none is needed"
        )
    return key


@dataclass(frozen=True)
class Server:
    """One endpoint, with the state that its requests share."""

    endpoint: Endpoint
    access: Access
    key: str
    gate: Gate
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Where requests go."""
        return f"{self.endpoint.url}/chat/completions"

    def ask(self, request: Request, first: bool = False) -> Answer:
        """The answer to a request, tried again while the server is away, busy or throttles.

        `first`: nothing has answered yet, so an address where nothing does is given up soon.
        """
        body = json.dumps(body_of(request, self.endpoint)).encode("utf-8", "surrogatepass")
        failures, since = 0, time.monotonic()
        while True:
            self._wait(self.gate.turn())
            started = time.monotonic()
            try:
                return replace(self._answer(body), seconds=round(time.monotonic() - started, 4))
            except Transient as trouble:
                failures += 1
                away = first and isinstance(trouble, _Away)
                limit = min(self.access.retry_limit_s, FIRST_PATIENCE_S if away else 1e9)
                wait_s = max(trouble.wait_s, backoff(failures, self.access.retry_interval_s))
                if trouble.wait_s:
                    self.gate.hold(trouble.wait_s)
                elapsed = time.monotonic() - since
                if elapsed + wait_s > limit:
                    asked = f" (wait {trouble.wait_s:,.0f} s)" if trouble.wait_s else ""
                    tries = "1 try" if failures == 1 else f"{failures} tries"
                    raise Unreachable(
                        f"{self.endpoint.url}: {trouble.why}{asked}; gave up after {tries} in "
                        f"{elapsed:.0f} s. {_next_action(trouble, self.endpoint.patience_s)}; what "
                        "was answered is kept"
                    ) from None
                self._wait(wait_s)

    def _wait(self, seconds: float) -> None:
        if self.stop.wait(max(seconds, 0.0)):
            raise Stopped

    def _answer(self, body: bytes) -> Answer:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        what = self.endpoint.url
        try:
            response = send("POST", self.url, headers, self.access, False, what, body)
        except Transient as trouble:
            raise _Away(trouble.why) from None
        try:
            content = response.read(MOST_BYTES, decode_content=True)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Transient(f"{in_words(error)} from {urlsplit(what).netloc}") from None
        finally:
            response.close()
            response.release_conn()
        return self._read(response, content)

    def _read(self, response: Response, content: bytes) -> Answer:
        status, shown = response.status, _said(content)
        if status == 200:
            return answer_of(content)
        if status in PASSING:
            wait_s = retry_after(response.headers.get("Retry-After", ""))
            raise Transient(f"HTTP {status} {shown}".rstrip(), wait_s=wait_s)
        if status in _OF_THE_REQUEST:
            return Answer("", problem=f"HTTP {status}: {shown}")
        if status in (401, 403):
            how = (
                f"check the value of {self.endpoint.key}"
                if self.key
                else "name the environment variable that holds the key as endpoint.key"
            )
            raise Denied(f"{self.endpoint.url}: refused (HTTP {status} {shown}); {how}")
        if status == 404:
            raise NoSuchObject(
                f"{self.endpoint.url}: HTTP {status} {shown}; check the address (it ends in the "
                f"version, such as /v1) and the model's name {self.endpoint.model!r}"
            )
        where = response.headers.get("Location", "")
        how = (
            f"it is now at {where}; name that as endpoint.url, up to the version"
            if 300 <= status < 400 and where
            else "check endpoint.url and endpoint.model"
        )
        raise RemoteError(f"{self.endpoint.url}: HTTP {status} {shown}".rstrip() + f"; {how}")


class _Away(Transient):
    """Nothing answers there."""


class _NoCompletion(Transient):
    """What answers is no chat model, or its answer came in part."""


def _next_action(trouble: Transient, patience_s: float) -> str:
    """What to do when patience has ended."""
    if isinstance(trouble, _NoCompletion):
        return (
            "Check that endpoint.url is the address of a chat model's server, up to the version, "
            "such as http://localhost:8000/v1"
        )
    if trouble.wait_s:
        return f"Run again then, or raise endpoint.patience_s ({patience_s:g})"
    return f"Check that the server runs, or raise endpoint.patience_s ({patience_s:g})"


def body_of(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    """The request as OpenAI's interface takes it."""
    settings = request.settings
    return {
        "model": endpoint.model,
        "messages": [{"role": role, "content": text} for role, text in request.messages],
        "max_tokens": settings["max_tokens"],
        "temperature": settings["temperature"],
        "seed": settings["seed"] + request.number,
        **endpoint.extra,
    }


def answer_of(content: bytes) -> Answer:
    """The answer in a completion. Raises `Transient` for what is none, as a proxy's page."""
    try:
        found = json.loads(content)
        choice = found["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise _NoCompletion(f"its answer is no chat completion: {_said(content)!r}") from None
    if isinstance(choice, list):  # in parts, as OpenAI's interface has it too
        parts = [part.get("text") for part in choice if isinstance(part, dict)]
        choice = "".join(part for part in parts if isinstance(part, str))
    text = choice if isinstance(choice, str) else ""
    usage = found.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Answer(
        text.encode("utf-8", "replace").decode(),  # no half of a surrogate pair
        _tokens(counts.get("prompt_tokens")),
        _tokens(counts.get("completion_tokens")),
    )


def _tokens(count: Any) -> int:
    """What a server counts; 0 where it is no number."""
    return count if isinstance(count, int) and 0 < count < 1 << 40 else 0


def _said(content: bytes) -> str:
    """What an error's body says, in short."""
    text = content.decode("utf-8", "replace")
    try:
        found = json.loads(text)
        error = found.get("error", found) if isinstance(found, dict) else found
        text = error.get("message") or text if isinstance(error, dict) else str(error)
    except ValueError:
        pass
    return " ".join(str(text).split())[:_SHOWN]
