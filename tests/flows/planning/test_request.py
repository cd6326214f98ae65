"""A run's options: equal requests from the command line and from a flow's parameters."""

from __future__ import annotations

import dataclasses
import inspect
import json

import pytest

from flows.planning.request import RunRequest, Selection


def test_a_request_survives_the_flow_s_json_parameters() -> None:
    request = RunRequest.of(
        "configs/demo.yaml",
        ["a=1"],
        "memory://x",
        only=["toy"],
        from_stage="toy/a",
        until_stage="toy/b",
        force=["toy/c"],
        pin=["toy/d=3fa9"],
    )
    assert request.selection == Selection(("toy",), "toy/a", "toy/b", ("toy/c",), {"toy/d": "3fa9"})
    assert RunRequest.of(**json.loads(json.dumps(request.parameters()))) == request
    bare = RunRequest.of("r.yaml")
    assert RunRequest.of(**json.loads(json.dumps(bare.parameters()))) == bare


def test_a_request_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunRequest.of("r.yaml").store = "other"  # type: ignore[misc]


def test_the_flow_takes_exactly_the_parameters_of_a_request() -> None:
    from flows.pipeline import pipeline

    names = list(inspect.signature(pipeline.fn).parameters)
    assert sorted(names) == sorted(RunRequest.of("r.yaml").parameters())


def test_a_plan_that_was_handed_over_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import flows.pipeline

    made = []

    class Plan:
        def __init__(self, request: RunRequest) -> None:
            self.request = request
            made.append(request)

        def refuse_unresolved(self) -> None:
            """Nothing is unresolved."""

    monkeypatch.setattr(flows.pipeline, "prepare", Plan)
    mine = Plan(RunRequest.of("r.yaml", force=["toy"]))
    # From elsewhere, and for other parameters than those it was made for, the flow plans itself.
    assert flows.pipeline._prepared(mine.request) is not mine and len(made) == 2
    flows.pipeline._PREPARED.set(mine)
    assert flows.pipeline._prepared(RunRequest.of("r.yaml")) is not mine and len(made) == 3
    assert flows.pipeline._prepared(RunRequest.of("r.yaml", force=["toy"])) is mine
    assert len(made) == 3
    flows.pipeline._PREPARED.set(None)
