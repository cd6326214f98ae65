"""Kill a Ray node in the middle of each stage in turn, and compare with the golden digests.

    python -m tests.faults.check_ray_nodes [--all]

Builds the golden recipes (`tests.golden`) stage by stage on two nodes of this machine. Before each
stage the worker of the second node is stopped (SIGSTOP), so that the shard it is given does not
finish; then all of that node is killed (`kill -9`), and a new one joins for the next stage: for the
first artifact of each stage, or with `--all` for every one (20 minutes on two busy cores). Prints a
line for each artifact, and exits with 1 where a digest differs from `tests/golden.json`.
"""

from __future__ import annotations

import functools
import json
import operator
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flows.planning.plan import Step
from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.running.results import Results
from flows.running.walk import walk
from infra.build import Order, build
from infra.engine import EngineConfig
from infra.engine.ray_cluster.engine import Ray
from infra.engine.ray_cluster.work import result_of
from infra.store import Artifact
from infra.store.backends import open_directory
from infra.store.store import LATEST
from tests import golden
from tests.end_to_end.world import write_recipe, write_world
from tests.loopback.ray_nodes import RayNodes

STOPPED_S = 1.0
"""How long the second node's worker holds its shard before the node is killed."""


class Check:
    """One pass over the recipes."""

    def __init__(self, nodes: RayNodes, engine: Ray) -> None:
        self.nodes, self.engine = nodes, engine
        self.lost: list[str] = []
        self.done: set[str] = set()
        pool: Any = engine._pool
        lose = pool._lose

        def counted(worker: Any, job: Any, how: str) -> None:
            self.lost.append(how)
            lose(worker, job, how)

        pool._lose = counted

    def _workers(self) -> list[Any]:
        pool: Any = self.engine._pool
        while len([worker for worker in pool._workers if worker.ready]) < 2:
            list(self.engine.map(time.sleep, [0.3, 0.3]))
        return list(pool._workers)

    def run(self, order: Order, store: Any, access: Any) -> tuple[Artifact, str]:
        """Build one step while the second node dies; returns also what happened."""
        if order.stage.name in self.done and "--all" not in sys.argv:
            return build(order, store, self.engine, access=access), "undisturbed"
        self.done.add(order.stage.name)
        pool: Any = self.engine._pool
        workers = self._workers()
        head = self.nodes.head_node(pool._ray)
        second = next(worker for worker in workers if worker.node != head)
        pool._workers.sort(key=lambda worker: worker.node == head)  # it gets the first shard
        asked = second.actor.run.remote(pickle.dumps(operator.call), pickle.dumps(os.getpid))
        os.kill(result_of(pool._ray.get(asked)), signal.SIGSTOP)
        before, started = len(self.lost), time.monotonic()

        def kill() -> None:
            while second.job is None and not done.is_set():
                time.sleep(0.02)
            time.sleep(0 if done.is_set() else STOPPED_S)
            self.nodes.kill_second()

        done = threading.Event()
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            artifact = build(order, store, self.engine, access=access)
        finally:
            done.set()
            killer.join()
        seconds = time.monotonic() - started
        self.nodes.start_second()
        lost = self.lost[before:]
        return artifact, f"{len(lost)} shard(s) lost and done again, {seconds:.1f} s"


def main() -> int:
    """See the module docstring."""
    recorded = json.loads(golden.FILE.read_text(encoding="utf-8"))
    if recorded["environment"] != golden.environment():
        sys.stderr.write("golden.json was recorded with other libraries\n")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leave no node behind
    found: dict[str, Artifact] = {}
    with (
        tempfile.TemporaryDirectory() as name,
        RayNodes() as nodes,
        pytest.MonkeyPatch.context() as patched,
    ):
        nodes.known_to(patched)
        folder = Path(name)
        write_world(folder / "world", pages=32)
        write_recipe(folder / "world")
        (folder / "world" / "grown.yaml").write_text(golden.GROWN, encoding="utf-8")
        config = EngineConfig(kind="ray", address=nodes.address, timeout_s=120)
        engine = Ray(config, open_directory(str(folder / "store")))
        check = Check(nodes, engine)
        try:
            for recipe in ("small", "grown"):
                for selection in ({"until_stage": "binning"}, {"only": ("model",)}):
                    request = RunRequest.of(
                        folder / "world" / f"{recipe}.yaml",
                        store=str(folder / "store"),
                        **selection,
                    )
                    found |= build_all(check, request, recipe)
        finally:
            engine.close()
        now = golden.goldens(found)
    wrong = 0
    for stage, entry in now.items():
        for key, value in entry["artifacts"].items():
            same = recorded["stages"][stage]["artifacts"].get(key, {}).get("digest")
            wrong += same != value["digest"]
            if same != value["digest"]:
                sys.stdout.write(f"{key}: {value['digest']}, golden {same}\n")
    sys.stdout.write(f"{len(found)} artifacts, {wrong} differ from the golden digests\n")
    return int(wrong > 0)


def build_all(check: Check, request: RunRequest, recipe: str) -> Mapping[str, Artifact]:
    """Build a request's steps one after another; `recipe/stage/name` -> artifact."""
    prepared = prepare(request)
    prepared.refuse_unresolved()
    results = Results(prepared.plan)
    built = results.built

    def one(step: Step, inputs: Mapping[str, tuple[Artifact, ...]]) -> Artifact:
        if step.state == "hit" and step.artifact is not None:
            return step.artifact
        node = step.node
        order = Order(node.stage, node.name, step.version or "", node.parameters, inputs, step.pins)
        artifact, happened = check.run(order, prepared.store, prepared.recipe.remote.access())
        prepared.store.set_reference(prepared.recipe.name, artifact, LATEST)
        sys.stdout.write(f"{recipe}/{step.id}: {artifact.digest[:16]}  {happened}\n")
        sys.stdout.flush()
        return artifact

    settle = functools.partial(results.settle, prepared.store)
    walk(prepared.plan, one, built, settle=settle, side_by_side=1)
    return {f"{recipe}/{id}": artifact for id, artifact in built.items()}


if __name__ == "__main__":
    sys.exit(main())
