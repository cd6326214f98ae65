"""An evaluation process whose disk refuses to be written says so, and the run what to do."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from flows.running.failures import Failure, advise
from infra.engine.launch import LaunchError
from infra.stage import StageError
from tasks.evaluation import __main__ as process
from tasks.evaluation.measured import Spec


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.EROFS, "mounted read-only"), (errno.ENOSPC, "the disk is full")]
)
def test_a_disk_that_refuses_is_named(
    number: int,
    advice: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(spec: Spec, report: Any) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "results.json"))

    spec = Spec("model", {}, {}, {}, {}, str(tmp_path), 1)
    (tmp_path / "spec.json").write_text(json.dumps(dataclasses.asdict(spec)))
    monkeypatch.setattr("tasks.evaluation.evaluate.evaluate", refused)
    assert process.main([str(tmp_path / "spec.json")]) == 1
    reason = json.loads(capsys.readouterr().out)["error"]
    assert reason.startswith(f"{tmp_path}/results.json: {os.strerror(number)}")
    error = StageError(reason)
    error.__cause__ = LaunchError(["python"], 1, "")
    said = advise(Failure(error, "evaluation/learn", str(tmp_path)))
    assert advice in said.action and not said.traceback


def test_another_error_stays_unforeseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(spec: Spec, report: Any) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file", "x")

    spec = Spec("model", {}, {}, {}, {}, str(tmp_path), 1)
    (tmp_path / "spec.json").write_text(json.dumps(dataclasses.asdict(spec)))
    monkeypatch.setattr("tasks.evaluation.evaluate.evaluate", wrong)
    with pytest.raises(FileNotFoundError):
        process.main([str(tmp_path / "spec.json")])
