"""What the loopback hub does when files are sent to it: repositories made, LFS files, commits."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any, Protocol

Answer = tuple[int, Any]
"""Status, and what is sent as JSON."""


class State(Protocol):
    root: Path
    blobs: dict[str, bytes]
    server_port: int


def route(state: State, method: str, path: str, token: str, body: bytes) -> Answer | None:
    """The answer to a request that writes, None for any other. `token`: "write" if it may."""
    if path == "/api/whoami-v2":
        known = {"name": "me", "type": "user", "orgs": [], "auth": {"type": "access_token"}}
        return (200, known) if token else (401, {"error": "Invalid credentials"})
    if method == "PUT" and (put := re.fullmatch(r"/uploads/([0-9a-f]{64})", path)):
        state.blobs[put[1]] = body
        return 200, {}
    if method != "POST":
        return None
    if path == "/api/validate-yaml":
        return 200, {"errors": [], "warnings": []}
    found = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/(preupload|commit)/main", path)
    lfs = re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", path)
    if not (found or lfs or path == "/api/repos/create"):
        return None
    if token != "write":
        return 403, {"error": "you have no write access"}
    if path == "/api/repos/create":
        return _create(state, json.loads(body))
    if lfs:
        return 200, _batch(state, json.loads(body))
    assert found
    folder = state.root / found[1] / found[2]
    if found[3] == "preupload":
        asked = json.loads(body)["files"]
        return 200, {"files": [{**_mode(one["path"]), "path": one["path"]} for one in asked]}
    return _commit(state, folder, body)


def _create(state: State, asked: dict[str, Any]) -> Answer:
    kind = f"{asked.get('type') or 'model'}s"
    id = f"{asked.get('organization') or 'me'}/{asked['name']}"
    folder = state.root / kind / id
    prefix = "datasets/" if kind == "datasets" else ""
    url = f"http://127.0.0.1:{state.server_port}/{prefix}{id}"
    if folder.is_dir():
        return 409, {"error": "You already created this repo", "url": url}
    folder.mkdir(parents=True)
    if asked.get("private"):
        (folder / ".hub.json").write_text(json.dumps({"private": True}))
    return 200, {"url": url, "name": id, "id": id}


def _mode(path: str) -> dict[str, Any]:
    large = Path(path).suffix in (".safetensors", ".arrow", ".parquet", ".bin", ".model", ".jsonl")
    return {"uploadMode": "lfs" if large else "regular", "shouldIgnore": False}


def _batch(state: State, asked: dict[str, Any]) -> dict[str, Any]:
    objects = []
    for one in asked["objects"]:
        found: dict[str, Any] = {"oid": one["oid"], "size": one["size"], "authenticated": True}
        if one["oid"] not in state.blobs:
            href = f"http://127.0.0.1:{state.server_port}/uploads/{one['oid']}"
            found["actions"] = {"upload": {"href": href}}
        objects.append(found)
    return {"transfer": "basic", "objects": objects}


def _commit(state: State, folder: Path, body: bytes) -> Answer:
    """All files, or none where one that was announced has not been sent."""
    files: dict[str, bytes] = {}
    for line in body.splitlines():
        entry = json.loads(line)
        value = entry["value"]
        if entry["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif entry["key"] == "lfsFile":
            if value["oid"] not in state.blobs:
                return 400, {"error": f"LFS pointer of {value['path']} points to no file"}
            files[value["path"]] = state.blobs[value["oid"]]
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    url = f"http://127.0.0.1:{state.server_port}/me/it/commit/abc"
    return 200, {"success": True, "commitOid": "a" * 40, "commitUrl": url, "hookOutput": ""}
