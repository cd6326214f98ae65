"""A chat server that stands in for a language model, and a command to run while it answers.

    python configs/demo/rater.py .venv/bin/puna run configs/llama-3-style-small.yaml

No chat model is at hand offline, and one of two cores' size could not judge a page. So this answers
at PORT in OpenAI's interface for chat, by a rule: of the page between <text> and </text>, the more
of its sentences state a fact (a name within the sentence, or a year), the higher its score from 0
to 5. With a real model, name the address of its server in `labels.worth.endpoint.url`.
"""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import sys
import threading

PORT = 4270
MODEL = "facts-per-sentence"
_NAME = re.compile(r"\s[A-Z][a-z]+|\b1[0-9]{3}\b")
_END = re.compile(r"[.!?]\s+|\n+")


def score(text: str) -> int:
    """Points: three for the share of sentences with a fact, one each for length and for variety."""
    sentences = [part for part in _END.split(text) if part.strip()]
    words = text.split()
    if not sentences or not words:
        return 0
    facts = sum(bool(_NAME.search(part)) for part in sentences) / len(sentences)
    varied = len(set(words)) / len(words) > 0.4
    return sum(facts >= share for share in (0.3, 0.5, 0.7)) + (len(words) >= 60) + varied


class Rater(http.server.BaseHTTPRequestHandler):
    """POST /v1/chat/completions."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer with the score of the text in the last message."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = asked["messages"][-1]["content"].partition("<text>")[2].partition("</text>")[0]
        answer = {"role": "assistant", "content": f"Score: {score(text)}"}
        tokens = {"prompt_tokens": len(text) // 4, "completion_tokens": 3}
        body = json.dumps(
            {
                "object": "chat.completion",
                "model": MODEL,
                "choices": [{"index": 0, "message": answer, "finish_reason": "stop"}],
                "usage": tokens,
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main(command: list[str]) -> int:
    """Run the command while the server answers; its exit code."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Rater)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        server.shutdown()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
