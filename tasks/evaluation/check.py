"""Whether the benchmarks can be asked, and the base be read, before anything is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from infra.remote.access import Access
from infra.remote.locations import is_remote
from infra.stage import Fault, Pin, StageError
from tasks.benchmarks import suites
from tasks.benchmarks.model import Benchmark, QuestionProtocol
from tasks.benchmarks.suites import DataSet
from tasks.checkpoints.base import folder_of, open_base
from tasks.checkpoints.tokenizer_files import read_tokenizer
from tasks.checkpoints.weights import read_tensors
from tasks.evaluation.items import Question, questions
from tasks.evaluation.model import load_tokenizer
from tasks.evaluation.preflight import Questions, require_askable, require_beginning
from tasks.evaluation.stage import EvaluationParameters


def faults(
    parameters: EvaluationParameters, pins: Mapping[str, tuple[Pin, ...]], access: Access
) -> Iterator[Fault]:
    """What is wrong with benchmarks and a model on this machine."""
    here = {
        path: found for path, found in pins.items() if not any(is_remote(p.path) for p in found)
    }
    asked: dict[str, dict[QuestionProtocol, list[Question]]] = {}
    partial: list[str] = []
    for task, benchmark in parameters.local_tasks().items():
        paths, dev = here.get(f"benchmarks.{task}.paths"), here.get(f"benchmarks.{task}.dev", ())
        if paths:
            asked[task] = {}
            yield from _of_benchmark(task, benchmark, parameters, paths, dev, asked[task], partial)
    if partial:
        what = f"published figures are of other numbers of items: {', '.join(partial)}"
        yield Fault("suite", f"{what}; docs/suites.md says where to get those", certain=False)
    if model := here.get("model"):
        try:
            for warning in _check_model(model, parameters, asked):
                yield Fault("model", warning, certain=False)
        except StageError as error:
            yield Fault("model", str(error))


def _of_benchmark(
    task: str,
    benchmark: Benchmark,
    parameters: EvaluationParameters,
    paths: Sequence[Pin],
    dev: Sequence[Pin],
    asked: dict[QuestionProtocol, list[Question]],
    partial: list[str],
) -> Iterator[Fault]:
    """The faults of a benchmark; puts its questions by protocol into `asked`, and into `partial`
    how many there are where the published data set has another number.
    """
    data = suites.data_of(benchmark.suite, task)
    if data is not None:
        other = [
            *_other_versions(f"benchmarks.{task}.paths", data, paths),
            *_other_versions(f"benchmarks.{task}.dev", data, dev),
        ]
        if other:
            yield from other
            return
    items = 0
    for protocol in benchmark.asked_by(parameters.protocols):
        try:
            asked[protocol] = questions(
                task,
                benchmark,
                benchmark.style_for(protocol),
                _paths(paths),
                _paths(dev),
                shots=parameters.shots.get(task, benchmark.shots),
                limit=parameters.limit,
                generated=protocol == "exact-match",
            )
        except StageError as error:
            yield Fault(f"benchmarks.{task}.paths", str(error))
            return
        items = len(asked[protocol])
    limited = benchmark.limit is not None or parameters.limit is not None
    if data is not None and data.items and items and not limited and items != data.items:
        partial.append(f"{task} of {data.items:,} (here {items:,})")


def _other_versions(parameter: str, data: DataSet, pins: Sequence[Pin]) -> Iterator[Fault]:
    """Files whose checksum is known and another."""
    for pin in pins:
        path = f"/{pin.path.lstrip('/')}"
        expected = next((s for end, s in data.checksums.items() if path.endswith(f"/{end}")), "")
        if expected and pin.sha256 and pin.sha256 != expected:
            yield Fault(
                parameter,
                f"{pin.path} is another version than the suite's: its sha256 is {pin.sha256}, not "
                f"{expected}; get {data.get}, or state the benchmark in the recipe without suite",
            )


def _paths(pins: Sequence[Pin]) -> list[Path]:
    return [Path(pin.path) for pin in pins]


def _check_model(
    pins: Sequence[Pin], parameters: EvaluationParameters, asked: Questions
) -> Iterator[str]:
    """Sentences on prompts that do not fit; `StageError` if the model cannot be read or asked."""
    folder = folder_of(pins)
    with tempfile.TemporaryDirectory() as scratch:
        opened = open_base(folder, Path(scratch), weights=False)
        pickles = any(folder.glob("pytorch_model*.bin"))  # which can be evaluated, if not trained
        if opened == folder and not pickles:
            read_tensors(folder)
        scores_text = "bits-per-byte" in parameters.protocols or parameters.long_text is not None
        if any(asked.values()) or scores_text:
            read_tokenizer(opened)  # so that a damaged file is told as other stages tell it
            model = load_tokenizer(opened, parameters.max_length)
            require_beginning(parameters, replace(model, folder=folder))
            yield from require_askable(parameters.benchmarks, asked, model)
