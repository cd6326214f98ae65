"""Runs every protocol on every task for one model, and keeps each result as soon as it is there.

A measurement is one protocol on one task (or one category of held-out text). Its result is a JSON
file in the output folder, so that a killed evaluation resumes where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from infra.io.files import replacing
from tasks.benchmarks.model import AnyOf, QuestionProtocol
from tasks.benchmarks.scores import ANY, PREFIXES, SAMPLE_FIELDS
from tasks.evaluation.any_of import right_by_any
from tasks.evaluation.evaluator import Evaluator, questions_of
from tasks.evaluation.items import Question
from tasks.evaluation.measured import (
    EARLIER,
    HELDOUT,
    LONG_TEXT,
    Measurement,
    Spec,
    unscored,
)
from tasks.evaluation.stage import EvaluationParameters

RESULTS_FOLDER = "pieces"
"""Folder, in the output folder, of the results of single measurements."""

NOTES = "notes.json"

OnProgress = Callable[[float, float], None]
"""Called with the measurements done and their total."""


def measurements(spec: Spec, parameters: EvaluationParameters) -> list[Measurement]:
    """The measurements of a spec: tasks in recipe order, by every protocol, then held-out text."""
    work: list[Measurement] = []
    for task, benchmark in parameters.local_tasks().items():
        work.extend(
            Measurement(protocol, task) for protocol in benchmark.asked_by(parameters.protocols)
        )
    if "harness" in parameters.protocols:
        work.extend(Measurement("hub", task) for task in parameters.hub)
    if "bits-per-byte" in parameters.protocols:
        work.extend(Measurement("bits-per-byte", text) for text in spec.texts())
    if parameters.long_text is not None:
        work.extend(Measurement(LONG_TEXT, category) for category in sorted(spec.heldout))
    return work


def evaluate(spec: Spec, on_progress: OnProgress) -> dict[str, dict[str, Any]]:
    """Make the measurements that have no result yet; returns the rows of all.

    Writes `results.json`, `samples/*.jsonl` and, if there are notes, `notes.json` (sentences).
    """
    parameters = EvaluationParameters.model_validate(spec.parameters)
    output = Path(spec.output)
    output.mkdir(parents=True, exist_ok=True)
    work = measurements(spec, parameters)
    todo = [item for item in work if not (output / RESULTS_FOLDER / item.file).exists()]
    if todo:
        _require_askable(spec, parameters, todo)
        evaluator = Evaluator(spec, parameters)
        for done, measurement in enumerate(todo, len(work) - len(todo)):
            on_progress(done, len(work))
            result = asdict(evaluator.measure(measurement))
            with replacing(output / RESULTS_FOLDER / measurement.file) as path:
                path.write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")
    notes, missing = _without_text(spec, parameters)
    results: dict[str, dict[str, Any]] = {}
    answered: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for measurement in work:
        path = output / RESULTS_FOLDER / measurement.file
        stored = json.loads(path.read_text(encoding="utf-8"))
        notes += stored["notes"]
        for row, metrics in stored["rows"].items():
            results.setdefault(row, {}).update(metrics)
        _write_samples(output, measurement, stored["samples"])
        answered.setdefault(measurement.task, {})[measurement.protocol] = stored["samples"]
    for task, benchmark in parameters.local_tasks().items():
        if isinstance(benchmark.metric, AnyOf):
            given = [answered[task][protocol] for protocol in benchmark.metric.any]
            rows, samples = right_by_any(task, given)
            for row, metrics in rows.items():
                results[row].update(metrics)
            _write_samples(output, Measurement(ANY, task), samples)
    for row in results.values():
        # A row needs an `n`, also if the harness's protocol did not score the task.
        for counted in [row[f"{prefix}n"] for prefix in PREFIXES if f"{prefix}n" in row]:
            row.setdefault("n", counted)
    results = dict(sorted((results | missing).items(), key=lambda row: _place(row[0])))
    with replacing(output / "data" / "results.json") as path:
        path.write_text(json.dumps(results, ensure_ascii=False, indent=1), encoding="utf-8")
    if notes:
        with replacing(output / "data" / NOTES) as path:
            path.write_text(json.dumps(notes, ensure_ascii=False, indent=1), encoding="utf-8")
    on_progress(len(work), len(work))
    return results


def _require_askable(
    spec: Spec, parameters: EvaluationParameters, todo: Sequence[Measurement]
) -> None:
    """Refuse what cannot be asked before the weights are read, which may take long."""
    from tasks.evaluation.model import load_tokenizer
    from tasks.evaluation.preflight import require_askable, require_beginning

    asked: dict[str, dict[QuestionProtocol, list[Question]]] = {}
    for measurement in todo:
        for protocol in get_args(QuestionProtocol):
            if measurement.protocol == protocol:
                found = questions_of(spec, parameters, measurement.task, protocol)
                asked.setdefault(measurement.task, {})[protocol] = found
    texts = any(item.protocol in ("bits-per-byte", LONG_TEXT) for item in todo)
    if asked or texts:
        model = load_tokenizer(Path(spec.model), parameters.max_length)
        require_beginning(parameters, model, held_out=texts)
        # What it warns of is counted when the questions are asked.
        list(require_askable(parameters.benchmarks, asked, model))


def _write_samples(
    output: Path, measurement: Measurement, samples: Sequence[dict[str, Any]]
) -> None:
    if not samples:
        return
    ending = f".{measurement.protocol}" if f".{measurement.protocol}" in SAMPLE_FIELDS else ""
    name = f"{measurement.task.replace('/', '__')}{ending}.jsonl"
    with replacing(output / "data" / "samples" / name) as path:
        lines = (json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples)
        path.write_text("".join(lines), encoding="utf-8")


def _without_text(
    spec: Spec, parameters: EvaluationParameters
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """(notes, rows) for categories that cannot be scored because none of their text is held out."""
    measures = {}
    if "bits-per-byte" in parameters.protocols:
        measures[HELDOUT] = "bits per byte"
    if parameters.long_text is not None:
        measures[LONG_TEXT] = "long text"
    notes = []
    if not spec.heldout:
        advice = "there is no held-out text; hold some out in `select`"
        notes = [f"{name}: {advice}" for name in measures.values()]
    elif measures:
        notes = [
            f"category {category}: {why}" for category, why in sorted(spec.not_held_out.items())
        ]
    rows = {
        f"{prefix}/{category}": unscored("nothing held out")
        for prefix in measures
        for category in spec.not_held_out
    }
    return notes, rows


def _place(row: str) -> tuple[int, str]:
    """Sort key of a row: tasks in order of work, then held-out text and long text by category."""
    kind, _, rest = row.partition("/")
    kinds = (HELDOUT, EARLIER, LONG_TEXT)
    if kind not in kinds:
        return 0, ""
    return 1 + kinds.index(kind), rest.partition("/")[0]
