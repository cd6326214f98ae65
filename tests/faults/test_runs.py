"""A few of the random faults that `make faults` makes by hundreds, always the same ones, and what
judges them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.runs import judge
from tests.faults.runs.kinds import KINDS
from tests.faults.runs.run import lacking_faults, read, rotation
from tests.faults.runs.warm import REPOSITORY

FEW = "^(`kill -9` of the run|SIGTERM|disk full|artifact: a flipped bit|input: a flipped bit)"
COUNT = 5


@pytest.mark.timeout(280)  # half a minute where nobody else uses the machine
def test_struck_runs_end_as_undisturbed_ones(tmp_path: Path) -> None:
    words = ["--count", str(COUNT), "--only", FEW, "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.runs.run", *words],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = f"to make them again: python -m tests.faults.runs.run {' '.join(words)}\n{done.stdout}"
    assert done.returncode == 0, said + done.stderr
    made = read(tmp_path / "faults.jsonl")
    assert [line["result"] in ("same", "told") for line in made] == [True] * COUNT, said


def committed(store: Path, name: str = "toy/main", text: bytes = b"whole") -> Path:
    """A committed artifact as a store holds it; its data file."""
    home = store / name / "abc"
    file = home / "attempt-1" / "data" / "part.txt"
    file.parent.mkdir(parents=True)
    file.write_bytes(text)
    outputs = [{"path": "part.txt", "sha256": judge._sha256(file)}]
    manifest = {"attempt": "attempt-1", "outputs": outputs, "version": "abc", "digest": "d"}
    (home / "manifest.json").write_text(json.dumps(manifest))
    return file


def test_the_judge_sees_what_is_not_whole(tmp_path: Path) -> None:
    file = committed(tmp_path)
    whole = judge.held(tmp_path)
    assert whole.artifacts == {"toy/main": ("abc", "d")} and not whole.wrong
    assert judge.compared(whole, {"toy/main": ("abc", "d")}, whole=True) == []
    assert judge.compared(whole, {"toy/main": ("abc", "")}, whole=True) == []
    (wrong,) = judge.compared(whole, {"toy/main": ("abc", "e")}, whole=True)
    assert "has digest d" in wrong
    assert "has version abc" in judge.compared(whole, {"toy/main": ("abd", "d")}, whole=True)[0]
    both = {"toy/main": ("abc", "d"), "toy/other": ("x", "y")}
    assert judge.compared(whole, both, whole=False) == []
    assert judge.compared(whole, both, whole=True) == ["not there: toy/other"]
    file.write_bytes(b"wholf")
    assert judge.held(tmp_path).wrong == ["toy/main: part.txt differs"]
    file.unlink()
    assert judge.held(tmp_path).wrong == ["toy/main: part.txt is missing"]
    (file.parent / "more.txt").touch()
    assert "toy/main: more.txt is no output" in judge.held(tmp_path).wrong
    manifest = tmp_path / "toy" / "main" / "abc" / "manifest.json"
    manifest.write_text(manifest.read_text()[:-9])
    assert "toy/main: its manifest is damaged" in judge.held(tmp_path).wrong[0]


def test_the_judge_sees_what_is_left_over(tmp_path: Path) -> None:
    file = committed(tmp_path)
    assert judge.left_over(tmp_path) == []
    lease = file.parents[2] / "lease.json"
    lease.write_text(json.dumps({"pid": 2**22 + 1}))
    assert judge.left_over(tmp_path) == []  # of a process that is gone: it holds nothing
    lease.write_text(json.dumps({"pid": os.getpid()}))
    (file.parent / ".part.txt.1.partial").touch()
    assert len(judge.left_over(tmp_path)) == 2


@pytest.mark.parametrize(
    ("said", "force", "remove"),
    [
        ("error: x is damaged. build it again: puna run RECIPE --force cut/main (RECIPE: that of",
         ("cut/main",), ""),
        ("again: puna run RECIPE --force a/b --force c/d~e. To find", ("a/b", "c/d~e"), ""),
        ("/s/a/b/v/manifest.json is damaged (x (char 3)); remove that file and run the recipe "
         "again with --force a/b: the stage", ("a/b",), "/s/a/b/v/manifest.json"),
    ],
)  # fmt: skip
def test_advice_is_found_in_messages(said: str, force: tuple[str, ...], remove: str) -> None:
    assert judge.advice_in(said) == judge.Advice(force, remove)
    assert judge.advice_in("error: something else") is None


def test_kinds_take_turns_by_their_shares() -> None:
    made = Counter(rotation(KINDS, number).name for number in range(300))
    total = sum(kind.share for kind in KINDS)
    for kind in KINDS:
        assert abs(made[kind.name] - 300 * kind.share / total) <= 1.5, kind.name


def test_faults_that_were_not_met_are_made_again() -> None:
    done = {
        number: {"result": result}
        for number, result in enumerate(("same", "FAULT", "told", "no moment"))
    }
    assert lacking_faults(done, 0, 6) == [1, 3, 4, 5] and lacking_faults(done, 2, 5) == [3, 4]
