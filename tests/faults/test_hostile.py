"""Hostile recipes and models, as `make hostile` meets them with many others; `puna plan` runs in
this process, which is ten times as fast.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tests.faults.hostile import documents, models, recipes, remote
from tests.faults.hostile.case import PUNA, Case, Seen, fault
from tests.faults.hostile.table import CASES


def planned() -> list[Case]:
    """Those of recipes and models."""
    assert {case.make.__module__ for case in CASES} == {
        module.__name__ for module in (documents, models, recipes, remote)
    }
    return [case for case in CASES if case.make.__module__ in (models.__name__, recipes.__name__)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", planned(), ids=lambda case: case.name)
def test_it_is_met_in_words(tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    made = case.make(folder)
    assert isinstance(made, list)
    if len(made) > 1 or made[0][0] != PUNA:
        pytest.skip("runs stages: make hostile")
    began = time.monotonic()
    result = CliRunner().invoke(app, made[0][1:])
    said = result.output
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    seen = Seen(result.exit_code, said, time.monotonic() - began, 0)
    assert not fault(case, seen, folder)
