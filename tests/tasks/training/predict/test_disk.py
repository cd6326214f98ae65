"""Predicted disk beside what a training wrote."""

from __future__ import annotations

from tasks.checkpoints.shapes import SHAPES
from tasks.training.phases.facts import facts
from tasks.training.phases.section import TrainingSection
from tasks.training.predict.disk import Disk
from tasks.training.predict.prediction import predict

LLAMA = SHAPES["llama-2-7b"]


def disk(**values: object) -> Disk | None:
    section = TrainingSection.model_validate({"batch": "8 rows", "keep": 2, **values})
    return predict(section, facts(section, 4096, ["text"], {}), LLAMA).disk


def phases(*stated: dict[str, object]) -> list[dict[str, object]]:
    return [
        {"name": f"p{n}", "tokens": "100 rows", "mixture": {"text": 1.0}} | more
        for n, more in enumerate(stated)
    ]


def test_a_phase_leaves_its_model_and_moments_and_checkpoints_hold_what_it_trains() -> None:
    whole = LLAMA.parameters
    assert disk(phases=phases({}, {})) == Disk(2 * 12 * whole, 3 * 12 * whole, 2 * 409_600 * 8)
    rows = LLAMA.embeddings  # input and output
    assert disk(phases=phases({"trainable": "embeddings"})) == Disk(
        4 * whole + 8 * rows, 3 * 12 * rows, 409_600 * 8
    )


def test_an_adapter_is_small() -> None:
    found = disk(adapter={"kind": "lora", "r": 8, "alpha": 8}, phases=phases({}))
    assert found is not None
    added = (found.finished - 4 * LLAMA.parameters) // 4
    assert 0 < added < LLAMA.parameters / 100 and found.running == 3 * 12 * added


def test_a_phase_without_length_has_no_disk() -> None:
    assert disk(phases=phases({"tokens": "1 epochs"})) is None
