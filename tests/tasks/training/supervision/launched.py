"""What a test's launcher starts in place of training processes: ranks that act a scene in plain
Python, so that supervision is tested in seconds.

    python launched.py SCENE ... SPEC.json

Every start appends a line to `starts` beside the scratch folder; scenes know their number by it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4]))

from infra.engine.launch import exit_with_parent
from tasks.training.supervision.rank_record import RankRecorder


def say(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class Scene:
    """The ranks of a start, acted by one process."""

    def __init__(self, spec: Path) -> None:
        self.values = json.loads(spec.read_text())
        self.folder = Path(self.values["supervised"])
        self.scratch = Path(self.values["scratch"])
        with (self.scratch / "starts").open("a") as file:
            file.write(f"{os.getpid()}\n")
        self.number = len((self.scratch / "starts").read_text().splitlines())

    def rank(self, rank: int, world_size: int) -> RankRecorder:
        return RankRecorder(self.folder, rank, world_size)

    def trains(self, record: RankRecorder, first: int, last: int) -> None:
        record.reached("training")
        say({"training": {"step": first}})
        for step in range(first + 1, last + 1):
            line = {"step": step, "step_s": 1.0, "checkpoint_s": 0.0}
            with (self.scratch / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            say({"progress": line})

    def fails_at_once(self) -> int:
        sys.stderr.write("queue: account expired\n")
        return 3

    def starts_nothing(self) -> int:
        return 0

    def half_of_the_ranks(self) -> int:
        self.rank(0, 4), self.rank(2, 4)
        exit_with_parent()
        time.sleep(600)
        return 0

    def hangs(self) -> int:
        # in a session of its own and deaf, as a launcher's ranks may be
        deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True)
        (self.scratch / "child").write_text(str(child.pid))
        time.sleep(600)
        return 0

    def is_killed_twice_on_its_way(self) -> int:
        record = self.rank(0, 1)
        self.trains(record, (self.number - 1) * 2, self.number * 2)
        if self.number < 3:
            os.kill(os.getpid(), signal.SIGKILL)
        record.ended("done")
        say({"done": {"steps": 6}})
        return 0

    def is_killed_at_the_same_step(self) -> int:
        self.trains(self.rank(0, 1), 0, 2)
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def is_killed_always(self) -> int:
        self.trains(self.rank(0, 1), self.number - 1, self.number)
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def has_bad_data(self) -> int:
        record = self.rank(0, 1)
        self.trains(record, 0, 1)
        record.ended("error", "the data is bad; mend it")
        say({"error": "the data is bad; mend it"})
        return 1

    def has_a_bug(self) -> int:
        record = self.rank(0, 1)
        self.trains(record, 0, 1)
        record.ended("unforeseen", "KeyError: 'x'")
        raise KeyError("x")

    def second_rank_runs_out_of_memory(self) -> int:
        main, second = self.rank(0, 2), self.rank(1, 2)
        self.trains(main, 0, 0)
        second.reached("training")
        second.ended("memory", "memory ran out on cuda:1 in step 1. Lower training.micro_batch")
        main.ended("lost", "RuntimeError: gloo: Connection closed by peer")
        say({"error": "RuntimeError: gloo: Connection closed by peer"})
        return 1

    def saves_when_asked(self) -> int:
        record = self.rank(0, 1)
        self.trains(record, 0, 1)
        while not (self.scratch / "stop").exists():
            time.sleep(0.01)
        record.ended("interrupted")
        return 75


if __name__ == "__main__":
    sys.exit(getattr(Scene(Path(sys.argv[-1])), sys.argv[1])())
