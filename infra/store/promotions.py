"""Promotions: which run of a recipe its `latest` tags follow, and how that came about.

<root>/promotions/<recipe>/<time>-<run>.json         a run was promoted; the newest one counts
<root>/promotions/<recipe>/tags/<time>-<tag>.json    a tag was moved by hand

Files are only added. Promoted runs form a list: the record of a run names the run that it
`continues`, from which it took tokenizer, model and earlier documents.
"""

from __future__ import annotations

import datetime
import getpass
import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from infra.stage import StageError
from infra.store.artifact import Artifact
from infra.store.directory import Damaged, Directory
from infra.store.store import LATEST, Store

FOLDER = "promotions"
FINISHED = ("completed", "not promoted")
"""Status of runs that may be promoted."""

By = Literal["run", "hand"]


@dataclass(frozen=True)
class Promotion:
    """That a run was promoted. `before`: the run promoted until then, "" for none. `at`: ISO 8601,
    UTC. `who`: user@host. `by`: the run itself, at its end, or a person.
    """

    recipe: str
    run: str
    before: str
    at: str
    who: str
    by: By
    reason: str = ""

    def to_json(self) -> dict[str, str]:
        """As the file holds it, with `from` for `before`."""
        found = asdict(self)
        return {
            "recipe": found.pop("recipe"),
            "run": found.pop("run"),
            "from": found.pop("before"),
        } | found

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Promotion:
        """`KeyError` where something is missing."""
        keys = {"before": "from"} | {key: key for key in ("recipe", "run", "at", "who", "by")}
        values = {name: str(found[key]) for name, key in keys.items()}
        return cls(**values, reason=str(found.get("reason", "")))  # type: ignore[arg-type]


def promotions(store: Store, recipe: str) -> list[Promotion]:
    """All promotions of runs of a recipe, oldest first. Raises `Damaged`."""
    return [_read(store.root, file) for file in _files(store.root, recipe)]


def promoted_run(store: Store, recipe: str) -> str | None:
    """The run that is promoted now, or None."""
    files = _files(store.root, recipe)
    return _read(store.root, files[-1]).run if files else None


def promoted_recipes(store: Store) -> list[str]:
    """Recipes with a promoted run."""
    return store.root.child(FOLDER).folders()


def promote(
    store: Store,
    recipe: str,
    run: str,
    artifacts: Iterable[Artifact],
    *,
    by: By = "run",
    reason: str = "",
) -> Promotion:
    """Record the promotion of a run, then point the recipe's `latest` tags at its artifacts.

    The record decides: a kill in between leaves tags behind, and the next run sets them.
    """
    made = Promotion(recipe, run, promoted_run(store, recipe) or "", _now(), _who(), by, reason)
    _write(store.root, recipe, made.at, run, made.to_json())
    point_tags(store, recipe, run, artifacts)
    return made


def point_tags(store: Store, recipe: str, run: str, artifacts: Iterable[Artifact]) -> None:
    """Point a recipe's `latest` tags at the artifacts of a run."""
    for artifact in artifacts:
        store.set_reference(recipe, artifact, LATEST, run)


def move_tag(store: Store, recipe: str, artifact: Artifact, tag: str) -> None:
    """Point a recipe's tag at an artifact by hand, and record who did."""
    before = store.reference(recipe, artifact.stage, artifact.name, tag)
    store.set_reference(recipe, artifact, tag)
    at = _now()
    moved = {
        "recipe": recipe,
        "tag": tag,
        "stage": artifact.stage,
        "name": artifact.name,
        "from": before or "",
        "to": artifact.version,
        "at": at,
        "who": _who(),
        "by": "hand",
    }
    _write(store.root, f"{recipe}/tags", at, tag, moved)


def run_record(store: Store, run: str) -> dict[str, Any]:
    """The record of a run. Raises `StageError` for one that the store does not have."""
    try:
        return store.root.read_json(f"runs/{run}.json")
    except FileNotFoundError:
        raise StageError(
            f"{store.root.url} has no record of run {run}, which is promoted or continued by one "
            "that is; restore runs/, or promote another run (puna promote RUN)"
        ) from None


def chain(store: Store, run: str | None) -> list[dict[str, Any]]:
    """The records of a run, of the run that it continues, and so on; the earliest first."""
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    while run:
        if run in seen:
            raise Damaged(f"{store.root.url}/runs: run {run} continues itself; mend its record")
        seen.add(run)
        record = run_record(store, run)
        found.append(record)
        run = record.get("continues")
    return found[::-1]


def artifacts_of(store: Store, record: Mapping[str, Any]) -> list[Artifact]:
    """The artifacts of a finished run. Raises `StageError` for those that are gone."""
    found, gone = [], []
    for stage in record["stages"]:
        artifact = store.find(stage["stage"], stage["name"], stage["version"])
        if artifact is None:
            gone.append(f"{stage['stage']}/{stage['name']}@{stage['version']}")
        else:
            found.append(artifact)
    if gone:
        raise StageError(
            f"run {record['run']} has {len(gone)} artifacts that are not in the store, such as "
            f"{gone[0]}; promote a run that is whole"
        )
    return found


def _read(root: Directory, file: str) -> Promotion:
    try:
        return Promotion.from_json(root.read_json(file))
    except KeyError as error:
        raise Damaged(
            f"{root.url}/{file} is damaged (no {error}); remove that file: the promotion before it "
            "counts then"
        ) from None


def _files(root: Directory, recipe: str) -> list[str]:
    """Promotions of runs, oldest first."""
    folder = f"{FOLDER}/{recipe}/"
    return [file for file in root.files(folder) if "/" not in file.removeprefix(folder)]


def _write(root: Directory, folder: str, at: str, what: str, body: Mapping[str, str]) -> None:
    name = f"{FOLDER}/{folder}/{at.replace(':', '').replace('-', '')}-{what}.json"
    root.create(name, json.dumps(body, ensure_ascii=False, indent=1).encode())


def _now() -> str:
    """Microseconds, so that names of files sort by time."""
    now = datetime.datetime.now(datetime.UTC)
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
