"""Whether the benchmarks can be asked, and the base be read, before anything is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from infra.remote.access import Access
from infra.remote.locations import is_remote
from infra.stage import Fault, Pin, StageError
from tasks.checkpoints.base import folder_of, open_base
from tasks.checkpoints.weights import read_tensors
from tasks.evaluation.items import questions
from tasks.evaluation.stage import EvaluationParameters


def faults(
    parameters: EvaluationParameters, pins: Mapping[str, tuple[Pin, ...]], access: Access
) -> Iterator[Fault]:
    """What is wrong with benchmarks and a model on this machine."""
    here = {
        path: found for path, found in pins.items() if not any(is_remote(p.path) for p in found)
    }
    for task, benchmark in parameters.local_tasks().items():
        path = f"benchmarks.{task}.paths"
        if not here.get(path):
            continue
        try:
            questions(
                task,
                benchmark,
                benchmark.resolved_style(),
                _paths(here[path]),
                _paths(here.get(f"benchmarks.{task}.dev", ())),
                shots=parameters.shots.get(task, benchmark.shots),
                limit=parameters.limit,
            )
        except StageError as error:
            yield Fault(path, str(error))
    if model := here.get("model"):
        try:
            _require_whole(model)
        except StageError as error:
            yield Fault("model", str(error))


def _paths(pins: Sequence[Pin]) -> list[Path]:
    return [Path(pin.path) for pin in pins]


def _require_whole(pins: Sequence[Pin]) -> None:
    folder = folder_of(pins)
    with tempfile.TemporaryDirectory() as scratch:
        opened = open_base(folder, Path(scratch), weights=False)
        pickles = any(folder.glob("pytorch_model*.bin"))  # which can be evaluated, if not trained
        if opened == folder and not pickles:
            read_tensors(folder)
