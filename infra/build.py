"""Build one artifact: lease, run the stage, check its ledger, commit.

Nothing else makes artifacts.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.context import Context, Measured, Progress, no_progress, not_measured
from infra.engine.base import Engine
from infra.ledger import Ledger
from infra.remote import holding
from infra.remote.access import Access
from infra.secrets import without_secrets
from infra.stage import Outcome, Parameters, Pin, Stage, StageError
from infra.store.artifact import Artifact
from infra.store.attempt import Attempt
from infra.store.damage import Written, blaming_inputs, refuse_shortened, stamp_of, unwritten
from infra.store.identity import library_versions, outputs_digest, source_digest
from infra.store.lease import lease
from infra.store.store import Store


class LedgerDoesNotBalance(StageError):
    """Documents went missing or came from nowhere: a bug in the stage, never in the data."""


@dataclass(frozen=True)
class Order:
    """What to build: a stage and everything that its version is computed from."""

    stage: Stage
    name: str
    version: str
    parameters: Parameters
    inputs: Mapping[str, tuple[Artifact, ...]]
    pins: Mapping[str, tuple[Pin, ...]]


def build(
    order: Order,
    store: Store,
    engine: Engine,
    *,
    run: str = "",
    cpu_threads: int = 1,
    force: bool = False,
    access: Access | None = None,
    progress: Progress = no_progress,
    measured: Measured = not_measured,
    on_wait: Callable[[dict[str, Any]], None] = lambda holder: None,
) -> Artifact:
    """Return the committed artifact of `order`, doing only the work that no earlier run finished.

    `force` builds again in a fresh attempt. `access` is how files on other machines are read.
    `on_wait(holder)` is called when another running process holds the lease. Raises what the stage
    raises, without secrets, or `Damaged` if its inputs changed since they were written.
    """
    stage, name, version = order.stage, order.name, order.version
    home = store.home(stage.name, name, version)
    inputs = [artifact for artifacts in order.inputs.values() for artifact in artifacts]
    pins = [pin for pinned in order.pins.values() for pin in pinned]
    stage.check_inputs({role: [a.stage for a in given] for role, given in order.inputs.items()})
    id = f"{stage.name}/{name}"
    with without_secrets(), holding.while_open(), lease(home, on_wait):
        if not force and (existing := store.find(stage.name, name, version)) is not None:
            return existing
        refuse_shortened(id, inputs)
        attempt = store.attempt(stage, name, version, fresh=force)
        with _without_the_written(attempt), blaming_inputs(id, inputs, pins):
            attempt.begin(stamp_of(pins, inputs))
            context = Context(
                stage,
                name,
                version,
                order.parameters,
                order.inputs,
                order.pins,
                attempt,
                engine.of_stage(stage.name),
                cpu_threads,
                access or Access(),
                progress,
                measured,
                store.root.child("answers"),
            )
            started = time.time()
            with unwritten(id, inputs, pins):
                outcome = stage.load()(context)
            _check_ledger(id, outcome.ledger)
            return store.commit(
                attempt, stage, name, version, _manifest(order, context, outcome, started, run)
            )


@contextlib.contextmanager
def _without_the_written(attempt: Attempt) -> Iterator[None]:
    """Remove what was made of an input that was written to meanwhile."""
    try:
        yield
    except Written:
        attempt.discard()
        raise


def _manifest(
    order: Order, context: Context, outcome: Outcome, started: float, run: str
) -> dict[str, Any]:
    stage = order.stage
    return {
        "stage": stage.name,
        "name": order.name,
        "version": order.version,
        "stage_version": stage.version,
        "bitwise": stage.bitwise,
        "parameters": order.parameters.model_dump(mode="json"),
        "inputs": {
            role: [_input(a) for a in artifacts] for role, artifacts in order.inputs.items()
        },
        "pins": {path: [pin.to_json() for pin in pins] for path, pins in order.pins.items()},
        "attempt": context.attempt.id,
        "outputs": sorted(context.outputs, key=lambda output: str(output["path"])),
        "digest": outputs_digest(context.outputs),
        "statistics": outcome.statistics,
        "ledger": outcome.ledger,
        "code": _code(stage),
        "environment": _environment(),
        "timings": {
            "started": _utc(started),
            "finished": _utc(time.time()),
            "seconds": round(time.time() - started, 3),
            "workers": context.engine.workers,
        },
        "run": run,
    }


def _input(artifact: Artifact) -> dict[str, str]:
    return {
        "stage": artifact.stage,
        "name": artifact.name,
        "version": artifact.version,
        "digest": artifact.digest,
        **({"same_as": artifact.manifest.same_as} if artifact.manifest.same_as else {}),
    }


def _check_ledger(id: str, ledger: Mapping[str, Any] | None) -> None:
    """Raise unless read = kept + dropped + failed (+ edited, in bytes) by source and language."""
    if ledger and (problem := Ledger.from_json(ledger).imbalance()):
        raise LedgerDoesNotBalance(
            f"{id}: {problem}. Nothing was committed; please report this with the recipe"
        )


def _utc(timestamp: float) -> str:
    return datetime.datetime.fromtimestamp(timestamp, datetime.UTC).isoformat(
        timespec="milliseconds"
    )


def _code(stage: Stage) -> dict[str, Any]:
    return {**_checkout(), "source_digest": source_digest(stage)}


@functools.cache
def _checkout() -> dict[str, Any]:
    """The commit this process runs. Asked once: edits made during a run do not change the code
    already imported.
    """
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *words],
                capture_output=True,
                text=True,
                timeout=5,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip()

    inside = git("rev-parse", "--show-toplevel") == str(root)
    return {
        "git_sha": git("rev-parse", "HEAD") if inside else "",
        "dirty": bool(git("status", "--porcelain", "-uno")) if inside else None,
    }


def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "executable": sys.executable,
        "libraries": library_versions(),
    }
