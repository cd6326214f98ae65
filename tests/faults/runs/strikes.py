"""What strikes a run: each does something to a scene, and says what; "" where there was nothing to
strike at this moment.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from pathlib import Path

from tests.faults.runs.scene import Scene


def kill(scene: Scene) -> str:
    os.kill(scene.run.pid, signal.SIGKILL)
    return "kill -9 of the run"


def power(scene: Scene) -> str:
    scene.run.kill()
    return "kill -9 of all its processes"


def terminate(scene: Scene) -> str:
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


def kill_worker(scene: Scene) -> str:
    workers = _workers(scene)
    for pid in scene.rng.sample(workers, len(workers)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return "kill -9 of a worker"
    return ""


def starve_worker(scene: Scene) -> str:
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


def read_only(scene: Scene) -> str:
    assert scene.disk is not None
    if not scene.disk.read_only():
        return ""
    for_s = scene.rng.choice((0.05, 0.3, 60))
    if for_s < 60:
        time.sleep(for_s)
        scene.disk.writable()
        return f"read-only for {for_s} s"
    return "read-only until it ended"


def fill(scene: Scene) -> str:
    assert scene.disk is not None
    scene.disk.fill()
    return "no byte left"


def fill_inodes(scene: Scene) -> str:
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


def flip_artifact(scene: Scene) -> str:
    file = _data_file(scene)
    return f"{_short(file)}, {_flip(file, scene)}" if file else ""


def cut_artifact(scene: Scene) -> str:
    file = _data_file(scene)
    if file is None:
        return ""
    size = scene.rng.randrange(file.stat().st_size)
    os.truncate(file, size)
    return f"{_short(file)} cut to {size:,} bytes"


def remove_artifact(scene: Scene) -> str:
    file = _data_file(scene)
    if file is None:
        return ""
    file.unlink()
    return _short(file)


def cut_manifest(scene: Scene) -> str:
    manifest = _committed(scene)
    if manifest is None:
        return ""
    size = scene.rng.randrange(manifest.stat().st_size)
    os.truncate(manifest, size)
    return f"{'/'.join(manifest.parts[-4:-2])} cut to {size:,} bytes"


def flip_input(scene: Scene) -> str:
    file = scene.rng.choice(scene.inputs())
    scene.keep(file)
    return f"{file.name}, {_flip(file, scene)}"


def cut_input(scene: Scene) -> str:
    file = scene.rng.choice(scene.inputs())
    scene.keep(file)
    size = scene.rng.randrange(file.stat().st_size)
    os.truncate(file, size)
    return f"{file.name} cut to {size:,} bytes"


def remove_input(scene: Scene) -> str:
    file = scene.rng.choice(scene.inputs())
    scene.keep(file)
    file.unlink()
    return file.name


def move_clock(scene: Scene) -> str:
    seconds = scene.rng.choice((-86_400, -3600, -60, 60, 3600, 86_400))
    scene.move_clock(seconds)
    return f"{seconds:+,} s"


def second_run(scene: Scene) -> str:
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


def s3_errors(scene: Scene) -> str:
    assert scene.s3 is not None
    kinds, share = list(_WRONG), 0.1
    scene.s3.go_wrong(kinds, share, 600)
    return "one answer in ten an error, throttled, torn, or lost after the write"


def s3_throttles(scene: Scene) -> str:
    assert scene.s3 is not None
    scene.s3.go_wrong([{"status": 503, "code": "SlowDown"}], 1.0, 2.0)
    return "SlowDown to everything for 2 s"


def s3_away(scene: Scene) -> str:
    assert scene.s3 is not None
    scene.s3.signal(signal.SIGKILL)
    return "kill -9 of the server until the run ended"


def s3_restarts(scene: Scene) -> str:
    assert scene.s3 is not None
    scene.s3.signal(signal.SIGKILL)
    scene.s3.begin()
    return "kill -9 of the server, started again"


def s3_back(scene: Scene) -> None:
    assert scene.s3 is not None
    scene.s3.go_right()
    scene.s3.signal(signal.SIGKILL)
    scene.s3.begin()


def prefect_restarts(scene: Scene) -> str:
    assert scene.prefect is not None
    scene.prefect.signal(signal.SIGKILL)
    scene.prefect.begin()
    return "kill -9 of the server, started again"


def prefect_hangs(scene: Scene) -> str:
    assert scene.prefect is not None
    scene.prefect.signal(signal.SIGSTOP)
    time.sleep(4)
    scene.prefect.signal(signal.SIGCONT)
    return "SIGSTOP of the server for 4 s"


def kill_node(scene: Scene) -> str:
    return f"kill -9 of a node, {scene.nodes.kill_second()} processes"
