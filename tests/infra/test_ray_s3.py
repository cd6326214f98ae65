"""Ray's nodes without a shared disk, over a store on S3: what inline writes on a disk.

The nodes stand for two machines (`tests.loopback.ray_nodes`): each has a cache of its own, and sees
neither the other's nor that of the run.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from infra.engine import EngineConfig, start
from infra.engine.base import Engine
from infra.engine.config import Resources
from infra.stage import Parameters, Stage
from infra.store import Artifact, Store
from infra.store.copying import copy
from tasks.dedup.stage import STAGE as DEDUP
from tasks.dedup.stage import DedupParameters
from tasks.line_dedup.stage import STAGE as LINE_DEDUP
from tasks.line_dedup.stage import LineDedupParameters
from tests.loopback.ray_nodes import SECOND, RayNodes, may_hide
from tests.loopback.s3 import bucket_server
from tests.stage_harness import run_stage
from tests.tasks.dedup.corpus import dedup_inputs, document, edited, prose

pytest.importorskip(
    "ray", reason="Ray is not installed: pip install -c constraints.txt 'puna[ray]'"
)
URL = "s3://puna/store"
GATES = ("largest_cluster", "removal_rate", "saturated_band")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RayNodes, Engine]]:
    objects = tmp_path_factory.mktemp("objects")
    with (
        bucket_server(objects) as s3,
        RayNodes(apart=True) as nodes,
        pytest.MonkeyPatch.context() as patched,
    ):
        s3.make_bucket("puna")
        nodes.known_to(patched)
        store = Store.at(URL)
        store.make()
        resources = {"second": Resources(custom={SECOND: 1})}
        config = EngineConfig(kind="ray", address=nodes.address, timeout_s=120, resources=resources)
        with start(config, store.root) as engine:
            yield nodes, engine


def test_nodes_see_no_folder_of_each_other(machines: tuple[RayNodes, Engine]) -> None:
    nodes, engine = machines
    if not may_hide():
        pytest.skip("this user may not mount anything")
    marks = [Path(nodes.own(name)["XDG_CACHE_HOME"], "mark") for name in ("driver", "second")]
    for mark in marks:
        mark.touch()
    there = engine.of_stage("second")
    assert list(there.map(os.getenv, ["XDG_CACHE_HOME"])) == [str(marks[1].parent)]
    assert list(there.map(os.path.exists, marks)) == [not may_hide(), True]


@pytest.mark.parametrize("stage", ["dedup", "line_dedup"])
def test_the_digests_of_inline(
    machines: tuple[RayNodes, Engine], stage: str, tmp_path: Path
) -> None:
    """Sorted partitions go from node to node through the store."""
    _, engine = machines
    rng = random.Random(7)
    words = [prose(rng, 40) for _ in range(60)]
    texts = [" ".join(edited(rng, rng.choice(words), rng.choice([0, 1, 6]))) for _ in range(150)]
    rows = [
        document(f"{text}\nMenu {number % 3}\nown {number}", "web", f"{number:032x}")
        for number, text in enumerate(texts)
    ]
    inputs = dedup_inputs({"web": rows}, tmp_path, part_rows=40)
    declared: Stage = DEDUP
    parameters: Parameters = DedupParameters.model_validate(
        {"prefer": ("length",), "gates": dict.fromkeys(GATES), "memory": "40M"}
    )
    if stage == "line_dedup":
        inputs = {"documents": inputs["documents"]}
        declared, parameters = LINE_DEDUP, LineDedupParameters.model_validate({})
    there = {role: _copied(given) for role, given in inputs.items()}
    inline = run_stage(declared, parameters, inputs, "web", tmp_path=tmp_path)
    made = run_stage(
        declared, parameters, there, "web", tmp_path=tmp_path, engine=engine, store=URL
    )
    assert made.digest == inline.digest and made.statistics == inline.statistics
    assert not [name for name in Store.at(URL).root.files() if "/scratch/" in name]


def _copied(given: Artifact | Sequence[Artifact]) -> tuple[Artifact, ...]:
    store = Store.at(URL)
    found = []
    for artifact in (given,) if isinstance(given, Artifact) else given:
        copy(artifact, store)
        there = store.find(artifact.stage, artifact.name, artifact.version)
        assert there is not None
        found.append(there)
    return tuple(found)
