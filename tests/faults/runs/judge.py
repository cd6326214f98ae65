"""What a store holds, judged without the code under test: manifests and files are read as they lie
on the disk (an S3 of `places` keeps its objects as files too).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

FOLDERS = ("refs", "runs", "promotions")


@dataclass
class Held:
    """`stage/name` -> (version, digest) of what is committed, and what is wrong with the store."""

    artifacts: dict[str, tuple[str, str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def held(store: Path) -> Held:
    """What the store in that folder holds: every committed artifact must be whole."""
    found = Held()
    for manifest in sorted(store.glob("*/*/*/manifest.json")):
        name = "/".join(manifest.parts[-4:-2])
        try:
            made = json.loads(manifest.read_text(encoding="utf-8"))
            data = manifest.parent / made["attempt"] / "data"
            outputs = {output["path"]: output["sha256"] for output in made["outputs"]}
            version, digest = made["version"], made["digest"]
        except (OSError, ValueError, KeyError) as error:
            found.wrong.append(f"{name}: its manifest is damaged ({error})")
            continue
        there = {
            str(path.relative_to(data)): _sha256(path)
            for path in data.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }
        found.wrong += [
            f"{name}: {path} {'differs' if path in there else 'is missing'}"
            for path, sha256 in outputs.items()
            if there.get(path) != sha256
        ]
        found.wrong += [f"{name}: {path} is no output" for path in there.keys() - outputs.keys()]
        if name in found.artifacts:
            found.wrong.append(f"{name}: two versions")
        found.artifacts[name] = (version, digest)
    return found


def left_over(store: Path) -> list[str]:
    """What only unfinished work has: none of it may be left when a run has ended well."""
    return [
        str(path.relative_to(store))
        for path in store.rglob("*")
        if path.name.endswith(".partial") or path.parent.name == "scratch" or _is_held(path)
    ]


def _is_held(path: Path) -> bool:
    """Whether this is the lease of a living process; one of a dead process counts for nothing."""
    if path.name != "lease.json":
        return False
    return Path(f"/proc/{json.loads(path.read_text())['pid']}").exists()


def compared(found: Held, reference: dict[str, tuple[str, str]], *, whole: bool) -> list[str]:
    """How a store differs from the undisturbed one; `whole`: it must hold all."""
    wrong = list(found.wrong)
    for name, (version, digest) in found.artifacts.items():
        expected = reference.get(name)
        if expected is None:
            wrong.append(f"{name} is not in the undisturbed store")
        elif expected[0] != version:
            wrong.append(f"{name} has version {version}, undisturbed {expected[0]}")
        elif expected[1] not in ("", digest):  # "": undisturbed runs differ too
            wrong.append(f"{name} has digest {digest[:12]}, undisturbed {expected[1][:12]}")
    if whole and (lost := sorted(reference.keys() - found.artifacts.keys())):
        wrong.append(f"not there: {', '.join(lost)}")
    return wrong


_UNFORESEEN = re.compile(r"Traceback \(most recent call last\)|this is a bug")
_ERROR = re.compile(r"^error: .*(?:\n(?!  |warning|error).*)*", re.MULTILINE)


def unclear(said: str) -> str:
    """What is wrong with the words of a failed run; "" if they say what to do."""
    if found := _UNFORESEEN.search(said):
        return f"says {found[0]!r}: {said.strip()[-400:]}"
    return (
        "" if "error: " in said or "run the same command again" in said else f"says {said[-300:]!r}"
    )


def error_of(said: str) -> str:
    """The error with its advice."""
    found = _ERROR.search(said)
    return found[0] if found else ""


@dataclass(frozen=True)
class Advice:
    """What a command said to do about damage."""

    force: tuple[str, ...] = ()
    remove: str = ""


def advice_in(said: str) -> Advice | None:
    """What a message says to do; None if it says nothing that can be done."""
    force = tuple(dict.fromkeys(re.findall(r"--force ([\w./~-]+\w)", said)))
    removed = re.search(r"(\S+) is damaged \(.*\); remove that file", said)
    return Advice(force, removed[1] if removed else "") if force or removed else None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
