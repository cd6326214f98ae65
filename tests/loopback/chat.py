"""A chat server with OpenAI's interface, whose answers follow rules, with faults by plan.

It stands in for a language model where none is at hand: an additive rubric from 0 to 5 by features
of the text (`rubric_score`), plus seeded noise. It counts what it answered, by the messages.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Fault = str
"""`drop`, `429`, `503`, `401`, `404`, `400`, `page` (HTML with 200), `empty`, `words` (no score),
`slow` (longer than any timeout of a test), `moved` (a redirection), `half` (JSON that breaks off),
`parts` (a list instead of a text), `odd` (half a surrogate pair, and no numbers as counts).
"""

_EXPLAINS = re.compile(
    r"\b(because|therefore|example|called|known|means|century|theory|system|process|number|water"
    r"|species|history|between|during|which)\b",
    re.IGNORECASE,
)
_SELLS = re.compile(
    r"\b(buy|price|sale|shipping|click|order|contact us|subscribe|free|deal|discount|login|cart)\b",
    re.IGNORECASE,
)


def rubric_score(text: str) -> int:
    """From 0 to 5: a point each for length, sentences, words that explain (two), and no selling."""
    words = max(len(text.split()), 1)
    explains, sells = len(_EXPLAINS.findall(text)) / words, len(_SELLS.findall(text)) / words
    points = (words > 80) + (text.count(". ") > 3) + (explains > 0.01) + (explains > 0.025)
    return points + (sells < 0.002)


@dataclass
class ChatServer:
    """What answers, and what was asked. `score`: of the document between <text> and </text>."""

    score: Callable[[str], int] = rubric_score
    noise: float = 0.0
    faults: Callable[[int], Fault | None] = lambda number: None
    retry_after: str = "0"
    latency_s: float = 0.0
    key: str = ""
    answered: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0
    _number: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> int:
        """Number of the request that comes in, from 0."""
        with self.lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self._number += 1
            self.times.append(time.monotonic())
            return self._number - 1

    def end(self) -> None:
        """A request was answered."""
        with self.lock:
            self._at_once -= 1

    def reply(self, body: dict[str, Any]) -> str:
        """The answer to a conversation."""
        asked = json.dumps([body["messages"], body.get("seed")])
        found = re.search(r"<text>(.*)</text>", body["messages"][-1]["content"], re.DOTALL)
        if found is None:
            found = re.search(r"<text>(.*)</text>", body["messages"][0]["content"], re.DOTALL)
        score = self.score(found[1] if found else "")
        digest = hashlib.sha256(asked.encode()).digest()
        if digest[0] / 256 < self.noise:
            score = min(max(score + (1 if digest[1] % 2 else -1), 0), 5)
        return f"It is clear enough. Educational score: {score}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    chat: ChatServer

    def log_message(self, *args: object) -> None:
        """Silent."""

    def do_POST(self) -> None:
        """One request."""
        chat = self.chat
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = chat.begin()
        try:
            self._answer(chat, body, chat.faults(number))
        finally:
            chat.end()

    def _answer(self, chat: ChatServer, body: dict[str, Any], fault: Fault | None) -> None:
        if chat.key and self.headers.get("Authorization") != f"Bearer {chat.key}":
            fault = "401"
        if self.path != "/v1/chat/completions":
            fault = "404"
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
            return
        if fault == "slow":
            time.sleep(3.0)
        time.sleep(chat.latency_s)
        if fault in ("429", "503", "401", "404", "400"):
            headers = {"Retry-After": chat.retry_after} if fault == "429" else {}
            said = {"error": {"message": f"this is a {fault}"}}
            self._say(int(fault), json.dumps(said).encode(), headers)
            return
        if fault == "moved":
            self._say(308, b"", {"Location": "http://elsewhere.example/v1/chat/completions"})
            return
        if fault == "page":
            self._say(200, b"<html>log in</html>", {"Content-Type": "text/html"})
            return
        texts = {"empty": None, "words": "I would rather not say."}
        text = texts[fault] if fault in texts else chat.reply(body)
        usage: dict[str, Any] = {"prompt_tokens": len(str(body)) // 4, "completion_tokens": 12}
        content: Any = [{"type": "text", "text": text}] if fault == "parts" else text
        if fault == "odd":
            content, usage = (
                f"\ud800 {text}",
                {"prompt_tokens": float("inf"), "completion_tokens": "?"},
            )
        said = {"choices": [{"message": {"role": "assistant", "content": content}}], "usage": usage}
        whole = json.dumps(said).encode()
        if fault == "half":
            self._say(200, whole[:40])
            return
        self._say(200, whole)
        with chat.lock:
            chat.bodies.append(body)
            chat.answered[json.dumps([body["messages"], body.get("seed")])] += 1

    def _say(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that dies is what tests are about."""


@contextlib.contextmanager
def chatting(chat: ChatServer, port: int = 0) -> Iterator[str]:
    """Serve until the block ends; yields the address up to the version."""
    handler = type("Handler", (_Handler,), {"chat": chat})
    server = _Server(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
