"""A manifest: what an artifact was made from, what it holds and how it was made.

The file is JSON, and only this module knows its keys. Unknown keys are kept and ignored, so that
manifests of later versions can be read.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.ledger import Ledger
from infra.stage import JSON, Pin
from infra.store.identity import outputs_digest

_CHECKSUM = "checksum"
_KINDS: dict[str, type | tuple[type, ...]] = {
    "attempt": str,
    "outputs": list,
    "inputs": dict,
    "parameters": dict,
    "pins": dict,
    "digest": str,
    "code": dict,
    "environment": dict,
    "timings": dict,
    "statistics": dict,
    "ledger": (dict, type(None)),
    "stage_version": int,
    "run": str,
}
"""Keys that every manifest has, and the type of each."""


@dataclass(frozen=True)
class DataFile:
    """One data file: its name below `data/`, its size and its sha256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class InputReference:
    """An artifact that was read: its version, and the digest of its data at that time."""

    stage: str
    name: str
    version: str
    digest: str
    same_as: str = ""

    @property
    def identity(self) -> str:
        """`stage/name@version`."""
        return f"{self.stage}/{self.name}@{self.version}"

    @property
    def content_identity(self) -> str:
        """As `infra.store.Artifact.content_identity`."""
        return f"{self.stage}/{self.name}@{self.same_as or self.version}"


@dataclass(frozen=True)
class Manifest:
    """Typed access to the JSON of a manifest (`data`)."""

    data: dict[str, Any]

    @classmethod
    def sealed(cls, data: Mapping[str, JSON]) -> Manifest:
        """A new manifest with its checksum, with the data as it will be read from the file."""
        plain = json.loads(json.dumps(data))
        return cls({**plain, _CHECKSUM: _checksum(plain)})

    def to_bytes(self) -> bytes:
        """The content of the file."""
        return json.dumps(self.data, ensure_ascii=False, indent=1).encode()

    def damage(self) -> str:
        """What is wrong with the manifest; "" if it is intact."""
        if missing := sorted(_KINDS.keys() - self.data.keys()):
            return f"it lacks {', '.join(missing)}"
        if wrong := [key for key, kind in _KINDS.items() if not isinstance(self.data[key], kind)]:
            return f"wrong type of {', '.join(wrong)}"
        if _CHECKSUM in self.data:  # manifests of earlier versions have none
            matches = self.data[_CHECKSUM] == _checksum(self.data)
            return "" if matches else "its checksum does not match"
        try:
            matches = outputs_digest(self.data["outputs"]) == self.data["digest"]
        except (KeyError, TypeError):
            matches = False
        if not matches:
            return "its list of files does not match its digest"
        try:
            _ = self.inputs, self.pins, self.outputs, self.ledger, self.seconds, self.finished
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return f"it cannot be read: {type(error).__name__} {error}"
        return ""

    @property
    def stage_version(self) -> int:
        """The hand-bumped version of the stage that wrote it."""
        return int(self.data["stage_version"])

    @property
    def parameters(self) -> dict[str, Any]:
        """The stage's parameters as JSON."""
        parameters: dict[str, Any] = self.data["parameters"]
        return parameters

    @functools.cached_property
    def inputs(self) -> dict[str, tuple[InputReference, ...]]:
        """Role -> the artifacts that were read in that role, in the plan's order."""
        return {
            role: tuple(
                InputReference(
                    i["stage"], i["name"], i["version"], i["digest"], i.get("same_as", "")
                )
                for i in given
            )
            for role, given in self.data["inputs"].items()
        }

    @functools.cached_property
    def pins(self) -> dict[str, tuple[Pin, ...]]:
        """Path of a parameter -> the files that it named, as pinned."""
        return {
            path: tuple(Pin.from_json(pin) for pin in pinned)
            for path, pinned in self.data["pins"].items()
        }

    @functools.cached_property
    def outputs(self) -> tuple[DataFile, ...]:
        """The data files, in name order."""
        return tuple(DataFile(o["path"], o["bytes"], o["sha256"]) for o in self.data["outputs"])

    @property
    def attempt(self) -> str:
        """Name of the folder that holds the data and the records."""
        return str(self.data["attempt"])

    @property
    def digest(self) -> str:
        """sha256 over the names and contents of all data files."""
        return str(self.data["digest"])

    @property
    def same_as(self) -> str:
        """The first version of the same stage and name that holds the same; "" for none."""
        return str(self.data.get("same_as", ""))

    def holds_the_same(self, other: Manifest) -> bool:
        """Whether nothing that a later stage reads differs: the data, what was measured, and the
        parameters that decided it.
        """
        return all(
            self.data[key] == other.data[key]
            for key in ("digest", "stage_version", "parameters", "statistics")
        )

    def read_the_same(self, other: Manifest) -> bool:
        """Whether both were made of inputs that held the same data."""
        mine, others = (
            {role: [one.digest for one in given] for role, given in manifest.inputs.items()}
            for manifest in (self, other)
        )
        return mine == others

    @property
    def statistics(self) -> dict[str, Any]:
        """What the stage measured."""
        statistics: dict[str, Any] = self.data["statistics"]
        return statistics

    @functools.cached_property
    def ledger(self) -> Ledger:
        """What became of every document; empty for stages that handle none."""
        return Ledger.from_json(self.data["ledger"] or {"rows": []})

    @property
    def code(self) -> dict[str, Any]:
        """`git_sha`, `dirty` and `source_digest` of the code that wrote it."""
        code: dict[str, Any] = self.data["code"]
        return code

    @property
    def environment(self) -> dict[str, Any]:
        """`python`, `platform`, `processors`, `executable` and `libraries` (name -> version)."""
        environment: dict[str, Any] = self.data["environment"]
        return environment

    @property
    def seconds(self) -> float:
        """How long the stage ran, until it was committed."""
        return float(self.data["timings"]["seconds"])

    @property
    def workers(self) -> int:
        """Workers that shared the seconds; of older manifests, the machine's processors."""
        known = self.data["timings"].get("workers") or self.environment.get("processors") or 1
        return int(known)

    @property
    def finished(self) -> str:
        """When it was committed, UTC, ISO 8601."""
        return str(self.data["timings"]["finished"])

    @property
    def run(self) -> str:
        """Id of the run that committed it; "" outside of runs."""
        return str(self.data["run"])


def _checksum(data: Mapping[str, Any]) -> str:
    """sha256 over everything in a manifest except its checksum."""
    rest = {key: value for key, value in data.items() if key != _CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
