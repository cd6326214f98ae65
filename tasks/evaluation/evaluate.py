"""Runs every protocol on every task for one model, and keeps each result as soon as it is there.

A measurement is one protocol on one task (or one category of held-out text). Its result is a JSON
file in the output folder, so that a killed evaluation resumes where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from infra.io.files import replacing
from tasks.benchmarks.scores import FIRST_TOKEN
from tasks.documents.heldout import read_heldout
from tasks.evaluation.stage import EvaluationParameters, LongText

HELDOUT = "heldout"
"""Rows of held-out text are named `heldout/<category>`."""

EARLIER = "earlier"
"""Rows of what earlier crawls held out are named `earlier/<category>`."""

LONG_TEXT = "long-text"
"""Rows of loss by position are named `long-text/<category>` and, per bucket of positions,
`long-text/<category>/<first byte>-<last byte>`.
"""

RESULTS_FOLDER = "pieces"
"""Folder, in the output folder, of the results of single measurements."""

NOTES = "notes.json"

OnProgress = Callable[[float, float], None]
"""Called with the measurements done and their total."""


@dataclass(frozen=True)
class Spec:
    """The job of an evaluation process; paths are local.

    `files`, `dev`: benchmark -> its files. `heldout`: category -> JSONL files. `output`: folder for
    results. `not_held_out`: category without held-out text -> why. `earlier`: as `heldout`, of
    earlier crawls.
    """

    model: str
    parameters: dict[str, Any]
    files: dict[str, list[str]]
    dev: dict[str, list[str]]
    heldout: dict[str, list[str]]
    output: str
    cpu_threads: int
    not_held_out: dict[str, str] = field(default_factory=dict)
    earlier: dict[str, list[str]] = field(default_factory=dict)

    def texts(self) -> dict[str, list[str]]:
        """Name of a row of held-out text -> its files."""
        return {f"{HELDOUT}/{name}": self.heldout[name] for name in sorted(self.heldout)} | {
            f"{EARLIER}/{name}": self.earlier[name] for name in sorted(self.earlier)
        }

    @classmethod
    def read(cls, path: Path) -> Spec:
        """Read the JSON file that the stage wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Measurement:
    """One protocol on one task."""

    protocol: str
    task: str

    @property
    def file(self) -> str:
        """Name of the result file; slashes in hub names become double underscores."""
        return f"{self.task.replace('/', '__')}.{self.protocol}.json"


@dataclass(frozen=True)
class Measured:
    """Result of a measurement: rows by name, one sample per item, and notes (sentences).

    If nothing could be scored, a row's metric is None and it has a `reason`.
    """

    rows: dict[str, dict[str, Any]]
    samples: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def measurements(spec: Spec, parameters: EvaluationParameters) -> list[Measurement]:
    """The measurements of a spec: tasks in recipe order, by every protocol, then held-out text."""
    work: list[Measurement] = []
    for task in parameters.local_tasks():
        work.extend(
            Measurement(protocol, task)
            for protocol in ("harness", "first-token")
            if protocol in parameters.protocols
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
        evaluator = _Evaluator(spec, parameters)
        for done, measurement in enumerate(todo, len(work) - len(todo)):
            on_progress(done, len(work))
            result = asdict(evaluator.measure(measurement))
            with replacing(output / RESULTS_FOLDER / measurement.file) as path:
                path.write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")
    notes, missing = _without_text(spec, parameters)
    results: dict[str, dict[str, Any]] = {}
    for measurement in work:
        path = output / RESULTS_FOLDER / measurement.file
        stored = json.loads(path.read_text(encoding="utf-8"))
        notes += stored["notes"]
        for row, metrics in stored["rows"].items():
            results.setdefault(row, {}).update(metrics)
            if (counted := f"{FIRST_TOKEN}n") in metrics:
                # A row needs an `n`, also if no other protocol scored the task.
                results[row].setdefault("n", metrics[counted])
        if stored["samples"]:
            ending = ".first-token" if measurement.protocol == "first-token" else ""
            name = f"{measurement.task.replace('/', '__')}{ending}.jsonl"
            with replacing(output / "data" / "samples" / name) as path:
                path.write_text(
                    "".join(
                        json.dumps(sample, ensure_ascii=False) + "\n"
                        for sample in stored["samples"]
                    ),
                    encoding="utf-8",
                )
    results = dict(sorted((results | missing).items(), key=lambda row: _place(row[0])))
    with replacing(output / "data" / "results.json") as path:
        path.write_text(json.dumps(results, ensure_ascii=False, indent=1), encoding="utf-8")
    if notes:
        with replacing(output / "data" / NOTES) as path:
            path.write_text(json.dumps(notes, ensure_ascii=False, indent=1), encoding="utf-8")
    on_progress(len(work), len(work))
    return results


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


def unscored(reason: str) -> dict[str, Any]:
    """The row of held-out text that could not be scored."""
    return {"bits_per_byte": None, "n": 0, "reason": reason}


class _Evaluator:
    """The loaded model and, once needed, its wrapper for the harness."""

    def __init__(self, spec: Spec, parameters: EvaluationParameters) -> None:
        from tasks.evaluation.model import load

        self._spec = spec
        self._parameters = parameters
        self._model = load(
            Path(spec.model),
            dtype=parameters.dtype,
            device=parameters.device,
            max_length=parameters.max_length,
        )
        self._lm: Any = None

    def measure(self, measurement: Measurement) -> Measured:
        """Make one measurement."""
        measure = {
            "harness": self._harness,
            "first-token": self._first_token,
            "hub": self._hub,
            "bits-per-byte": self._bits_per_byte,
            LONG_TEXT: self._long_text,
        }
        return measure[measurement.protocol](measurement.task)

    def _harness_model(self) -> Any:
        from tasks.evaluation.harness_model import harness_model

        if self._lm is None:
            self._lm = harness_model(self._model, self._parameters.batch_size)
        return self._lm

    def _hub(self, task: str) -> Measured:
        from tasks.evaluation import hub

        parameters = self._parameters
        result = hub.score(
            task,
            self._harness_model(),
            shots=parameters.shots.get(task),
            limit=parameters.limit,
            seed=parameters.seed,
        )
        return Measured(*result)

    def _harness(self, task: str) -> Measured:
        from tasks.evaluation import harness
        from tasks.evaluation.items import questions

        lm = self._harness_model()
        style = self._parameters.benchmarks[task].resolved_style()
        asked = questions(style=style, **self._question_arguments(task))
        return Measured(*harness.score(task, asked, style.delimiter, lm))

    def _first_token(self, task: str) -> Measured:
        from tasks.evaluation import first_token
        from tasks.evaluation.items import questions

        style = self._parameters.benchmarks[task].letters_style()
        asked = questions(style=style, **self._question_arguments(task))
        return Measured(*first_token.score(task, asked, self._model, self._parameters.batch_size))

    def _bits_per_byte(self, name: str) -> Measured:
        from tasks.evaluation import bits_per_byte

        documents = self._heldout(name, self._parameters.heldout_documents)
        row, samples = bits_per_byte.score_each(documents, self._model, self._parameters.batch_size)
        if not row:
            return Measured(
                {name: unscored("no text")},
                notes=[
                    f"category {name.partition('/')[2]}: its held-out documents have no text to "
                    "score"
                ],
            )
        floor, limit = self._parameters.heldout_floor, self._parameters.heldout_documents
        if row["n"] >= floor.documents and row["characters"] >= floor.characters:
            return Measured({name: row}, samples)
        raised = (
            "evaluation.heldout_documents"
            if row["n"] == limit
            else "select.heldout (fraction, max_documents)"
        )
        note = (
            f"{name}: {row['n']:,} documents with {row['characters']:,} characters are held out, "
            f"fewer than evaluation.heldout_floor asks ({floor.documents:,} and "
            f"{floor.characters:,}), so the score says little; raise {raised}, or add text"
        )
        return Measured({name: row | {"few": True}}, samples, notes=[note])

    def _long_text(self, category: str) -> Measured:
        from tasks.evaluation import long_text

        wanted = self._parameters.long_text or LongText()
        by_bucket, counts = long_text.score(
            self._heldout(f"{HELDOUT}/{category}", None), wanted, self._model
        )
        notes = []
        if counts["long"] < wanted.documents:
            notes.append(
                f"long text: {counts['long']} of the {counts['read']} held-out documents of "
                f"{category} have {wanted.length_bytes:,} bytes ({wanted.documents} were asked "
                f"for); the longest has {counts['longest']:,}"
            )
        if counts["tokens"] > self._model.max_length:
            notes.append(
                f"long text: {wanted.length_bytes:,} bytes of {category} are up to "
                f"{counts['tokens']:,} tokens, more than the context of {self._model.max_length:,}"
            )
        name = f"{LONG_TEXT}/{category}"
        rows = {
            f"{name}/{bucket}" if bucket else name: row
            for bucket, row in (by_bucket or {"": unscored("no long document")}).items()
        }
        return Measured(rows, notes=notes)

    def _heldout(self, name: str, limit: int | None) -> Iterator[tuple[str, str]]:
        return read_heldout([Path(path) for path in self._spec.texts()[name]], limit)

    def _question_arguments(self, task: str) -> dict[str, Any]:
        """Arguments of `items.questions` for a benchmark, except the style."""
        benchmark = self._parameters.benchmarks[task]
        return {
            "name": task,
            "benchmark": benchmark,
            "paths": [Path(path) for path in self._spec.files[task]],
            "dev_paths": [Path(path) for path in self._spec.dev.get(task, [])],
            "shots": self._parameters.shots.get(task, benchmark.shots),
            "limit": self._parameters.limit,
        }
