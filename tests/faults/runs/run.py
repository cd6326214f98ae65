"""Random faults over whole runs (`make faults`): what became of each, in `docs/faults.md`.

    python -m tests.faults.runs.run [--count 500] [--only WORD] [--write docs/faults.md]

Resumable: a line of JSON for each fault in build/faults/faults.jsonl. Mounting small disks takes
root, and moving clocks a C compiler; kinds of faults that cannot be made here are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.faults.runs import judge, warm, world
from tests.faults.runs.fault import Surroundings, configuration, engine_of, strike
from tests.faults.runs.kinds import KINDS, Kind
from tests.faults.runs.nodes import Nodes
from tests.faults.runs.places import S3, Prefect, can_mount
from tests.faults.runs.scene import clock_library, is_preloaded

FOLDER = warm.REPOSITORY / "build" / "faults"
COUNT = 500
UNIFORM = 300
"""So many draws are from the whole run before stages with fewer than `LEAST` get their own."""
LEAST = 10
RAY = 8
"""The last ones kill nodes of Ray, which need two cores alone."""


def main() -> int:
    """Returns the number of faults that were not met as they should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--only", default="", help="only kinds whose names match it")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--write", type=Path, help="the page to write")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    lines = given.folder / "faults.jsonl"
    _preload(given.folder)
    done = read(lines)
    if len(done) < given.count or again(done, KINDS):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leave nothing behind
        with surroundings(given.folder, given.only) as (around, kinds):
            for number in [*again(done, kinds), *range(len(done), given.count)]:
                kind, stage = choose(number, given.count, done, kinds, around)
                engine = engine_of(kind, number, around)
                learn(kind, engine, around, given.folder / "undisturbed.json")
                line = strike(kind, number, around, engine, stage)
                with lines.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line, ensure_ascii=False) + "\n")
                done[number:] = [line, *done[number + 1 :]]
                print(told(line), flush=True)
    if given.write:
        from tests.faults.runs import page

        page.write(given.write, done, json.loads((given.folder / "undisturbed.json").read_text()))
    return sum(line["result"] not in ("same", "told") for line in done)


def told(line: dict[str, Any]) -> str:
    """A fault in one line."""
    where = ",".join(line.get("where", [line["aimed_at"]]))
    text = f"{line['number']:4} {line['result']:6} {line['kind']} [{line.get('configuration')}] "
    text += f"{where}: {line.get('what', '')} ({line.get('seconds', 0)} s)"
    return text + "".join(f"\n       {one}" for one in line.get("wrong", ()))


def read(file: Path) -> list[dict[str, Any]]:
    """The faults made so far, by number: the last line of each."""
    if not file.exists():
        return []
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return list({line["number"]: line for line in lines}.values())


def again(done: Sequence[dict[str, Any]], kinds: Sequence[Kind]) -> list[int]:
    """Numbers of faults that were not met as they should be: they are made again."""
    names = {kind.name for kind in kinds}
    return [
        line["number"]
        for line in done
        if line["result"] not in ("same", "told") and line["kind"] in names
    ]


def choose(
    number: int,
    count: int,
    done: Sequence[dict[str, Any]],
    kinds: Sequence[Kind],
    around: Surroundings,
) -> tuple[Kind, str]:
    """The kind of a fault, and the stage that it shall strike ("" for any moment of the run)."""
    if number < len(done):
        made = done[number]
        kind = next(kind for kind in kinds if kind.name == made["kind"])
        return kind, made["aimed_at"]
    on_ray = [kind for kind in kinds if kind.ray]
    others = [kind for kind in kinds if not kind.ray]
    if on_ray and (number >= count - RAY or not others):
        return rotation(on_ray, number), ""
    kind = rotation(others, number)
    stage = lacking(done, around) if number >= UNIFORM else ""
    if stage and not cheap(kind):
        kind = rotation([kind for kind in others if cheap(kind)], number)
    return kind, stage


def rotation(kinds: Sequence[Kind], number: int) -> Kind:
    """The kind of fault `number`: each by its share, evenly spread."""
    total = sum(kind.share for kind in kinds)
    made: Counter[str] = Counter()
    chosen = kinds[0]
    for turn in range(number + 1):
        chosen = max(kinds, key=lambda k: k.share / total * (turn + 1) - made[k.name])
        made[chosen.name] += 1
    return chosen


def lacking(done: Sequence[dict[str, Any]], around: Surroundings) -> str:
    """The stage with the fewest faults, if they are fewer than `LEAST`."""
    steps = around.undisturbed["steps"]["disk, inline"]
    counted = Counter({step.partition("/")[0]: 0 for step in steps})
    for line in done:
        if line["result"] != "no moment":
            counted.update({step.partition("/")[0] for step in line["where"] if "/" in step})
    stage, fewest = min(counted.items(), key=lambda pair: pair[1])
    return stage if fewest < LEAST else ""


def cheap(kind: Kind) -> bool:
    """Whether a fault takes seconds, and may strike any stage."""
    return kind.place != "s3" and not kind.prefect and not kind.ray and kind.engine is None


@contextlib.contextmanager
def surroundings(folder: Path, only: str = "") -> Iterator[tuple[Surroundings, list[Kind]]]:
    """Start what faults need, and learn what an undisturbed run makes."""
    began = time.monotonic()
    warm.import_everything()
    work = Path(tempfile.mkdtemp(prefix="puna-faults-", dir=_memory()))
    mounts = can_mount(work)
    kinds = [kind for kind in KINDS if re.search(only, kind.name)]
    kinds = [kind for kind in kinds if mounts or kind.place != "disk"]
    kinds = [kind for kind in kinds if is_preloaded() or not kind.moved_clock]
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        world.write(work / "world")
        around = Surroundings(work, work / "world", None, None, None, {})
        if any(kind.place == "s3" for kind in kinds):
            around.s3 = stack.enter_context(S3(work / "s3"))
        if any(kind.prefect for kind in kinds):
            around.prefect = stack.enter_context(Prefect(work / "prefect"))
        if any(kind.ray for kind in kinds):
            around.nodes = stack.enter_context(Nodes())
        print(f"imports and servers: {time.monotonic() - began:.0f} s", flush=True)
        around.undisturbed = learned(folder / "undisturbed.json")
        learn(Kind("undisturbed", lambda scene: ""), (), around, folder / "undisturbed.json")
        yield around, kinds


def learned(file: Path) -> dict[str, Any]:
    """What was learned of undisturbed runs before."""
    if file.exists():
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found
    return {"artifacts": {}, "seconds": {}, "steps": {}}


def learn(kind: Kind, engine: tuple[str, ...], around: Surroundings, file: Path) -> None:
    """Run undisturbed as a fault's run does, once: what that makes and how long it takes."""
    name, found = configuration(kind, engine), around.undisturbed
    if name in found["seconds"]:
        return
    with around.scene(kind, -1, engine) as scene:
        run = scene.begin()
        assert run.wait(600) == 0, run.said()
        seconds = time.monotonic() - run.started
        held = judge.held(scene.files)
        assert not held.wrong, held.wrong
        artifacts = {id: list(pair) for id, pair in sorted(held.artifacts.items())}
        found["artifacts"] = found["artifacts"] or artifacts
        assert artifacts == found["artifacts"], f"{name} makes other artifacts"
        begun = {step: at for what, step, at in run.events() if what == "begin"}
        found["steps"][name] = {
            step: [round(begun[step], 4), round(at - begun[step], 4)]
            for what, step, at in run.events()
            if what == "end"
        }
        found["seconds"][name] = round(seconds, 3)
    print(f"undisturbed, {name}: {seconds:.1f} s", flush=True)
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _memory() -> Path | None:
    """A folder in memory, where fsync costs nothing; None for the usual one."""
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) else None


def _preload(folder: Path) -> None:
    """Start this process anew with the library that moves clocks, where it can be built."""
    if is_preloaded() or (library := clock_library(folder)) is None:
        return
    os.environ["LD_PRELOAD"] = str(library)
    os.execv(sys.executable, [sys.executable, "-m", "tests.faults.runs.run", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(min(main(), 100))
