"""Trackers: what reaches them, and that none of them can stop training."""

from __future__ import annotations

import contextvars
import importlib
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tasks.training.monitoring.trackers import Tracking


class Fake(types.ModuleType):
    """Stands for trackio or wandb."""

    def __init__(self, name: str, fails_at: str = "") -> None:
        super().__init__(name)
        self.calls: list[tuple[str, Any]] = []
        self.fails_at = fails_at
        self.run: contextvars.ContextVar[str] = contextvars.ContextVar("run")

    def _call(self, what: str, value: Any) -> None:
        if what == self.fails_at:
            raise RuntimeError(f"no {what} today\nand a second line")
        self.calls.append((what, value))
        print("a tracker that talks")  # noqa: T201

    def init(self, **options: Any) -> None:
        self._call("init", options)
        self.run.set("begun")  # trackio keeps its run so, for each thread

    def define_metric(self, name: str, step_metric: str) -> None:
        self._call("define_metric", (name, step_metric))

    def Settings(self, **options: Any) -> dict[str, Any]:
        return options

    def log(self, values: dict[str, float], step: int) -> None:
        self._call("log", (values, step))

    def finish(self) -> None:
        self._call("finish", self.run.get())


def track(kind: Any, folder: Path) -> Tracking:
    return Tracking(kind, "basic", "0123abcd", {"batch": 256}, folder)


@pytest.mark.parametrize("kind", ["wandb", "trackio"])
def test_metrics_reach_the_tracker_and_nothing_reaches_stdout(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = Fake(kind)
    monkeypatch.setitem(sys.modules, kind, fake)
    tracking = track(kind, tmp_path)
    tracking.log({"loss": 2.0, "tokens": 512}, 2)
    tracking.close()
    assert ("log", ({"loss": 2.0, "tokens": 512}, 2)) in fake.calls
    assert fake.calls[0][1]["config"] == {"batch": 256} and fake.calls[-1] == ("finish", "begun")
    assert capsys.readouterr().out == ""  # where the training process sends its messages


@pytest.mark.parametrize("kind", ["wandb", "trackio"])
@pytest.mark.parametrize("fails_at", ["init", "log", "finish"])
def test_a_tracker_that_fails_is_told_of_once_and_left_out(
    kind: str,
    fails_at: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, kind, Fake(kind, fails_at))
    tracking = track(kind, tmp_path)
    for step in (1, 2, 3):
        tracking.log({"loss": 1.0}, step)
    tracking.close()
    assert not tracking.is_on
    assert [record.message.partition(" (")[2] for record in caplog.records] == [
        f"no {fails_at} today); training goes on without it, and TensorBoard files and "
        "metrics.jsonl have everything"
    ]


def test_a_tracker_that_is_not_installed_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert not track("wandb", tmp_path).is_on
    assert "pip install 'puna[wandb]'" in caplog.text


def test_none_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda name: pytest.fail(f"imported {name}"))
    tracking = track("none", tmp_path)
    assert not tracking.is_on
    tracking.log({"loss": 1.0}, 1)
    tracking.close()
    assert list(tmp_path.iterdir()) == []
