"""One fault: a run is struck at a moment, what it said and left is judged, and the next runs have
to end as an undisturbed one does.
"""

from __future__ import annotations

import contextlib
import functools
import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.faults.runs import judge, warm
from tests.faults.runs.kinds import PROCESSES, Kind, fits
from tests.faults.runs.nodes import Nodes
from tests.faults.runs.places import S3, Disk, Prefect
from tests.faults.runs.scene import RUN_LIMIT_S, Scene

Result = Literal["same", "told", "FAULT"]

LEFT_BEHIND_S = 20.0
TRIES = 12
"""How often a moment is drawn again, where the run had ended or there was nothing to strike."""

MOST_ROUNDS = 8
"""How often what a message advises is done, before it counts as leading nowhere."""

OUTSIDE = ("planning", "between stages", "the end")


@dataclass
class Surroundings:
    """What faults share: the world, what an undisturbed run makes and how long it takes."""

    folder: Path
    world: Path
    stack: contextlib.ExitStack
    undisturbed: dict[str, Any]
    """`artifacts`: recipe -> step -> [version, digest]; `seconds`: configuration -> length of a
    run; `steps`: configuration -> step -> [begin, seconds].
    """

    @functools.cached_property
    def s3(self) -> S3:
        """Started when it is first needed, as the others."""
        return self.stack.enter_context(S3(self.folder / "s3"))

    @functools.cached_property
    def prefect(self) -> Prefect:
        """A server of its own."""
        return self.stack.enter_context(Prefect(self.folder / "prefect"))

    @functools.cached_property
    def nodes(self) -> Nodes:
        """Two nodes of Ray."""
        return self.stack.enter_context(Nodes())

    def scene(self, kind: Kind, number: int, engine: tuple[str, ...], recipe: str) -> Scene:
        """A new scene for a kind of fault."""
        rng = random.Random(f"fault {number}")
        folder = self.folder / f"fault-{number}-{time.monotonic_ns()}"
        shutil.copytree(self.world, folder / "world")
        file, disk = folder / "world" / f"{recipe}.yaml", None
        store = str(folder / "store")
        files = Path(store)
        if kind.place == "disk":
            disk = Disk(folder / "disk")
            files = folder / "disk" / "store"
            store = str(files)
        elif kind.place == "s3":
            store, files = (
                f"s3://{S3.BUCKET}/{folder.name}",
                self.s3.folder / S3.BUCKET / folder.name,
            )
        scene = Scene(folder, file, store, files, rng, engine, disk)
        scene.s3 = self.s3 if kind.place == "s3" else None
        scene.prefect = self.prefect if kind.prefect else None
        scene.clock = folder / "clock" if kind.moved_clock else None
        if kind.ray:
            scene.nodes = self.nodes
            scene.environment |= self.nodes.environment
        return scene


def configuration(kind: Kind, engine: tuple[str, ...], recipe: str) -> str:
    """Where and how a run works, by which its length is known."""
    how = "ray" if kind.ray else "processes" if engine else "inline"
    prefect = ", Prefect" if kind.prefect else ""
    other = f", {recipe}" if recipe != "loop" else ""
    return f"{'s3' if kind.place == 's3' else 'disk'}, {how}{prefect}{other}"


def engine_of(kind: Kind, number: int, around: Surroundings) -> tuple[str, ...]:
    """Words that choose a run's engine: every third with worker processes where the kind leaves
    it.
    """
    if kind.ray:
        words: tuple[str, ...] = around.nodes.engine
        return words
    if kind.engine is not None:
        return kind.engine
    return PROCESSES if number % 3 == 2 else ()


def strike(
    kind: Kind,
    number: int,
    around: Surroundings,
    engine: tuple[str, ...],
    recipe: str = "loop",
    stage: str = "",
) -> dict[str, Any]:
    """Make fault `number`, at a moment of the whole run or of a `stage`; its line of the table."""
    rng = random.Random(f"moment {number}")
    configured = configuration(kind, engine, recipe)
    began = time.monotonic()
    for drawn in range(TRIES):
        with around.scene(kind, number, engine, recipe) as scene:
            found = _once(kind, scene, around, rng, configured, stage)
            if found is not None:
                return {
                    "number": number,
                    "kind": kind.name,
                    "configuration": configured,
                    "recipe": recipe,
                    "aimed_at": stage,
                    "drawn_again": drawn,
                    **found,
                    "seconds": round(time.monotonic() - began, 1),
                }
    return {
        "number": number,
        "kind": kind.name,
        "configuration": configured,
        "recipe": recipe,
        "aimed_at": stage,
        "result": "no moment",
    }


def _once(
    kind: Kind,
    scene: Scene,
    around: Surroundings,
    rng: random.Random,
    configured: str,
    stage: str,
) -> dict[str, Any] | None:
    """As `strike`; None where the run had ended, or there was nothing to strike."""
    run = scene.begin(*kind.more)
    if not _wait_for_moment(run, configured, around, rng, stage):
        return None
    at = time.monotonic() - run.started
    where = place_of(run)
    if stage and stage not in [step.partition("/")[0] for step in where]:
        return None
    did = kind.strike(scene)
    if not did:
        return None
    statuses = [one.wait(RUN_LIMIT_S) for one in list(scene.runs)]
    kind.mend(scene)
    if kind.inputs and where == [OUTSIDE[0]] and statuses[0] == 0:
        return None  # it read another input from its beginning, and says so by its versions
    found: dict[str, Any] = {
        "what": did,
        "at_s": round(at, 3),
        "of_s": round(around.undisturbed["seconds"][configured], 3),
        "where": where,
        "status": statuses[0],
        "said": judge.error_of(run.said()),
    }
    artifacts = around.undisturbed["artifacts"][scene.recipe.stem]
    reference = {id: tuple(pair) for id, pair in artifacts.items()}
    wrong = [
        problem
        for one, status in zip(list(scene.runs), statuses, strict=True)
        if (problem := fits(kind, status, one.said()))
        or (status in (1, 2) and (problem := judge.unclear(one.said())))
    ]
    if not wrong and not kind.damages:
        wrong = judge.compared(judge.held(scene.files), reference, whole=False)
    told: list[str] = []
    if not wrong:
        wrong = settle(scene, kind, reference, told)
    if not wrong:
        wrong = _left_behind(scene)
    if not wrong and scene.prefect is not None:
        wrong = _unfinished(scene)
    said = (1, 2) if not kind.damages else (-1,)
    result: Result = "FAULT" if wrong else "told" if told or statuses[0] in said else "same"
    return found | {"rounds": len(told), "told": told[:1], "result": result, "wrong": wrong[:5]}


def _wait_for_moment(
    run: warm.Run, configured: str, around: Surroundings, rng: random.Random, stage: str
) -> bool:
    """Wait for a moment drawn from the whole run, or from a stage; whether it came."""
    if not stage:
        moment = run.started + rng.uniform(0, around.undisturbed["seconds"][configured])
        while time.monotonic() < moment and run.poll() is None:
            time.sleep(min(0.01, max(0.0, moment - time.monotonic())))
        return run.poll() is None
    steps = around.undisturbed["steps"][configured]
    of_stage = sorted(step for step in steps if step.partition("/")[0] == stage)
    step = rng.choice(of_stage)
    share = rng.random()
    while run.poll() is None:
        begun = next((at for what, one, at in run.events() if (what, one) == ("begin", step)), None)
        if begun is not None:
            time.sleep(max(0.0, run.started + begun + share * steps[step][1] - time.monotonic()))
            return run.poll() is None
        time.sleep(0.0005)
    return False


def place_of(run: warm.Run) -> list[str]:
    """The steps that a run is in, or one of `OUTSIDE`."""
    running = run.running()
    if running:
        return running
    events = run.events()
    if not events:
        return [OUTSIDE[0]]
    return [OUTSIDE[2] if events[-1][1].startswith("report/") else OUTSIDE[1]]


def settle(
    scene: Scene, kind: Kind, reference: dict[str, tuple[str, str]], told: list[str]
) -> list[str]:
    """Run again, undisturbed, and do what messages say, until all is there; what is wrong then.
    `told` gets the messages that said what to do.
    """
    more: list[str] = []
    for _ in range(MOST_ROUNDS):
        run = scene.begin(*more)
        status, said = run.wait(RUN_LIMIT_S), run.said()
        if status == 0 and kind.damages:
            check = scene.puna("artifacts", "verify")
            status = check.wait(RUN_LIMIT_S)
            said = check.said() + (check.folder / "stdout").read_text()
        if status == 0:
            found = judge.held(scene.files)
            return judge.compared(found, reference, whole=True) or [
                f"left over: {name}" for name in judge.left_over(scene.files)[:3]
            ]
        if not kind.damages:
            return [f"the next run ended with {status}: {said.strip()[-600:]}"]
        advice = judge.advice_in(said)
        if advice is None:
            return [f"says nothing to do ({status}): {said.strip()[-600:]}"]
        told.append(judge.error_of(said) or said.strip())
        if problem := judge.unclear(said) if "error: " in said else "":
            return [problem]
        more = [word for stage in advice.force for word in ("--force", stage)]
        if advice.remove:
            Path(advice.remove).unlink()
    return [f"its advice leads nowhere: {told[-1]}"]


def _left_behind(scene: Scene) -> list[str]:
    deadline = time.monotonic() + LEFT_BEHIND_S
    while True:
        left = [pid for run in scene.runs for pid in run.children()]
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    names = []
    for pid in left:
        try:
            names.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [f"left running: {name}" for name in names]


def _unfinished(scene: Scene) -> list[str]:
    """Flow runs that Prefect holds for unfinished after all runs ended."""
    assert scene.prefect is not None
    states = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING", "SCHEDULED"]}}}
    found = scene.prefect.ask("flow_runs/filter", {"flow_runs": states})
    return [f"Prefect holds {run['name']} for {run['state']['name']}" for run in found]
