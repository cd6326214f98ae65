"""What a finished stage publishes on the dashboard."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from flows.monitoring import dashboard
from infra.ledger import Ledger


def published(monkeypatch: pytest.MonkeyPatch, statistics: dict[str, Any]) -> dict[str, Any]:
    """Key -> content of what `finished` creates."""
    found: dict[str, Any] = {}
    for kind in ("table", "markdown"):
        monkeypatch.setattr(
            dashboard,
            f"create_{kind}_artifact",
            lambda content, key, description: found.update({key: content}),
        )
    artifact: Any = SimpleNamespace(ledger=Ledger(), statistics=statistics)
    step: Any = SimpleNamespace(id="training/inject")
    dashboard.Dashboard().finished(step, artifact, 1.0)
    return found


def test_notes_of_a_stage_are_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    note = (
        "the loss is 699.12 (the median of its last 16 steps), above 10.37, that of guessing " * 2
    )
    found = published(monkeypatch, {"steps": 3, "notes": [note, "other"]})
    assert found["notes-training-inject"] == f"- {note}\n- other"
    assert {"statistic": "steps", "value": "3"} in found["statistics-training-inject"]
    assert "notes-training-inject" not in published(monkeypatch, {"steps": 3, "notes": []})
