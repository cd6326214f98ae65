"""Operations on artifacts: lineage, verification, comparison, garbage collection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from infra.differences import differences
from infra.process import is_alive
from infra.store import damage, promotions
from infra.store.artifact import Artifact
from infra.store.directory import Directory
from infra.store.records import PROBES
from infra.store.store import LATEST, Store


def lineage(store: Store, artifact: Artifact, *, down: bool = False) -> dict[str, Any]:
    """The tree of what an artifact was made from or, with `down`, of what was made from it.

    Each node is `{"artifact", "files": [{path, sha256}], "inputs": [...]}`. A node that the tree
    already shows is not expanded again (`"seen": true`), and an artifact that is no longer in the
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
        inputs = []
        for identity in _inputs(current):
            path, _, version = identity.partition("@")
            stage, _, name = path.partition("/")
            upstream = store.find(stage, name, version)
            inputs.append(
                node(upstream)
                if upstream is not None
                else {"artifact": identity, "missing": True, "files": [], "inputs": []}
            )
        return {"artifact": current.identity, "files": files, "inputs": inputs}

    return node(artifact)


def _inputs(artifact: Artifact) -> Iterator[str]:
    """Identities of the artifacts that an artifact was made from."""
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
    """Problems with an artifact's data files: missing, changed, or not in the manifest."""
    rebuild = f"puna run RECIPE --force {artifact.stage}/{artifact.name}"
    problems = [
        f"{artifact.identity}: {damaged.file} {damaged.what}; restore the file, or build it again: "
        f"{rebuild}"
        for damaged in damage.of_contents(artifact)
    ]
    unlisted = sorted({*artifact.data.files()} - {*artifact.files()})
    return [
        *problems,
        *(f"{artifact.identity}: {name} is not in the manifest" for name in unlisted),
    ]


def diff(first: Artifact, second: Artifact) -> Iterator[str]:
    """Lines `path: first -> second` for everything that differs in the manifests, and for files."""
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


UNFINISHED = ("running", "interrupted", "crashed", "failed")
"""How runs end that are to be continued; others, such as one that a gate stopped, are over."""


@dataclass(frozen=True)
class Garbage:
    """Something that can be deleted: an artifact, or an attempt that no manifest names.

    `finished`, `seconds`: when an artifact was committed (UTC, ISO 8601), and how long its stage
    ran; "" and 0 for an attempt, whose cost is not known.
    """

    what: str
    home: Directory
    bytes: int
    finished: str = ""
    seconds: float = 0.0

    @property
    def stage(self) -> str:
        """The stage that made it."""
        return self.what.partition("/")[0]


def garbage(store: Store, keep_runs: int) -> list[Garbage]:
    """What can be deleted: artifacts and attempts that nothing kept needs.

    Kept is what references and records of the newest runs, of unfinished runs and of promoted runs
    with their history name, and all that those artifacts were made from. Nothing of a run in
    progress is touched.
    """
    records = store.runs()
    unfinished = [record for record in records if record["status"] in UNFINISHED]
    ended = [record for record in records if record["status"] not in UNFINISHED]
    running = [
        record
        for record in unfinished
        if record["status"] == "running" and is_alive(record["owner"]) is not False
    ]
    references = [r for r in store.references() if r["tag"] != LATEST or keep_runs]
    promoted = [
        record
        for recipe in promotions.promoted_recipes(store)
        for record in promotions.chain(store, promotions.promoted_run(store, recipe))
    ]
    named = _stages_of([*unfinished, *_newest(ended, keep_runs), *promoted])
    named |= {_identity(reference) for reference in references}
    in_progress = _stages_of(running)
    artifacts = {artifact.identity: artifact for artifact in store.artifacts()}
    kept = _with_ancestors(named, artifacts)
    items = []
    for stage, name, version in store.versions():
        identity = f"{stage}/{name}@{version}"
        home = store.home(stage, name, version)
        if identity in in_progress:
            continue
        if identity in artifacts and identity not in kept:
            made = artifacts[identity].manifest
            items.append(Garbage(identity, home, _size(home), made.finished, made.seconds))
            continue
        committed = artifacts[identity].manifest.attempt if identity in artifacts else None
        if identity in named and committed is None:
            continue
        items += [
            Garbage(f"{identity} {attempt}", home.child(attempt), _size(home.child(attempt)))
            for attempt in home.folders()
            if attempt != committed
        ]
    probes = store.root.child(PROBES)
    if not running and (left := _size(probes)):
        items.append(Garbage(f"{PROBES} of runs that were killed", probes, left))
    return items


def _identity(entry: Mapping[str, Any]) -> str:
    """`stage/name@version` of a reference, or of a stage in a run's record."""
    return f"{entry['stage']}/{entry['name']}@{entry['version']}"


def _stages_of(records: Iterable[Mapping[str, Any]]) -> set[str]:
    """Identities of all stages that records of runs name."""
    return {_identity(stage) for record in records for stage in record["stages"]}


def _with_ancestors(named: Iterable[str], artifacts: Mapping[str, Artifact]) -> set[str]:
    """Those of the named artifacts that exist, and every existing one that they were made from."""
    kept: set[str] = set()
    todo = [identity for identity in named if identity in artifacts]
    while todo:
        identity = todo.pop()
        if identity not in kept:
            kept.add(identity)
            todo.extend(name for name in _inputs(artifacts[identity]) if name in artifacts)
    return kept


def _newest(ended: list[dict[str, Any]], keep_runs: int) -> list[dict[str, Any]]:
    """The newest records, until `keep_runs` of them built something; runs that built nothing are
    kept on the way and not counted.
    """
    kept: list[dict[str, Any]] = []
    built = 0
    for record in reversed(ended):
        if built == keep_runs:
            break
        kept.append(record)
        built += any(stage.get("result") == "built" for stage in record["stages"])
    return kept


def _size(home: Directory) -> int:
    return sum(home.sizes().values())
