"""Makes measurements with one loaded model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.benchmarks.model import QuestionProtocol
from tasks.documents.heldout import read_heldout
from tasks.evaluation.measured import HELDOUT, LONG_TEXT, Measured, Measurement, Spec, unscored
from tasks.evaluation.stage import EvaluationParameters, LongText

if TYPE_CHECKING:
    from tasks.evaluation.items import Question

Rows = dict[str, dict[str, Any]]


def questions_of(
    spec: Spec, parameters: EvaluationParameters, task: str, protocol: QuestionProtocol
) -> list[Question]:
    """The questions of a task as a protocol asks them."""
    from tasks.evaluation.items import questions

    benchmark = parameters.benchmarks[task]
    return questions(
        task,
        benchmark,
        benchmark.style_for(protocol),
        [Path(path) for path in spec.files[task]],
        [Path(path) for path in spec.dev.get(task, [])],
        shots=parameters.shots.get(task, benchmark.shots),
        limit=parameters.limit,
        generated=protocol == "exact-match",
    )


class Evaluator:
    """The loaded model and, once needed, its wrapper for the harness's own tasks."""

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
            "exact-match": self._exact_match,
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
        from tasks.evaluation import likelihood

        benchmark = self._parameters.benchmarks[task]
        return self._asked(
            task,
            likelihood.score(
                task,
                questions_of(self._spec, self._parameters, task, "harness"),
                benchmark.resolved_style().delimiter,
                self._model,
                self._parameters.batch_size,
                bos=benchmark.bos,
                mass=benchmark.format == "truthfulqa-mc2",
            ),
        )

    def _first_token(self, task: str) -> Measured:
        from tasks.evaluation import first_token

        benchmark = self._parameters.benchmarks[task]
        return self._asked(
            task,
            first_token.score(
                task,
                questions_of(self._spec, self._parameters, task, "first-token"),
                self._model,
                self._parameters.batch_size,
                bos=benchmark.bos,
            ),
        )

    def _exact_match(self, task: str) -> Measured:
        from tasks.evaluation import exact_match

        benchmark = self._parameters.benchmarks[task]
        return self._asked(
            task,
            exact_match.score(
                task,
                questions_of(self._spec, self._parameters, task, "exact-match"),
                benchmark.resolved_generation(),
                self._model,
                self._parameters.batch_size,
                bos=benchmark.bos,
            ),
        )

    def _asked(self, task: str, result: tuple[Rows, list[dict[str, Any]], list[str]]) -> Measured:
        """The result, with how the task was asked."""
        rows, samples, notes = result
        benchmark = self._parameters.benchmarks[task]
        rows[task]["about"] = {
            "shots": self._parameters.shots.get(task, benchmark.shots),
            "bos": self._model.adds_bos if benchmark.bos == "auto" else benchmark.bos == "always",
            "metric": benchmark.resolved_metric(),
            "suite": benchmark.suite,
        }
        return Measured(rows, samples, notes)

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
