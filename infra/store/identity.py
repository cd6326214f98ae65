"""Versions: what makes two runs of a stage the same work.

A version is the first 12 hex digits of sha256 over canonical JSON. Only None, bool, int, finite
float, str, lists and string-keyed maps have a canonical form. Anything else is refused rather than
converted: the `str` of an object may hold its address, and the version would differ in every run.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.stage import JSON, Parameters, Pin, Stage

SCHEMA = 1
"""Bumped when the layout of versions or manifests changes; part of every version."""

VERSION_DIGITS = 12
"""Hex digits of a version."""

BYTE_WRITING_LIBRARIES = (
    "pyarrow",
    "tokenizers",
    "sentencepiece",
    "safetensors",
    "numpy",
    "resiliparse",
    "trafilatura",
    "rjieba",
    "sudachipy",
    "sudachidict_core",
    "torch",
    "transformers",
)
"""Libraries that decide output bytes; manifests record their versions."""

_SHARED_PACKAGES = (
    "infra",
    "tasks/documents",
    "tasks/text",
    "tasks/benchmarks",
    "tasks/checkpoints",
    "tasks/duplicates",
)


def canonical(value: JSON) -> str:
    """The canonical JSON of a value; `TypeError` for objects, sets, NaN and keys that are not
    strings.
    """
    _check(value, "value")
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )


def _check(value: JSON, where: str) -> None:
    if value is None or isinstance(value, (bool, int, str)):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{where} is {value}: a version holds finite numbers only")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(
                    f"{where} has the key {key!r} of type {type(key).__name__}: keys must be "
                    "strings"
                )
            _check(item, f"{where}.{key}")
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        for index, item in enumerate(value):
            _check(item, f"{where}[{index}]")
    else:
        raise TypeError(
            f"{where} is a {type(value).__name__}, which has no canonical JSON form; convert it "
            "first"
        )


def version_of(
    stage: Stage,
    name: str,
    parameters: Parameters,
    inputs: Mapping[str, Sequence[str]],
    pins: Mapping[str, Sequence[Pin]],
) -> str:
    """The version of one node of the plan: two runs share an artifact where it is equal.

    Source code is not part of it (`source_digest` is recorded beside it), nor are engine, paths,
    worker counts and the recipe's name.

    `inputs`: role -> identities of upstream artifacts ("stage/name@version"), in order; roles
    without `identity` are left out.
    `pins`: parameter path -> pinned files.
    """
    key = {
        "schema": SCHEMA,
        "stage": stage.name,
        "stage_version": stage.version,
        "name": name,
        "parameters": parameters.identity(),
        "inputs": {
            role: list(identities)
            for role, identities in inputs.items()
            if stage.role(role).identity
        },
        "pins": {path: [[pin.name, pin.identity] for pin in files] for path, files in pins.items()},
    }
    return hashlib.sha256(canonical(key).encode()).hexdigest()[:VERSION_DIGITS]


def outputs_digest(outputs: Sequence[Mapping[str, JSON]]) -> str:
    """sha256 over the names and digests of an artifact's data files, in any order."""
    lines = sorted(f"{output['path']}\0{output['sha256']}\n" for output in outputs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@functools.lru_cache(maxsize=64)
def _folder_digest(folder: str) -> str:
    digest = hashlib.sha256()
    root = Path(folder)
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def source_digest(stage: Stage) -> str:
    """Digest of the source code that a stage runs: its own package, the shared packages and infra.

    Recorded in manifests, and names attempts; not part of the version.
    """
    package = stage.run.partition(":")[0].rpartition(".")[0]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return ""
    root = Path(__file__).resolve().parents[2]
    folders = [str(Path(spec.origin).parent), *(str(root / name) for name in _SHARED_PACKAGES)]
    return hashlib.sha256(
        "".join(_folder_digest(folder) for folder in folders).encode()
    ).hexdigest()[:16]


@functools.cache
def library_versions() -> dict[str, str]:
    """Installed versions of `BYTE_WRITING_LIBRARIES`, without those that are not installed."""
    versions = {}
    for name in BYTE_WRITING_LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def attempt_id(stage: Stage) -> str:
    """Name of the folder for unfinished work. It depends on the code and the libraries, so that one
    artifact never mixes the output of two versions of the code.
    """
    key = canonical({"source": source_digest(stage), "libraries": library_versions()})
    return "attempt-" + hashlib.sha256(key.encode()).hexdigest()[:8]
