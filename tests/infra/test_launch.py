"""Launching a stage's process: lines arrive, failures explain themselves, nothing outlives the
parent.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from infra.engine.launch import BOOTSTRAP, LaunchError, launch, launch_module, safe_environment

WATCH = "from infra.engine.launch import exit_with_parent"
ROOT = Path(__file__).resolve().parents[2]


def script(folder: Path, body: str) -> list[str]:
    path = folder / "child.py"
    path.write_text(f"import sys, os, time\nsys.path.insert(0, {str(ROOT)!r})\n{body}\n")
    return [sys.executable, str(path)]


def test_lines_and_environment_arrive(tmp_path: Path) -> None:
    lines: list[str] = []
    command = script(tmp_path, "print(open(sys.argv[1]).read()); print(os.environ['WORD'])")
    (tmp_path / "spec.json").write_text("{}")
    launch([*command, str(tmp_path / "spec.json")], lines.append, environment={"WORD": "grass"})
    assert lines == ["{}", "grass"]


def test_failure_carries_the_tail_of_stderr(tmp_path: Path) -> None:
    command = script(tmp_path, "sys.stderr.write('\\n'.join(map(str, range(1000)))); sys.exit(3)")
    with pytest.raises(LaunchError, match="exited with status 3:") as caught:
        launch(command, print)
    assert caught.value.tail.splitlines() == [str(n) for n in range(960, 1000)]
    assert caught.value.returncode == 3


def test_child_is_told_then_killed_when_a_listener_raises(tmp_path: Path) -> None:
    def refuse(line: str) -> None:
        raise RuntimeError(line)

    polite = f"{WATCH}\nexit_with_parent(lambda: open('told', 'w').close(), grace_s=0)"
    sleep = "print(os.getpid(), flush=True)\ntime.sleep(600)"
    command = script(tmp_path, f"os.chdir({str(tmp_path)!r})\n{polite}\n{sleep}")
    with pytest.raises(RuntimeError) as caught:
        launch(command, refuse)
    assert (tmp_path / "told").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(str(caught.value)), 0)
    with pytest.raises(RuntimeError) as caught:
        launch(script(tmp_path, sleep), refuse, grace_s=0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(int(str(caught.value)), 0)


def test_child_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    child = script(
        tmp_path,
        f"{WATCH}\nexit_with_parent()\nprint(os.getpid(), flush=True)\ntime.sleep(600)",
    )
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom "
        f"infra.engine.launch import launch\nlaunch({child!r}, lambda line: print(line, "
        "flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    for _ in range(12_000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the child was still there after two minutes")


def test_environment_of_children_drops_the_working_directory_and_keeps_the_users_folders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = str(BOOTSTRAP.parent)
    for given, expected in (
        ("", [own]),
        (":/a::/b:", [own, "/a", "/b"]),
        (f"/a:{own}", [own, "/a"]),
    ):
        monkeypatch.setenv("PYTHONPATH", given)
        assert safe_environment() == {
            "PYTHONSAFEPATH": "1",
            "PYTHONPATH": os.pathsep.join(expected),
        }


def test_a_module_is_ours_from_any_folder_and_says_objects_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tasks.py", "infra.py", "json.py"):
        (tmp_path / name).write_text("raise RuntimeError('the wrong one')")
    monkeypatch.chdir(tmp_path)
    messages: list[dict[str, Any]] = []
    path = tmp_path / "path"
    path.mkdir()
    (path / "tasks.py").write_text("raise RuntimeError('the wrong one')")
    (path / "said.py").write_text(
        "import sys, os, json, tasks, infra\nprint('a library speaks')\nprint('[1]')\n"
        "print(json.dumps({'tasks': tasks.__file__, 'argv': sys.argv[1:], 'threads': "
        "os.environ['OMP_NUM_THREADS']}))"
    )
    monkeypatch.setenv("PYTHONPATH", str(path))
    launch_module("said", tmp_path / "spec.json", messages.append, cpu_threads=3)
    ours = str(ROOT / "tasks" / "__init__.py")
    assert messages == [{"tasks": ours, "argv": [str(tmp_path / "spec.json")], "threads": "3"}]
