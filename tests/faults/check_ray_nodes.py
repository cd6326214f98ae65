"""Kill a Ray node in the middle of each stage in turn; compare with digests of undisturbed runs.

    python -m tests.faults.check_ray_nodes [--all | --undisturbed] [--s3] [--work FOLDER]
                                           [--recipe FILE] [--set KEY=VALUE ...]

Builds the golden recipes (`tests.golden`), or a recipe of yours, stage by stage on two nodes of
this machine. Before each stage the worker of the second node is stopped (SIGSTOP), so that the
shard it is given does not finish; then all of that node is killed (`kill -9`), and a new one joins
for the next stage: for the first artifact of each stage, or with `--all` for every one (20 minutes
on two busy cores), or with `--undisturbed` for none.

`--s3` puts the store on an S3 of this machine, and sets the nodes apart: neither sees the other's
caches and temporary files, nor those of the run. `--work` keeps what is built: called again, it
goes on. Digests are those of `tests/golden.json`, of another recipe those of `inline` on a disk,
which are made first. Prints a line for each artifact, and exits with 1 where a digest differs.
"""

from __future__ import annotations

import argparse
import contextlib
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
from infra.store import Artifact, Store
from infra.store.store import LATEST
from tests import golden
from tests.end_to_end.direct import run_direct
from tests.end_to_end.world import write_recipe, write_world
from tests.loopback.ray_nodes import RayNodes
from tests.loopback.s3 import bucket_server

STOPPED_S = 1.0
"""How long the second node's worker holds its shard before the node is killed."""


class Check:
    """One pass over the recipes."""

    def __init__(self, nodes: RayNodes, engine: Ray, options: argparse.Namespace) -> None:
        self.nodes, self.engine, self.options = nodes, engine, options
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
        again = order.stage.name in self.done and not self.options.all
        if again or self.options.undisturbed:
            return build(order, store, self.engine, access=access), "undisturbed"
        self.done.add(order.stage.name)
        pool: Any = self.engine._pool
        workers = self._workers()
        head = self.nodes.head_node(pool.cluster.ray)
        second = next(worker for worker in workers if worker.node != head)
        pool._workers.sort(key=lambda worker: worker.node == head)  # it gets the first shard
        asked = second.actor.run.remote(pickle.dumps(operator.call), pickle.dumps(os.getpid))
        os.kill(result_of(pool.cluster.ray.get(asked)), signal.SIGSTOP)
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
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leave no node behind
    with contextlib.ExitStack() as open_:
        patched = open_.enter_context(pytest.MonkeyPatch.context())
        folder = options.work or Path(open_.enter_context(tempfile.TemporaryDirectory()))
        recipes, expected = _recipe(options, folder) if options.recipe else _golden(folder)
        place = str(folder / "store")
        if options.s3:
            open_.enter_context(bucket_server(folder / "objects")).make_bucket("puna")
            place = "s3://puna/store"
        nodes = open_.enter_context(RayNodes(apart=options.s3))
        nodes.known_to(patched)
        config = EngineConfig(kind="ray", address=nodes.address, timeout_s=120)
        store = Store.at(place)
        store.make()
        engine = Ray(config, store.root)
        open_.callback(engine.close)
        check = Check(nodes, engine, options)
        found: dict[str, Artifact] = {}
        for file, overrides, selection in recipes:
            request = RunRequest.of(file, overrides, store=place, **selection)
            found |= build_all(check, request, file.stem)
        wrong = [key for key, artifact in found.items() if not _agrees(expected, key, artifact)]
        for key in wrong:
            sys.stdout.write(f"{key}: {found[key].digest}, expected {expected[key]}\n")
        sys.stdout.write(f"{len(found)} artifacts, {len(wrong)} differ from the expected digests\n")
        return int(bool(wrong))


Recipes = list[tuple[Path, tuple[str, ...], dict[str, Any]]]
"""File, overrides, and what of it to build."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    kills = parser.add_mutually_exclusive_group()
    kills.add_argument("--all", action="store_true")
    kills.add_argument("--undisturbed", action="store_true")
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--set", action="append", default=[])
    return parser.parse_args()


def _golden(folder: Path) -> tuple[Recipes, dict[str, str]]:
    recorded = json.loads(golden.FILE.read_text(encoding="utf-8"))
    if recorded["environment"] != golden.environment():
        raise SystemExit("golden.json was recorded with other libraries")
    world = folder / "world"
    if not world.exists():
        write_world(world, pages=32)
        write_recipe(world)
        (world / "grown.yaml").write_text(golden.GROWN, encoding="utf-8")
    expected = {
        key: value["digest"]
        for stage in recorded["stages"].values()
        for key, value in stage["artifacts"].items()
    }
    selections: list[dict[str, Any]] = [{"until_stage": "binning"}, {"only": ("model",)}]
    recipes: Recipes = [
        (world / f"{recipe}.yaml", (), selection)
        for recipe in ("small", "grown")
        for selection in selections
    ]
    return recipes, expected


def _recipe(options: argparse.Namespace, folder: Path) -> tuple[Recipes, dict[str, str]]:
    overrides = tuple(options.set)
    inline = EngineConfig(kind="inline", cpu_threads=1)
    made = run_direct(options.recipe, folder / "inline", inline, overrides=overrides)
    expected = {f"{options.recipe.stem}/{id}": artifact.digest for id, artifact in made.items()}
    return [(options.recipe, overrides, {})], expected


def _agrees(expected: Mapping[str, str], key: str, artifact: Artifact) -> bool:
    """Whether a digest is the expected one; a recorded one is its beginning, and what is in two
    recipes is recorded once.
    """
    return key not in expected or artifact.digest.startswith(expected[key])


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
    found = {id: built.get(id) or step.artifact for id, step in prepared.plan.steps.items()}
    return {f"{recipe}/{id}": artifact for id, artifact in found.items() if artifact is not None}


if __name__ == "__main__":
    sys.exit(main())
