"""Copies of a phase's checkpoints in a store on S3, so that another machine goes on with the phase.

Training writes checkpoints to a folder of its machine. Beside it, the newest finished one is sent
to the store with what watches the phase (metrics, evaluations), its checksums last: a checkpoint
without these is none. A machine that lacks the newest fetches it before it trains. What is sent is
named by its content, so that nothing there is ever changed. A store on a disk holds the folder
itself, and needs none of this.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.io.files import sha256_file
from infra.remote.errors import RemoteError
from infra.store.exchange import Exchange
from tasks.training.checkpoints import checkpoint
from tasks.training.monitoring.names import EVALUATIONS, METRICS, SAMPLES, TENSORBOARD
from tasks.training.spec import CHECKPOINTS
from tasks.training.supervision.held_time import FILE as HELD

POLL_S = 0.5
_WATCHED = (METRICS, EVALUATIONS, SAMPLES, HELD)
_RECORDS = "records"
"""Folder within a copy that holds what is beside the checkpoints."""

_CHECKSUMS = "checksums.json"


class SharedCheckpoints:
    """Fetches the newest checkpoint of the store when opened, and sends new ones until closed.

    Args:
        exchange: where the copies are.
        scratch: the phase's folder on this machine.
        keep: how many copies stay.
        tell: called with a sentence where one cannot be sent; training goes on.
    """

    def __init__(
        self, exchange: Exchange, scratch: Path, keep: int, tell: Callable[[str], None]
    ) -> None:
        self._exchange, self._scratch = exchange, scratch
        self._folder = scratch / CHECKPOINTS
        self._keep, self._tell = keep, tell
        self._sent = ""
        self._told = False
        self._sending = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="share-checkpoints")

    def __enter__(self) -> Self:
        if self._exchange.is_far:
            self._fetch()
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        if self._exchange.is_far:
            self._thread.join()
            self.send()

    def _watch(self) -> None:
        while not self._end.wait(POLL_S):
            self.send()

    def send(self) -> None:
        """Send the newest checkpoint, unless it is there."""
        if not self._exchange.is_far:
            return
        with self._sending:
            newest = checkpoint.checkpoints(self._folder)[-1:]
            for path in newest:
                try:
                    self._send(path)
                except FileNotFoundError:
                    continue  # a newer one has taken its place
                except (RemoteError, OSError) as error:
                    if not self._told:
                        self._tell(f"{path.name} is on this machine alone: {error}")
                    self._told = True

    def _send(self, path: Path) -> None:
        name = f"{path.name}.{sha256_file(path / _CHECKSUMS)[:16]}"
        if name == self._sent:
            return
        digests: dict[str, str] = json.loads((path / _CHECKSUMS).read_text())
        copy = self._exchange.child(name)
        for file, digest in digests.items():
            copy.send(path / file, file, digest)
        for watched in self._watched():
            copy.send(watched, f"{_RECORDS}/{watched.relative_to(self._scratch)}")
        copy.send(path / _CHECKSUMS, _CHECKSUMS)
        self._sent, self._told = name, False
        for old in sorted(self._exchange.folders())[: -self._keep]:
            self._exchange.child(old).remove()

    def _watched(self) -> list[Path]:
        beside = [self._scratch / name for name in _WATCHED]
        events = sorted((self._scratch / TENSORBOARD).rglob("*"))
        return [file for file in (*beside, *events) if file.is_file()]

    def _fetch(self) -> None:
        """Bring the newest intact checkpoint of the store here, if it is newer than what is."""
        here = checkpoint.checkpoints(self._folder)
        newest = here[-1].name if here else ""
        for name in sorted(self._exchange.folders(), reverse=True):
            step = name.partition(".")[0]
            if step == newest:
                self._sent = name
            if step <= newest or self._brought(name, step):
                return

    def _brought(self, name: str, step: str) -> bool:
        copy = self._exchange.child(name)
        files = copy.files()
        if _CHECKSUMS not in files:
            return False
        staged = self._folder / f".{step}.fetched"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        records = [file for file in files if file.startswith(f"{_RECORDS}/")]
        for file in sorted({*files} - {*records}):
            _link(copy.path(file), staged / file)
        if checkpoint.problem(staged):
            shutil.rmtree(staged)
            return False
        for file in records:
            target = self._scratch / file.removeprefix(f"{_RECORDS}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(copy.path(file), target)  # it is written on
        staged.rename(self._folder / step)
        self._sent = name
        return True


def _link(source: Path, target: Path) -> None:
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)  # another disk
