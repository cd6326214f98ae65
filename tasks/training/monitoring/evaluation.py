"""Evaluations inside a phase: when they are due, what they find, and the files that hold it.

    scratch/evaluations.jsonl   one line an evaluation: step, tokens, held-out loss by category
    scratch/samples.jsonl       one line a prompt and evaluation

An evaluation belongs to a step and is deterministic. When a phase is resumed, lines after the step
that it continues from are dropped, and an evaluation that a kill prevented is made first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tasks.documents.tokenize import DocumentTokenizer
from tasks.training.distributed.ranks import Ranks
from tasks.training.distributed.sharding import reshard
from tasks.training.model.loss import LossModel
from tasks.training.monitoring.heldout import HeldOut, held_out_losses, read_categories
from tasks.training.monitoring.lines import LineFile
from tasks.training.monitoring.names import EVALUATIONS, SAMPLES
from tasks.training.monitoring.samples import Prompts, continuations, read_prompts
from tasks.training.planning.plan import TrainingPlan
from tasks.training.recipe.monitoring import InPhaseEvaluation
from tasks.training.spec import Spec


class _Abandoned(Exception):
    """The phase was asked to stop during an evaluation."""


@dataclass
class Inside:
    """The evaluations of one phase, on one rank."""

    section: InPhaseEvaluation
    held_out: dict[str, HeldOut]
    prompts: Prompts | None
    plan: TrainingPlan
    ranks: Ranks
    seed: int
    rows: int
    """Windows of one pass."""
    last_rows: int | None = None
    """Rows of the phase at the last evaluation."""

    @classmethod
    def read(cls, spec: Spec, plan: TrainingPlan, ranks: Ranks) -> Inside | None:
        """What the recipe asks for, read and tokenized; None for nothing.

        Raises:
            ValueError: there is no held-out text and no prompt, or a prompt is too long.
            StageError: held-out text cannot be read.
        """
        section = spec.parameters.evaluation
        if section is None:
            return None
        folder = Path(spec.previous)
        held_out = {}
        if section.documents:
            held_out = read_categories(
                spec.heldout, DocumentTokenizer(folder), section.documents, plan.sequence_length
            )
        if not held_out and not section.prompts:
            raise ValueError(
                "training.evaluation asks for held-out loss, but no document is held out; set "
                "select.heldout, state training.evaluation.prompts, or remove training.evaluation"
            )
        prompts = None
        if section.prompts:
            prompts = read_prompts(folder, section.prompts, section.tokens)
        parameters = spec.parameters
        return cls(section, held_out, prompts, plan, ranks, parameters.seed, parameters.micro_batch)

    def due(self, rows: int) -> bool:
        """Whether to evaluate after `rows` rows of the phase; the same on all ranks."""
        if self.last_rows is None:
            return True
        if rows == self.last_rows:
            return False
        return rows == self.plan.rows or self.plan.passes(self.section.every, self.last_rows, rows)

    def run(
        self,
        model: LossModel,
        rows: int,
        autocast: Callable[[], AbstractContextManager[Any]],
        stop: Callable[[], bool],
    ) -> dict[str, Any] | None:
        """Evaluate the model after `rows` rows; None where any rank was asked to stop meanwhile.

        Returns `categories` (category -> `bits_per_byte`, `loss`, `tokens`), `bits_per_byte` and
        `loss` over all of them (ratios of sums), `samples`, and `seconds`.
        """
        began = time.perf_counter()

        def check_stop() -> None:
            if self.ranks.any(stop())[0]:
                raise _Abandoned

        devices = [self.ranks.device] if self.ranks.device.type == "cuda" else []
        model.eval()
        try:
            with torch.random.fork_rng(devices):
                found = held_out_losses(
                    model,
                    self.held_out,
                    ranks=self.ranks,
                    rows=self.rows,
                    autocast=autocast,
                    check_stop=check_stop,
                )
                samples = (
                    []
                    if self.prompts is None
                    else continuations(
                        model,
                        self.prompts,
                        ranks=self.ranks,
                        temperature=self.section.temperature,
                        seed=self.seed,
                        autocast=autocast,
                        check_stop=check_stop,
                    )
                )
        except _Abandoned:
            return None
        finally:
            reshard(model)
            model.train()
        self.last_rows = rows
        return {
            **_over_all(found, self.held_out),
            "categories": {name: _finite(values) for name, values in found.items()},
            "samples": samples,
            "seconds": time.perf_counter() - began,
        }


def _over_all(
    found: dict[str, dict[str, float]], held_out: dict[str, HeldOut]
) -> dict[str, float | None]:
    """Bits per byte and loss over all categories."""
    nats = math.fsum(values["loss"] * values["tokens"] for values in found.values())
    tokens = sum(text.tokens for text in held_out.values())
    size = sum(sum(text.sizes) for text in held_out.values())
    if not size:
        return {}
    return _finite({"bits_per_byte": nats / math.log(2) / size, "loss": nats / tokens})


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


class EvaluationFiles:
    """The two files of the module's docstring, written by the main rank.

    Args:
        step: lines after it are dropped.
    """

    def __init__(self, scratch: Path, step: int) -> None:
        self._evaluations = LineFile(scratch / EVALUATIONS, step)
        self._samples = LineFile(scratch / SAMPLES, step)

    @property
    def last_rows(self) -> int | None:
        """Rows of the phase at the last evaluation."""
        last = self._evaluations.last
        return None if last is None else int(last["rows"])

    def write(self, at: dict[str, Any], found: dict[str, Any]) -> None:
        """Write an evaluation. `at`: step, rows, tokens and phase_tokens."""
        for sample in found["samples"]:
            self._samples.write(at | sample)
        self._evaluations.write(
            at | {name: value for name, value in found.items() if name != "samples"}
        )

    def close(self) -> None:
        """Close both."""
        self._samples.close()
        self._evaluations.close()
