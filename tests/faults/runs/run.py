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
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.faults.runs import judge, warm, world
from tests.faults.runs.fault import Surroundings, configuration, engine_of, strike
from tests.faults.runs.kinds import KINDS, Kind
from tests.faults.runs.page import COUNT, LEAST, write
from tests.faults.runs.places import can_mount
from tests.faults.runs.scene import clock_library, is_preloaded

FOLDER = warm.REPOSITORY / "build" / "faults"
SLOW = 50
"""The last ones are of kinds that need servers and take ten times as long."""
UNIFORM = 200
"""So many draws are from the whole run before stages with fewer than `LEAST` get their own."""
SEARCHING = ("mixture", "shares", "classifier", "scores")
"""Stages of the second recipe, `search`."""
RAY = 8
"""The last ones kill nodes of Ray, which need two cores alone."""


def main() -> int:
    """Returns the number of faults that were not met as they should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--only", default="", help="only kinds whose names match it, and no cases")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--first", type=int, default=0, help="the number to begin with")
    parser.add_argument("--cases", action="store_true", help="only the named cases")
    parser.add_argument("--write", type=Path, help="the page to write")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    lines, of_cases = given.folder / "faults.jsonl", given.folder / "named.jsonl"
    _preload(given.folder)
    done = {line["number"]: line for line in read(lines)}
    todo = [] if given.cases else lacking_faults(done, given.first, given.count)
    cases_todo = [] if given.only or given.first else lacking_cases(of_cases)
    if todo or cases_todo:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leave nothing behind
        with surroundings(given.folder, given.only) as (around, kinds):
            for number in todo:
                line = one(number, given.count, done, kinds, around, given.folder)
                with lines.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line, ensure_ascii=False) + "\n")
                done[number] = line
                print(told(line), flush=True)
            cases(around, cases_todo, of_cases)
    named = read(of_cases, "case")
    if given.write:
        write(given.write, list(done.values()), learned(given.folder / "undisturbed.json"), named)
    wrong = sum(line["result"] not in ("same", "told") for line in done.values())
    return wrong + sum(bool(line["wrong"]) for line in named)


def one(
    number: int,
    count: int,
    done: Mapping[int, dict[str, Any]],
    kinds: Sequence[Kind],
    around: Surroundings,
    folder: Path,
) -> dict[str, Any]:
    """Make fault `number`."""
    kind, recipe, stage = choose(number, count, done, kinds, around)
    engine = engine_of(kind, number, around)
    learn(kind, engine, recipe, around, folder / "undisturbed.json")
    try:
        return strike(kind, number, around, engine, recipe, stage)
    except Exception:  # of the harness: the others go on
        return failed(kind, number, recipe, stage, traceback.format_exc())


def lacking_cases(file: Path) -> list[str]:
    """The named cases that have not been made, or not as they should be."""
    from tests.faults.runs import named

    made = {line["case"] for line in read(file, "case") if not line["wrong"]}
    return [name for name in named.CASES if name not in made]


def cases(around: Surroundings, names: Sequence[str], file: Path) -> None:
    """Make named cases."""
    from tests.faults.runs import named

    for name in names:
        line = named.make(name, around)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        seen = line["wrong"] or line["seen"]
        print(f"{'WRONG' if line['wrong'] else 'fine':6} {name}: {seen}", flush=True)


def failed(kind: Kind, number: int, recipe: str, stage: str, error: str) -> dict[str, Any]:
    """The line of a fault that could not be made."""
    line = {"number": number, "kind": kind.name, "recipe": recipe, "aimed_at": stage}
    return line | {"result": "no moment", "wrong": [error]}


def told(line: dict[str, Any]) -> str:
    """A fault in one line."""
    where = ",".join(line.get("where", [line["aimed_at"]]))
    text = f"{line['number']:4} {line['result']:6} {line['kind']} [{line.get('configuration')}] "
    text += f"{where}: {line.get('what', '')} ({line.get('seconds', 0)} s)"
    return text + "".join(f"\n       {one}" for one in line.get("wrong", ()))


def read(file: Path, key: str = "number") -> list[dict[str, Any]]:
    """What was made so far, by number or name: the last line of each."""
    if not file.exists():
        return []
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return list({line[key]: line for line in lines}.values())


def lacking_faults(done: Mapping[int, Mapping[str, Any]], first: int, count: int) -> list[int]:
    """Numbers of faults that have not been made, or were not met as they should be."""
    met = {number for number, line in done.items() if line["result"] in ("same", "told")}
    return [number for number in range(first, count) if number not in met]


def choose(
    number: int,
    count: int,
    done: Mapping[int, dict[str, Any]],
    kinds: Sequence[Kind],
    around: Surroundings,
) -> tuple[Kind, str, str]:
    """The kind of a fault, the recipe, and the stage that it shall strike ("" for any moment of the
    run).
    """
    if number in done:
        made = done[number]
        kind = next(kind for kind in KINDS if kind.name == made["kind"])
        return kind, made["recipe"], made["aimed_at"]
    on_ray = [kind for kind in kinds if kind.ray]
    slow = [kind for kind in kinds if is_slow(kind) and not kind.ray]
    quick = [kind for kind in kinds if not is_slow(kind)]
    if on_ray and (number >= count - RAY or not (slow or quick)):
        return rotation(on_ray, number), "loop", ""
    if slow and (number >= count - SLOW or not quick):
        return rotation(slow, number), "loop", ""
    kind = rotation(quick, number)
    stage = lacking(done.values(), around) if number >= UNIFORM else ""
    if stage and kind.engine is not None:  # a worker is not in every stage
        kind = rotation([kind for kind in quick if kind.engine is None], number)
    return kind, "search" if stage in SEARCHING else "loop", stage


def rotation(kinds: Sequence[Kind], number: int) -> Kind:
    """The kind of fault `number`: each by its share, evenly spread."""
    total = sum(kind.share for kind in kinds)
    made: Counter[str] = Counter()
    chosen = kinds[0]
    for turn in range(number + 1):
        chosen = max(kinds, key=lambda k: k.share / total * (turn + 1) - made[k.name])
        made[chosen.name] += 1
    return chosen


def lacking(done: Iterable[Mapping[str, Any]], around: Surroundings) -> str:
    """The stage with the fewest faults, if they are fewer than `LEAST`."""
    steps = around.undisturbed["steps"]
    stages = [step.partition("/")[0] for step in steps["disk, inline"]]
    counted = Counter(dict.fromkeys([*stages, *SEARCHING], 0))
    for line in done:
        if line["result"] != "no moment":
            counted.update({step.partition("/")[0] for step in line["where"] if "/" in step})
    stage, fewest = min(counted.items(), key=lambda pair: pair[1])
    return stage if fewest < LEAST else ""


def is_slow(kind: Kind) -> bool:
    """Whether a fault takes half a minute, as its runs talk with a server."""
    return kind.place == "s3" or kind.prefect or kind.ray


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
        around = Surroundings(work, work / "world", stack, learned(folder / "undisturbed.json"))
        print(f"imports: {time.monotonic() - began:.0f} s", flush=True)
        plain = Kind("undisturbed", lambda scene: "")
        learn(plain, (), "loop", around, folder / "undisturbed.json")
        yield around, kinds


def learned(file: Path) -> dict[str, Any]:
    """What was learned of undisturbed runs before."""
    if file.exists():
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found
    return {"artifacts": {}, "seconds": {}, "steps": {}}


def learn(
    kind: Kind, engine: tuple[str, ...], recipe: str, around: Surroundings, file: Path
) -> None:
    """Run undisturbed as a fault's run does, once: what that makes and how long it takes. The first
    time for a recipe twice, as a report may state how long something took.
    """
    name, found = configuration(kind, engine, recipe), around.undisturbed
    if name in found["seconds"]:
        return
    for _ in range(1 if recipe in found["artifacts"] else 2):
        with around.scene(kind, -1, engine, recipe) as scene:
            run = scene.begin()
            assert run.wait(600) == 0, run.said()
            seconds = time.monotonic() - run.started
            held = judge.held(scene.files)
            assert not held.wrong, held.wrong
            made = {id: list(pair) for id, pair in sorted(held.artifacts.items())}
            known = found["artifacts"].setdefault(recipe, made)
            assert known.keys() == made.keys(), f"{name} makes other artifacts"
            for id, (version, digest) in made.items():
                assert known[id][0] == version, f"{name} makes another {id}"
                if digest != known[id][1]:
                    assert id.startswith("report/"), f"{name} makes another {id}"
                    known[id][1] = ""
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
