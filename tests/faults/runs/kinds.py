"""The kinds of faults: what strikes a run, how that is undone, and how the run may end."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.faults.runs import strikes
from tests.faults.runs.scene import Scene

Strike = Callable[[Scene], str]
"""See `strikes`."""

PROCESSES = ("-s", "engine.kind=processes", "-s", "engine.workers=2")


@dataclass(frozen=True)
class Kind:
    """One row of the table.

    `place`: where the store lies; `share`: how often in a round of the rotation; `ends`: exit
    statuses that the struck run may have; `says`: what it must say if its status is 1 or 2;
    `damages`: the next runs may ask for something to be done; `inputs`: it changes what is read.
    """

    name: str
    strike: Strike
    mend: Callable[[Scene], object] = lambda scene: None
    place: Literal["memory", "disk", "s3"] = "memory"
    engine: tuple[str, ...] | None = None
    prefect: bool = False
    moved_clock: bool = False
    ray: bool = False
    share: float = 1.0
    ends: tuple[int, ...] = (0, 1)
    says: str = "error: "
    damages: bool = False
    inputs: bool = False
    more: tuple[str, ...] = ()


MEMORY = r"memory|died|was killed|signal 9|signal 6|cannot allocate|error: "

KINDS = (
    Kind("`kill -9` of the run", strikes.kill, ends=(-9,), share=2),
    Kind("power cut: `kill -9` of all processes", strikes.power, ends=(-9,), share=2),
    Kind("SIGTERM", strikes.terminate, ends=(75, 0, -15), share=2,
         says="run the same command again"),
    Kind("`kill -9` of a worker", strikes.kill_worker, engine=PROCESSES, says=MEMORY, share=1.5),
    Kind("out of memory in a worker", strikes.starve_worker, engine=PROCESSES, says=MEMORY,
         share=1.5),
    Kind("store read-only for a moment", strikes.read_only, lambda s: s.disk and s.disk.writable(),
         place="disk", says="(?i)read-only", ends=(0, 1, 2)),
    Kind("disk full", strikes.fill, lambda s: s.disk and s.disk.empty(),
         place="disk", says="disk is full", ends=(0, 1, 2)),
    Kind("no inodes", strikes.fill_inodes, lambda s: s.disk and s.disk.empty(),
         place="disk", says="no inodes", ends=(0, 1, 2)),
    Kind("artifact: a flipped bit", strikes.flip_artifact, damages=True, share=1.5),
    Kind("artifact: a file cut short", strikes.cut_artifact, damages=True),
    Kind("artifact: a file missing", strikes.remove_artifact, damages=True),
    Kind("artifact: manifest cut short", strikes.cut_manifest, damages=True),
    Kind("input: a flipped bit", strikes.flip_input, Scene.put_back, inputs=True,
         ends=(0, 1, 2)),
    Kind("input: cut short", strikes.cut_input, Scene.put_back, inputs=True,
         ends=(0, 1, 2)),
    Kind("input: missing", strikes.remove_input, Scene.put_back, inputs=True,
         ends=(0, 1, 2)),
    Kind("clock jumps", strikes.move_clock, moved_clock=True, ends=(0,), share=1.5),
    Kind("a second run at once", strikes.second_run, ends=(0,)),
    Kind("S3: errors, throttling, torn and lost answers", strikes.s3_errors, place="s3", ends=(0,),
         share=0.5),
    Kind("S3: throttles everything", strikes.s3_throttles, place="s3", ends=(0,), share=0.4),
    Kind("S3: `kill -9` of the run", strikes.kill, place="s3", ends=(-9,), share=0.4),
    Kind("S3: the server killed and back", strikes.s3_restarts, place="s3", ends=(0,), share=0.4),
    Kind("S3: the server away for good", strikes.s3_away, strikes.s3_back, place="s3",
         says="(?i)s3|127.0.0.1", ends=(0, 1, 2), more=("-s", "remote.retry_limit_s=1"), share=0.3),
    Kind("Prefect: `kill -9` of the server, started again", strikes.prefect_restarts, prefect=True,
         ends=(0,), share=0.2),
    Kind("Prefect: the server hangs", strikes.prefect_hangs, prefect=True, ends=(0,), share=0.2),
    Kind("Prefect: `kill -9` of the run", strikes.kill, prefect=True, ends=(-9,), share=0.2),
    Kind("Ray: a node killed", strikes.kill_node, ray=True, ends=(0,), share=0.3),
)  # fmt: skip


def fits(kind: Kind, status: int | None, said: str) -> str:
    """What is wrong with how the struck run ended; "" if nothing is."""
    if status is None:
        return "hangs"
    if status not in (*kind.ends, *((1, 2) if kind.damages else ())):
        return f"ended with {status}: {said.strip()[-400:]}"
    if status in (1, 2, 75) and not re.search(kind.says, said):
        return f"does not say {kind.says!r}: {said.strip()[-400:]}"
    return ""
