"""The training loop of one phase, one process (rank) at a time.

1. plan          tokens of the phase -> steps, learning rates, mixture    (plan.py)
2. sampler       rows of the next step, the same whatever the world size  (sampler.py)
3. accumulation  gradients of the step, over micro-batches and ranks      (accumulation.py)
4. watch         skips steps that spike or are not finite; stops a phase
                 that has diverged                                        (watch.py)
5. optimizer     AdamW                                                    (optimizer.py)
6. checkpoints   everything above, so that a killed run ends in the same
                 bits                                                     (checkpointing.py)
7. metrics       one line a step                                          (metrics.py)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch

from tasks.training.accumulation import StepLosses, accumulate, micro_batches
from tasks.training.batches import PlannedStep
from tasks.training.checkpointing import Checkpointer, CheckpointTimer
from tasks.training.data import PackedRows
from tasks.training.errors import Interrupted, TrainingStopped
from tasks.training.loss import LossModel
from tasks.training.loss_scale import unscale
from tasks.training.metrics import loss_metrics, metrics_file
from tasks.training.model_setup import load_language_model, phase_optimizer
from tasks.training.numerics import autocast, make_reproducible
from tasks.training.optimizer import clip_gradients, set_trainable
from tasks.training.output import write_output
from tasks.training.probe import probe, probe_loss
from tasks.training.progress import Progress, fingerprint_of
from tasks.training.recompute import prepare
from tasks.training.sampler import Row, counts, deal
from tasks.training.spec import CHECKPOINTS, Carried, Spec, carried_after, plan_and_sampler
from tasks.training.summary import loss_summary
from tasks.training.watch import LossWatch

DOCUMENTS_NAMED = 50
"""Documents of a bad step that an error names."""


def _never() -> bool:
    return False


class Phase:
    """One phase in one process: builds everything, trains, writes the result."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        parameters = self.parameters = spec.parameters
        make_reproducible(spec.cpu_threads, parameters.seed)
        self.scratch = Path(spec.scratch)
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.data = PackedRows(
            spec.bins, parameters.sequence_length, document_mask=parameters.document_mask
        )
        self.carried = Carried.read(spec.state, spec.new_rows)
        self.plan, self.sampler = plan_and_sampler(parameters, self.data.bins, self.carried)

        self.device = torch.device("cpu")
        self.language_model = load_language_model(spec.previous, parameters, self.device)
        self.vocabulary = self.language_model.get_input_embeddings().weight.shape[0]
        self.guessing = math.log(self.vocabulary)
        self.autocast = partial(autocast, parameters.precision, self.device)
        self.scaled = parameters.precision == "fp16"
        self.leak = probe(
            self.language_model,
            self.vocabulary,
            document_mask=parameters.document_mask,
            autocast=self.autocast,
        )
        self.trainable = set_trainable(self.language_model, parameters.trainable)
        self.model = LossModel(self.language_model)
        probe_loss(self.model)
        prepare(self.language_model, parameters)
        self.model.train()
        self.optimizer = phase_optimizer(self.trainable, parameters, self.carried, spec.state)

        self.watch = LossWatch(parameters.guard, self.plan, self.guessing)
        self.checkpoints = Checkpointer(
            self.scratch / CHECKPOINTS, self.language_model, self.optimizer, self.sampler
        )
        fingerprint = fingerprint_of(parameters, self.data.bins, self.carried)
        restored = self.checkpoints.restore(fingerprint)
        self.resumed = restored is not None
        self.progress = restored or Progress(fingerprint)

    def train(
        self,
        report: Callable[[dict[str, Any]], None] = lambda metrics: None,
        stop: Callable[[], bool] = _never,
    ) -> dict[str, Any]:
        """Train to the end of the phase, write `output`, and return its statistics.

        Args:
            report: called with the metrics of every step.
            stop: asked before every micro-batch and after every step; when true, a checkpoint is
                written and `Interrupted` raised.

        Raises:
            Interrupted: `stop` became true.
            TrainingStopped: too many steps in a row could not be taken, or the phase has diverged.
            DataExhausted: a category ran out.
        """
        timer = CheckpointTimer(self.parameters.checkpoint_every, self.plan, self.progress.rows)
        with metrics_file(self.scratch / "metrics.jsonl", self.progress.step) as write:
            for planned in self.plan.steps(self.progress.step):
                metrics = self.step(planned, stop) | {"alarm": self.watch.alarm(self.progress)}
                write(metrics)
                report(metrics)
                if self.progress.rows < self.plan.rows:
                    if timer.due(self.progress.rows, self.checkpoints.saving_s):
                        self.checkpoints.save(self.progress)
                    if stop():
                        self._interrupt()
                self._refuse_divergence()
        self._refuse_divergence()  # also where all steps were taken before
        return self._finish()

    def step(self, planned: PlannedStep, stop: Callable[[], bool] = _never) -> dict[str, Any]:
        """One optimizer step; returns its metrics.

        Raises:
            Interrupted: `stop` became true between micro-batches; the step is not taken.
        """
        began = time.perf_counter()
        rows = self.sampler.draw(planned.rows)
        losses = self._accumulate(rows, stop)
        if self.scaled:
            unscale((p.grad for p in self.trainable.values()), self.progress.loss_scale.scale)
        self.optimizer.mask_gradients()
        norm = clip_gradients(self.trainable.values(), self.parameters.optimizer.gradient_clip)
        tokens = self.plan.start + (planned.first_row + planned.rows) * self.plan.sequence_length
        lr = self.plan.schedule.lr(tokens - self.plan.schedule_origin)
        skipped = self._skip_reason(losses, norm, rows)
        rows_by_category = counts(rows)
        progress = self.progress
        if not skipped:
            of_category = {
                category: (rows_by_category.get(category, 0), losses.tokens[category], loss_sum)
                for category, loss_sum in losses.sums.items()
            }
            progress.course.add(losses.mean, of_category, self.guessing)
            self.optimizer.step(lr, self.plan.fresh_factor(tokens))
        progress.step, progress.rows = planned.index + 1, planned.first_row + planned.rows
        progress.drawn = self.sampler.state.drawn
        return {
            "step": progress.step,
            "tokens": tokens,
            "phase_tokens": progress.rows * self.plan.sequence_length,
            "lr": lr,
            **loss_metrics(losses, norm),
            "rows": rows_by_category,
            "drawn": progress.drawn,
            "skipped": skipped,
            "tokens_per_s": planned.rows
            * self.plan.sequence_length
            / (time.perf_counter() - began),
        }

    def _accumulate(self, rows: list[Row], stop: Callable[[], bool]) -> StepLosses:
        """This rank's part of the step's gradients."""
        own_rows = deal(rows, self.spec.world_size, self.spec.rank)
        batches = micro_batches(self.data, own_rows, self.parameters.micro_batch)
        self.optimizer.zero_grad()

        def check_stop() -> None:
            if stop():  # a step of a large batch can take longer than the grace period
                self._interrupt()

        return accumulate(
            self.model,
            batches,
            self.sampler.categories,
            vocabulary=self.vocabulary,
            autocast=self.autocast,
            loss_scale=self.progress.loss_scale.scale if self.scaled else 1.0,
            check_stop=check_stop,
        )

    def _skip_reason(self, losses: StepLosses, norm: float, rows: list[Row]) -> str:
        """Why this step must not be taken; "" when it may."""
        if not losses.valid:
            self.progress.empty += 1
            return "no valid tokens"
        if self.scaled and math.isfinite(losses.mean):
            if not math.isfinite(norm):
                return self.progress.loss_scale.overflow()
            self.progress.loss_scale.clean()

        def describe_rows() -> str:
            documents = self.data.documents(rows, limit=DOCUMENTS_NAMED)
            return f"its {len(rows)} rows ({len(documents)} shown): {', '.join(documents)}"

        return self.watch.skip_reason(self.progress, losses.mean, norm, describe_rows)

    def _interrupt(self) -> NoReturn:
        """Save the steps taken since the last checkpoint and end; an unfinished step is redone."""
        self.checkpoints.save_new_steps(self.progress)
        raise Interrupted(
            f"stopped after step {self.progress.step}; run again to continue from there"
        )

    def _refuse_divergence(self) -> None:
        """Stop a phase that has clearly diverged, unless `guard.diverged` is `warn`.

        Raises:
            TrainingStopped: it has. A checkpoint is written first.
        """
        if reason := self.watch.divergence(self.progress):
            self.checkpoints.save_new_steps(self.progress)
            raise TrainingStopped(reason)

    def _finish(self) -> dict[str, Any]:
        """Write the phase's checkpoint and state; returns the statistics."""
        sampler = self.sampler.state
        carried = carried_after(
            self.carried, self.parameters, self.data.bins, self.plan, sampler.taken
        )
        write_output(self.spec, self.language_model, self.optimizer.moments(), carried)
        return loss_summary(self.progress, self.guessing) | {
            "tokens": self.plan.tokens,
            "tokens_total": carried.tokens,
            "rows": sampler.drawn,
            "epochs": {
                category: sampler.taken[category] / sum(self.data.bins[category])
                for category in self.sampler.categories
            },
            "parameters": sum(parameter.numel() for parameter in self.language_model.parameters()),
            "parameters_trained": self.optimizer.trained,
            "mask_leak": self.leak,
        }
