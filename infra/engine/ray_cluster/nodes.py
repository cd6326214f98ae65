"""Whether a node of a cluster would write the same bytes as this machine, and sees the same store.

Nothing here needs Ray.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
import secrets
import time
import unicodedata
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.engine.launch import BOOTSTRAP
from infra.engine.libraries import DECIDING
from infra.stage import StageError
from infra.store.directory import Directory
from infra.store.records import PROBES

_CODE = ("infra", "tasks")
_ROOT = BOOTSTRAP.parents[3]

_ELSEWHERE = (
    "it has another folder of that name, or none; put the store on a file system that all nodes "
    "mount at the same place",
    "what this machine writes there is not seen from it; does it ask the same server?",
)

_VISIBLE_S = 10.0
"""How long a file of another machine may take to be seen: NFS keeps for some seconds that a name
was not there.
"""


@functools.cache
def fingerprint() -> dict[str, str]:
    """What decides the bytes that this process writes: name -> version."""
    found = {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "Unicode": unicodedata.unidata_version,
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        "processor": platform.machine(),
        "puna (its code)": _code(),
    }
    for name in DECIDING:
        try:
            # torch 2.13.0+cpu: builds for other devices are the same release
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def _code() -> str:
    digest = hashlib.sha256()
    for package in _CODE:
        for path in sorted((_ROOT / package).rglob("*.py")):
            digest.update(f"{path.relative_to(_ROOT)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def difference(node: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> str:
    """Why a node would write other bytes than this machine, in a sentence; "" if it would not."""
    other = [name for name in ours if theirs.get(name, "none") != ours[name]]
    if not other:
        return ""
    listed = ", ".join(f"{name} {theirs.get(name, 'none')} (here {ours[name]})" for name in other)
    return (
        f"node {node} of the Ray cluster has {listed}, and would write other bytes; give it what "
        "this machine has (the same release of puna[ray], installed with its constraints.txt)"
    )


@dataclass(frozen=True)
class Probe:
    """A small file that this machine writes to the store and every node reads, and the other way
    around. Picklable.
    """

    root: Directory
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def _folder(self) -> Directory:
        return self.root.child(PROBES)

    def place(self) -> None:
        """Write this machine's file."""
        self._folder.create(self.token, self.token.encode())

    def answer(self, node: str) -> str:
        """On a node: read this machine's file and write one; what failed, or ""."""
        try:
            if not _seen(self._folder, self.token, self.token.encode()):
                return _ELSEWHERE[self.root.local_root is None]
            self._folder.create(f"{self.token}-{node}", node.encode())
        except Exception as error:  # a file system, or a service and its credentials
            return f"{type(error).__name__}: {error}".partition("\n")[0]
        return ""

    def require(self, node: str, host: str, answer: str) -> None:
        """Raise `StageError` unless the node answered, and its file is here."""
        if not answer and not _seen(self._folder, f"{self.token}-{node}", node.encode()):
            answer = "what it writes there is not seen here"
        if answer:
            raise StageError(
                f"node {host} of the Ray cluster cannot use store {self.root.url}: {answer}"
            )

    def remove(self) -> None:
        """Remove all files."""
        for name in self._folder.files(self.token):
            self._folder.remove(name)


def _seen(folder: Directory, name: str, content: bytes) -> bool:
    give_up = time.monotonic() + _VISIBLE_S
    while True:
        try:
            return folder.read(name) == content
        except (FileNotFoundError, NotADirectoryError):
            if time.monotonic() > give_up:
                return False
            time.sleep(0.2)
