"""Questions about artifacts, and clean-up: lineage, verify, diff, garbage collection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.differences import differences
from infra.process import is_alive
from infra.store import damage
from infra.store.artifact import Artifact
from infra.store.directory import Directory
from infra.store.store import LATEST, Store


def lineage(store: Store, artifact: Artifact, *, down: bool = False) -> dict[str, Any]:
    """What an artifact was made from (or, `down`, what was made from it) as a tree.

    Each node is `{"artifact", "files": [{path, sha256}], "inputs": [...]}`; one that
    the tree already shows is not expanded again (`"seen": true`), and one that is no longer in the
    store has `"missing": true`.
    """
    users: dict[str, list[Artifact]] = {}
    if down:
        for other in store.artifacts():
            for made_from in _inputs(other):
                users.setdefault(made_from, []).append(other)
    seen: set[str] = set()

    def node(current: Artifact) -> dict[str, Any]:
        if current.identity in seen:
            return {"artifact": current.identity, "seen": True, "files": [], "inputs": []}
        seen.add(current.identity)
        files = [
            {"path": pin.path, "sha256": pin.sha256, **({"etag": pin.etag} if pin.etag else {})}
            for pins in current.manifest.pins.values()
            for pin in pins
        ]
        if down:
            return {
                "artifact": current.identity,
                "files": [],
                "inputs": [node(u) for u in users.get(current.identity, ())],
            }
        found = []
        for identity in _inputs(current):
            path, _, version = identity.partition("@")
            stage, _, name = path.partition("/")
            upstream = store.find(stage, name, version)
            found.append(
                node(upstream)
                if upstream is not None
                else {"artifact": identity, "missing": True, "files": [], "inputs": []}
            )
        return {"artifact": current.identity, "files": files, "inputs": found}

    return node(artifact)


def _inputs(artifact: Artifact) -> Iterator[str]:
    for inputs in artifact.manifest.inputs.values():
        yield from (given.identity for given in inputs)


def lineage_lines(tree: dict[str, Any], indent: str = "") -> Iterator[str]:
    """A lineage tree as indented lines."""
    note = (
        "  (above)"
        if tree.get("seen")
        else "  (no longer in the store)"
        if tree.get("missing")
        else ""
    )
    yield f"{indent}{tree['artifact']}{note}"
    for file in tree["files"]:
        known = f"sha256 {file['sha256'][:12]}" if file["sha256"] else file.get("etag", "by name")
        yield f"{indent}  file {file['path']}  {known}"
    for below in tree["inputs"]:
        yield from lineage_lines(below, indent + "  ")


def verify(artifact: Artifact) -> list[str]:
    """Problems of an artifact's data files: missing, unlisted, or with other bytes than the
    manifest says.
    """
    again = f"puna run RECIPE --force {artifact.stage}/{artifact.name}"
    problems = [
        f"{artifact.identity}: {found.file} {found.what}; restore the file, or build it again: "
        f"{again}"
        for found in damage.of_contents(artifact)
    ]
    unlisted = sorted({*artifact.data.files()} - {*artifact.files()})
    return [
        *problems,
        *(f"{artifact.identity}: {name} is not in the manifest" for name in unlisted),
    ]


def diff(first: Artifact, second: Artifact) -> Iterator[str]:
    """Lines `where: one -> other` for parameters, inputs, pins, statistics, ledger, code and files
    that differ.
    """
    for section in ("parameters", "inputs", "pins", "statistics", "ledger", "code", "environment"):
        for path, before, after in differences(
            first.manifest.data[section], second.manifest.data[section], section
        ):
            yield f"{path}: {before} -> {after}"
    before_files = {output.path: output.sha256 for output in first.manifest.outputs}
    after_files = {output.path: output.sha256 for output in second.manifest.outputs}
    for name in sorted({*before_files, *after_files}):
        old, new = before_files.get(name, "none")[:12], after_files.get(name, "none")[:12]
        if old != new:
            yield f"data/{name}: {old} -> {new}"


@dataclass(frozen=True)
class Garbage:
    """Something that can be deleted: an artifact, or an attempt that no manifest names."""

    what: str
    home: Directory
    bytes: int


def garbage(store: Store, keep_runs: int) -> list[Garbage]:
    """What no reference, no recent run and no unfinished run names, and nothing kept was made
    from.
    """
    records = store.runs()
    finished = [record for record in records if record["status"] == "completed"]
    kept_records = [
        r for r in records if r["status"] in ("running", "interrupted", "crashed", "failed")
    ]
    kept_records += _newest(finished, keep_runs)
    roots = {
        f"{s['stage']}/{s['name']}@{s['version']}"
        for record in kept_records
        for s in record["stages"]
    }
    roots |= {
        f"{r['stage']}/{r['name']}@{r['version']}"
        for r in store.references()
        if r["tag"] != LATEST or keep_runs
    }
    artifacts = {artifact.identity: artifact for artifact in store.artifacts()}
    kept: set[str] = set()
    todo = [root for root in roots if root in artifacts]
    while todo:
        identity = todo.pop()
        if identity not in kept:
            kept.add(identity)
            todo.extend(name for name in _inputs(artifacts[identity]) if name in artifacts)
    running = {
        f"{s['stage']}/{s['name']}@{s['version']}"
        for record in records
        if record["status"] == "running" and is_alive(record["owner"]) is not False
        for s in record["stages"]
    }
    found = []
    for stage, name, version in store.versions():
        identity = f"{stage}/{name}@{version}"
        home = store.home(stage, name, version)
        if identity in running:
            continue
        if identity in artifacts and identity not in kept:
            found.append(Garbage(identity, home, _size(home)))
            continue
        committed = artifacts[identity].manifest.attempt if identity in artifacts else None
        if identity in roots and committed is None:
            continue
        found += [
            Garbage(f"{identity} {attempt}", home.child(attempt), _size(home.child(attempt)))
            for attempt in home.folders()
            if attempt != committed
        ]
    return found


def _newest(finished: list[dict[str, Any]], keep_runs: int) -> list[dict[str, Any]]:
    """The newest records, down to the `keep_runs`-th that built something; those that built nothing
    are not counted.
    """
    kept: list[dict[str, Any]] = []
    built = 0
    for record in reversed(finished):
        if built == keep_runs:
            break
        kept.append(record)
        built += any(stage.get("result") == "built" for stage in record["stages"])
    return kept


def _size(home: Directory) -> int:
    return sum(home.size(name) for name in home.files())
