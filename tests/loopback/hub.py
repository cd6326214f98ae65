"""A Hugging Face hub on the loopback interface, as huggingface_hub 2.4 and datasets 5.2 ask it.

    python -m tests.loopback.hub ROOT [--page 1000] [--latency 0.0] [--megabytes-per-second 0]

`ROOT/datasets/ORG/NAME/` and `ROOT/models/ORG/NAME/` are repositories: their files as they are now
are the branch `main`, and every state that was asked for once stays as a commit. `.hub.json` in one
of them may say `{"gated": true}` (the files need a token that was granted access), `{"private":
true}`, and `{"tags": {"v1": COMMIT}}`. Files of LFS's kinds are served by another host (localhost
instead of 127.0.0.1), to which the hub redirects, as the real one does; no token may reach it.

The address is the first line on stdout. `GET /_log` has every request since the last `DELETE
/_log`; `POST /_faults` with a JSON list of `[regular expression of paths, kind, times]` lets
requests fail: "drop" (the connection is closed after half of the body), "short" (the body's end is
left out and the connection closed), or a status such as 503.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.loopback import hub_uploads

TOKEN = "hf_loopback"
"""Has access to everything, and may write."""
STRANGER = "hf_stranger"
"""A valid token without access to gated repositories."""
_LFS = {".parquet", ".gz", ".zst", ".safetensors", ".bin", ".model", ".arrow", ".zip"}
_KINDS = ("datasets", "models")


@dataclass(frozen=True)
class Blob:
    """A file's content and how the hub names it."""

    data: bytes
    oid: str
    sha256: str
    lfs: bool

    @classmethod
    def of(cls, path: str, data: bytes) -> Blob:
        lfs = Path(path).suffix in _LFS
        sha256 = hashlib.sha256(data).hexdigest()
        stored = _pointer(sha256, len(data)) if lfs else data
        git = hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()
        return cls(data, git, sha256, lfs)

    def entry(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {
            "type": "file",
            "oid": self.oid,
            "size": len(self.data),
            "path": path,
        }
        if self.lfs:
            size = len(_pointer(self.sha256, len(self.data)))
            found["lfs"] = {"oid": self.sha256, "size": len(self.data), "pointerSize": size}
        return found


def _pointer(sha256: str, size: int) -> bytes:
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    )


@dataclass
class Repository:
    """A folder and the commits that were seen of it."""

    kind: str
    id: str
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    _known: dict[str, tuple[tuple[int, int], Blob]] = field(default_factory=dict)

    def head(self) -> str:
        """The commit of what the folder holds now."""
        files: dict[str, Blob] = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if not path.is_file() or name == ".hub.json":
                continue
            stamp = (path.stat().st_size, path.stat().st_mtime_ns)
            if self._known.get(name, (None,))[0] != stamp:
                self._known[name] = (stamp, Blob.of(name, path.read_bytes()))
            files[name] = self._known[name][1]
        listing = json.dumps([(name, blob.oid) for name, blob in files.items()])
        commit = hashlib.sha1(f"{self.id}\n{listing}".encode()).hexdigest()
        self.commits.setdefault(commit, files)
        return commit

    def commit(self, revision: str) -> str | None:
        """What a branch, tag or commit is."""
        if revision == "main":
            return self.head()
        if revision in self.commits:
            return revision
        found: str | None = self.settings.get("tags", {}).get(revision)
        return found


class Hub(ThreadingHTTPServer):
    """State of the server."""

    daemon_threads = True

    def __init__(self, root: Path, page: int, latency_s: float, bytes_per_s: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root, self.page = root, page
        self.latency_s, self.bytes_per_s = latency_s, bytes_per_s
        self.lock = threading.Lock()
        self.log: list[dict[str, Any]] = []
        self.faults: list[list[Any]] = []
        self.blobs: dict[str, bytes] = {}
        self.repositories: dict[tuple[str, str], Repository] = {}

    def repository(self, kind: str, id: str) -> Repository | None:
        folder = self.root / kind / id
        if id.count("/") != 1 or not folder.is_dir():
            return None
        with self.lock:
            found = self.repositories.setdefault((kind, id), Repository(kind, id, folder))
            settings = folder / ".hub.json"
            found.settings = json.loads(settings.read_text()) if settings.is_file() else {}
            for blob in found.commits[found.head()].values():
                self.blobs.setdefault(blob.sha256, blob.data)
        return found

    def fault(self, path: str) -> str:
        """What is to go wrong with this request, "" for nothing."""
        with self.lock:
            for fault in self.faults:
                if fault[2] > 0 and re.search(fault[0], path):
                    fault[2] -= 1
                    return str(fault[1])
        return ""


class Handler(BaseHTTPRequestHandler):
    """One connection; requests are answered in order."""

    server: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr: /_log has it."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        url = urlsplit(self.path)
        if url.path == "/_log":
            with self.server.lock:
                found = list(self.server.log)
                if self.command == "DELETE":
                    self.server.log.clear()
            self._json(found)
            return
        if url.path == "/_faults":
            with self.server.lock:
                self.server.faults = json.loads(body)
            self._json([])
            return
        time.sleep(self.server.latency_s)
        self._entry = {
            "method": self.command,
            "host": (self.headers.get("Host") or "").partition(":")[0],
            "path": unquote(url.path),
            "range": self.headers.get("Range", ""),
            "token": (self.headers.get("Authorization") or "").removeprefix("Bearer "),
            "status": 0,
            "bytes": 0,
        }
        with self.server.lock:  # before the answer, after which a test may look
            self.server.log.append(self._entry)
        self._fault = self.server.fault(unquote(url.path))
        try:
            if self._fault.isdigit():
                self._json({"error": "fault"}, int(self._fault))
            else:
                self._route(url.path, parse_qs(url.query), body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _route(self, path: str, query: dict[str, list[str]], body: bytes) -> None:
        may = {TOKEN: "write", STRANGER: "read"}.get(self._token, "")
        if written := hub_uploads.route(self.server, self.command, unquote(path), may, body):
            self._json(written[1], written[0])
            return
        parts = path.strip("/").split("/")
        if parts[0] == "cdn":
            self._bytes(self.server.blobs[parts[1]], f'"{parts[1]}"', {})
        elif parts[0] == "api" and len(parts) == 2 and parts[1] in _KINDS:
            self._search(parts[1], query)
        elif parts[0] == "api" and len(parts) >= 4 and parts[1] in _KINDS:
            self._api(parts[1], "/".join(parts[2:4]), list(map(unquote, parts[4:])), query, body)
        elif len(parts) >= 6 and parts[0] == "datasets" and parts[3] == "resolve":
            name = unquote("/".join(parts[5:]))
            self._resolve("datasets", "/".join(parts[1:3]), unquote(parts[4]), name)
        elif len(parts) >= 5 and parts[2] == "resolve":
            name = unquote("/".join(parts[4:]))
            self._resolve("models", "/".join(parts[:2]), unquote(parts[3]), name)
        else:
            self._error(404, "", "Not Found")

    def _search(self, kind: str, query: dict[str, list[str]]) -> None:
        author, word = query.get("author", [""])[0], query.get("search", [""])[0].lower()
        found = [
            {"id": f"{folder.parent.name}/{folder.name}", "tags": []}
            for folder in sorted((self.server.root / kind).glob("*/*"))
            if (not author or folder.parent.name == author) and word in folder.name.lower()
        ]
        self._json(found[: int(query.get("limit", ["100"])[0])])

    def _api(
        self, kind: str, id: str, rest: list[str], query: dict[str, list[str]], body: bytes
    ) -> None:
        repository = self._visible(kind, id)
        if repository is None:
            return
        action = rest[0] if rest else "revision"
        if action == "refs":
            tags = repository.settings.get("tags", {})
            self._json(
                {
                    "branches": [_ref("heads", "main", repository.head())],
                    "tags": [_ref("tags", name, commit) for name, commit in tags.items()],
                    "converts": [],
                }
            )
            return
        commit = repository.commit(rest[1] if len(rest) > 1 else "main")
        if commit is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {rest[1]}")
            return
        files = repository.commits[commit]
        if action == "revision":
            self._json(
                {
                    "_id": "0",
                    "id": id,
                    "sha": commit,
                    "private": repository.settings.get("private", False),
                    "gated": "auto" if repository.settings.get("gated") else False,
                    "disabled": False,
                    "tags": [],
                    "siblings": [{"rfilename": name} for name in files],
                }
            )
        elif action == "tree":
            self._tree(files, "/".join(rest[2:]), query)
        elif action == "paths-info":
            asked = parse_qs(body.decode()).get("paths", [])
            if self.headers.get("Content-Type", "").startswith("application/json"):
                asked = json.loads(body)["paths"]
            folders = {parent: _folder(parent) for name in files for parent in _parents(name)}
            known = {**folders, **{name: blob.entry(name) for name, blob in files.items()}}
            self._json([known[name] for name in asked if name in known])
        else:
            self._error(404, "", "Not Found")

    def _tree(self, files: dict[str, Blob], below: str, query: dict[str, list[str]]) -> None:
        prefix = f"{below}/" if below else ""
        inside = {name: blob for name, blob in files.items() if name.startswith(prefix)}
        if below and not inside:
            self._error(404, "EntryNotFound", f"{below} does not exist")
            return
        entries = {name: blob.entry(name) for name, blob in inside.items()}
        for name in inside:
            for parent in _parents(name):
                if parent.startswith(prefix):
                    entries[parent] = _folder(parent)
        if query.get("recursive", ["false"])[0].lower() != "true":
            entries = {
                name: entry for name, entry in entries.items() if "/" not in name[len(prefix) :]
            }
        listed = [entries[name] for name in sorted(entries)]
        start = int(query.get("cursor", ["0"])[0])
        stop = start + self.server.page
        more = {}
        if stop < len(listed):
            host = self.headers.get("Host")
            recursive = query.get("recursive", ["False"])[0]
            url = f"http://{host}{urlsplit(self.path).path}?recursive={recursive}&cursor={stop}"
            more["Link"] = f'<{url}>; rel="next"'
        self._json(listed[start:stop], headers=more)

    def _resolve(self, kind: str, id: str, revision: str, name: str) -> None:
        repository = self._visible(kind, id)
        if repository is None:
            return
        commit = repository.commit(revision)
        if commit is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        if repository.settings.get("gated") and self._token != TOKEN:
            what = "You are not in the authorized list" if self._token else "Please log in"
            self._error(
                403 if self._token else 401,
                "GatedRepo",
                f"Access to {kind.removesuffix('s')} {id} is restricted. {what}.",
            )
            return
        blob = repository.commits[commit].get(name)
        headers = {"X-Repo-Commit": commit}
        if blob is None:
            self._error(404, "EntryNotFound", "Entry not found", headers)
        elif blob.lfs:
            headers |= {
                "X-Linked-Etag": f'"{blob.sha256}"',
                "X-Linked-Size": str(len(blob.data)),
                "Location": f"http://localhost:{self.server.server_port}/cdn/{blob.sha256}"
                f"?signed={quote(name, safe='')}",
            }
            self._send(302, b"", headers)
        else:
            self._bytes(blob.data, f'"{blob.oid}"', headers)

    @property
    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _visible(self, kind: str, id: str) -> Repository | None:
        """The repository where there is one for this token; else the hub's answer is sent."""
        repository = self.server.repository(kind, id)
        if self._token and self._token not in (TOKEN, STRANGER):
            self._error(401, "", "Invalid credentials in Authorization header")
        elif repository is None or (repository.settings.get("private") and self._token != TOKEN):
            self._error(404 if self._token else 401, "RepoNotFound", "Repository not found")
        else:
            return repository
        return None

    def _bytes(self, data: bytes, etag: str, headers: dict[str, str]) -> None:
        headers |= {"ETag": etag, "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self._send(200, data, headers)
            return
        start, stop = int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data))
        if start >= len(data):
            self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        self._send(206, data[start:stop], headers)

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        found = {"Content-Type": "application/json", **(headers or {})}
        self._send(status, json.dumps(value).encode(), found)

    def _error(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        found = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self._json({"error": message}, status, {**found, **(headers or {})})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        fault = getattr(self, "_fault", "")
        if self.command == "HEAD":
            data = b""
        elif fault in ("drop", "short"):
            data = data[: len(data) // 2 if fault == "drop" else -1]
            self.close_connection = True
        chunk = 1 << 16
        for start in range(0, len(data), chunk):
            if self.server.bytes_per_s:
                time.sleep(min(chunk, len(data) - start) / self.server.bytes_per_s)
            self.wfile.write(data[start : start + chunk])
        if hasattr(self, "_entry"):
            self._entry |= {"status": status, "bytes": len(data)}


def _ref(kind: str, name: str, commit: str) -> dict[str, str]:
    return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _folder(name: str) -> dict[str, Any]:
    oid = hashlib.sha1(name.encode()).hexdigest()
    return {"type": "directory", "oid": oid, "size": 0, "path": name}


def _watch_parent() -> None:
    """End with the process that started this one."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def main() -> None:
    """Serve until killed, or until the process that started this one is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--page", type=int, default=1_000)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--megabytes-per-second", type=float, default=0.0)
    given = parser.parse_args()
    threading.Thread(target=_watch_parent, daemon=True).start()
    hub = Hub(given.root, given.page, given.latency, given.megabytes_per_second * 1e6)
    sys.stdout.write(f"http://127.0.0.1:{hub.server_port}\n")
    sys.stdout.flush()
    hub.serve_forever()


if __name__ == "__main__":
    main()
