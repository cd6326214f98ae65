"""The kinds of faults: what strikes a run, how that is undone, and how the run may end."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.faults.runs.scene import Scene

Strike = Callable[[Scene], str]
"""Strikes; what it did, or "" where there is nothing to strike at this moment."""

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


def _kill(scene: Scene) -> str:
    os.kill(scene.run.pid, signal.SIGKILL)
    return "kill -9 of the run"


def _power(scene: Scene) -> str:
    scene.run.kill()
    return "kill -9 of all its processes"


def _terminate(scene: Scene) -> str:
    os.kill(scene.run.pid, signal.SIGTERM)
    return "SIGTERM"


def _workers(scene: Scene) -> list[int]:
    """Processes that do the work of stages: pool workers, or a stage's own process."""
    found = []
    for pid in scene.run.children():
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            parent = int(fields[1])
            if parent != scene.run.pid and parent != 1:
                found.append(pid)
    return found


def _kill_worker(scene: Scene) -> str:
    workers = _workers(scene)
    for pid in scene.rng.sample(workers, len(workers)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return "kill -9 of a worker"
    return ""


def _starve_worker(scene: Scene) -> str:
    """Give a worker no more memory than it has: the next allocation fails."""
    workers = _workers(scene)
    if not workers:
        return ""
    pid = scene.rng.choice(workers)
    room = scene.rng.choice((0, 1, 4)) << 20
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + room
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
    except (OSError, ValueError):
        return ""
    return f"RLIMIT_AS at {room >> 20} MiB more than the worker has"


def _read_only(scene: Scene) -> str:
    assert scene.disk is not None
    if not scene.disk.read_only():
        return ""
    for_s = scene.rng.choice((0.05, 0.3, 60))
    if for_s < 60:
        time.sleep(for_s)
        scene.disk.writable()
        return f"read-only for {for_s} s"
    return "read-only until it ended"


def _fill(scene: Scene) -> str:
    assert scene.disk is not None
    scene.disk.fill()
    return "no byte left"


def _fill_inodes(scene: Scene) -> str:
    assert scene.disk is not None
    scene.disk.fill_inodes()
    return "no inode left"


def _committed(scene: Scene) -> Path | None:
    """A random committed artifact's manifest."""
    found = sorted(scene.files.glob("*/*/*/manifest.json"))
    return scene.rng.choice(found) if found else None


def _data_file(scene: Scene) -> Path | None:
    manifest = _committed(scene)
    if manifest is None:
        return None
    files = [p for p in sorted(manifest.parent.glob("*/data/**/*")) if p.is_file()]
    files = [p for p in files if not p.name.startswith(".") and p.stat().st_size]
    return scene.rng.choice(files) if files else None


def _flip(file: Path, scene: Scene) -> str:
    """Flip a bit; returns where."""
    at, bit = scene.rng.randrange(file.stat().st_size), 1 << scene.rng.randrange(8)
    with file.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes([byte ^ bit]))
    return f"byte {at:,} of {file.stat().st_size:,}"


def _short(path: Path) -> str:
    parts = path.parts
    return "/".join(parts[-6:-4] + parts[-1:]) if "data" in parts else path.name


def _flip_artifact(scene: Scene) -> str:
    file = _data_file(scene)
    return f"{_short(file)}, {_flip(file, scene)}" if file else ""


def _cut_artifact(scene: Scene) -> str:
    file = _data_file(scene)
    if file is None:
        return ""
    size = scene.rng.randrange(file.stat().st_size)
    os.truncate(file, size)
    return f"{_short(file)} cut to {size:,} bytes"


def _remove_artifact(scene: Scene) -> str:
    file = _data_file(scene)
    if file is None:
        return ""
    file.unlink()
    return _short(file)


def _cut_manifest(scene: Scene) -> str:
    manifest = _committed(scene)
    if manifest is None:
        return ""
    size = scene.rng.randrange(manifest.stat().st_size)
    os.truncate(manifest, size)
    return f"{'/'.join(manifest.parts[-4:-2])} cut to {size:,} bytes"


def _flip_input(scene: Scene) -> str:
    file = scene.rng.choice(scene.inputs())
    scene.keep(file)
    return f"{file.name}, {_flip(file, scene)}"


def _cut_input(scene: Scene) -> str:
    file = scene.rng.choice(scene.inputs())
    scene.keep(file)
    size = scene.rng.randrange(file.stat().st_size)
    os.truncate(file, size)
    return f"{file.name} cut to {size:,} bytes"


def _remove_input(scene: Scene) -> str:
    file = scene.rng.choice(scene.inputs())
    scene.keep(file)
    file.unlink()
    return file.name


def _move_clock(scene: Scene) -> str:
    seconds = scene.rng.choice((-86_400, -3600, -60, 60, 3600, 86_400))
    scene.move_clock(seconds)
    return f"{seconds:+,} s"


def _second_run(scene: Scene) -> str:
    scene.begin()
    return "a second run of the recipe beside it"


_WRONG = (
    {"status": 503, "code": "SlowDown"},
    {"status": 500},
    {"status": 500, "done": True},
    {"kind": "reset"},
    {"kind": "reset", "done": True},
    {"kind": "short"},
)


def _s3_errors(scene: Scene) -> str:
    assert scene.s3 is not None
    kinds, share = list(_WRONG), 0.1
    scene.s3.go_wrong(kinds, share, 600)
    return "one answer in ten an error, throttled, torn, or lost after the write"


def _s3_throttles(scene: Scene) -> str:
    assert scene.s3 is not None
    scene.s3.go_wrong([{"status": 503, "code": "SlowDown"}], 1.0, 2.0)
    return "SlowDown to everything for 2 s"


def _s3_away(scene: Scene) -> str:
    assert scene.s3 is not None
    scene.s3.signal(signal.SIGKILL)
    return "kill -9 of the server until the run ended"


def _s3_restarts(scene: Scene) -> str:
    assert scene.s3 is not None
    scene.s3.signal(signal.SIGKILL)
    scene.s3.begin()
    return "kill -9 of the server, started again"


def _s3_back(scene: Scene) -> None:
    assert scene.s3 is not None
    scene.s3.go_right()
    scene.s3.signal(signal.SIGKILL)
    scene.s3.begin()


def _prefect_restarts(scene: Scene) -> str:
    assert scene.prefect is not None
    scene.prefect.signal(signal.SIGKILL)
    scene.prefect.begin()
    return "kill -9 of the server, started again"


def _prefect_hangs(scene: Scene) -> str:
    assert scene.prefect is not None
    scene.prefect.signal(signal.SIGSTOP)
    time.sleep(4)
    scene.prefect.signal(signal.SIGCONT)
    return "SIGSTOP of the server for 4 s"


def _kill_node(scene: Scene) -> str:
    return f"kill -9 of a node, {scene.nodes.kill_second()} processes"


MEMORY = r"memory|died|was killed|signal 9|signal 6|cannot allocate|error: "

KINDS = (
    Kind("`kill -9` of the run", _kill, ends=(-9,), share=2),
    Kind("power cut: `kill -9` of all processes", _power, ends=(-9,), share=2),
    Kind("SIGTERM", _terminate, ends=(75, 0, -15), says="run the same command again", share=2),
    Kind("`kill -9` of a worker", _kill_worker, engine=PROCESSES, says=MEMORY, share=1.5),
    Kind("out of memory in a worker", _starve_worker, engine=PROCESSES, says=MEMORY, share=1.5),
    Kind("store read-only for a moment", _read_only, lambda s: s.disk and s.disk.writable(),
         place="disk", says="(?i)read-only", ends=(0, 1, 2)),
    Kind("disk full", _fill, lambda s: s.disk and s.disk.empty(),
         place="disk", says="disk is full", ends=(0, 1, 2)),
    Kind("no inodes", _fill_inodes, lambda s: s.disk and s.disk.empty(),
         place="disk", says="no inodes", ends=(0, 1, 2)),
    Kind("artifact: a flipped bit", _flip_artifact, damages=True, share=1.5),
    Kind("artifact: a file cut short", _cut_artifact, damages=True),
    Kind("artifact: a file missing", _remove_artifact, damages=True),
    Kind("artifact: manifest cut short", _cut_manifest, damages=True),
    Kind("input: a flipped bit", _flip_input, Scene.put_back, inputs=True),
    Kind("input: cut short", _cut_input, Scene.put_back, inputs=True),
    Kind("input: missing", _remove_input, Scene.put_back, inputs=True),
    Kind("clock jumps", _move_clock, moved_clock=True, ends=(0,), share=1.5),
    Kind("a second run at once", _second_run, ends=(0,)),
    Kind("S3: errors, throttling, torn and lost answers", _s3_errors, place="s3", ends=(0,),
         share=0.5),
    Kind("S3: throttles everything", _s3_throttles, place="s3", ends=(0,), share=0.4),
    Kind("S3: `kill -9` of the run", _kill, place="s3", ends=(-9,), share=0.4),
    Kind("S3: the server killed and back", _s3_restarts, place="s3", ends=(0,), share=0.4),
    Kind("S3: the server away for good", _s3_away, _s3_back, place="s3", says="(?i)s3|127.0.0.1",
         more=("-s", "remote.retry_limit_s=1"), share=0.3),
    Kind("Prefect: `kill -9` of the server, started again", _prefect_restarts, prefect=True,
         ends=(0,), share=0.2),
    Kind("Prefect: the server hangs", _prefect_hangs, prefect=True, ends=(0,), share=0.2),
    Kind("Prefect: `kill -9` of the run", _kill, prefect=True, ends=(-9,), share=0.2),
    Kind("Ray: a node killed", _kill_node, ray=True, ends=(0,), share=0.3),
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
