"""The training loop of one phase, as each rank runs it; a single process is the only rank.

1. planning/plan        tokens of the phase -> steps, learning rates, mixture
2. planning/sampler     rows of the next step, the same whatever the world size
3. step/accumulation    gradients of the step, over micro-batches and ranks
4. step/watch           skips steps that spike or are not finite; stops a phase that has diverged
5. step/optimizer       clipping (step/gradients), AdamW
6. monitoring/phase     metrics of the step; evaluations where they are due
7. checkpoints          everything above, so that a killed run ends in the same bits
8. output               the model, and the state that the next phase continues

Ranks take the same decisions: what depends on one of them (a request to stop, the clock, an error)
is asked of all before the next collective (distributed/ranks).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, cast

from tasks.training.adapters.merge import parameter_count
from tasks.training.checkpoints.checkpointing import Checkpointer, CheckpointTimer
from tasks.training.distributed.ranks import Ranks, join, require_rows
from tasks.training.distributed.sharding import reshard
from tasks.training.errors import Interrupted, OutOfMemory, TrainingStopped
from tasks.training.model.numerics import autocast, make_reproducible
from tasks.training.model.probe import probe_training
from tasks.training.model.recompute import prepare
from tasks.training.model_setup import phase_optimizer, training_model
from tasks.training.monitoring.meter import attention_pairs, utilisation
from tasks.training.monitoring.phase import PhaseMonitor
from tasks.training.output import write_output
from tasks.training.planning.batches import PlannedStep
from tasks.training.planning.sampler import Row, counts, deal
from tasks.training.spec import CHECKPOINTS, Carried, Spec, carried_after, plan_and_sampler
from tasks.training.step import gradients
from tasks.training.step.accumulation import StepLosses, accumulate, micro_batches
from tasks.training.step.data import PackedRows
from tasks.training.step.loss_scale import unscale
from tasks.training.step.metrics import loss_metrics
from tasks.training.step.optimizer import trainable_parameters
from tasks.training.step.progress import Progress, fingerprint_of
from tasks.training.step.watch import LossWatch
from tasks.training.summary import phase_summary
from tasks.training.supervision.memory_words import is_out_of_memory, out_of_memory

CLOSE_S = 60.0
"""Time that a rank which ends gives the checkpoint that it is still writing."""

DOCUMENTS_NAMED = 50
"""Documents of a bad step that an error names."""


def _never() -> bool:
    return False


class Phase:
    """One phase on one rank: builds everything, trains; the main rank writes the result.

    Args:
        ranks: this process among the others; by default it joins those that its environment names.
    """

    def __init__(self, spec: Spec, ranks: Ranks | None = None) -> None:
        self.spec = spec
        parameters = self.parameters = spec.parameters
        ranks = self.ranks = ranks or join(parameters.devices)
        make_reproducible(spec.cpu_threads, parameters.seed + ranks.rank)
        self.scratch = Path(spec.scratch)
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.data = ranks.together(
            lambda: PackedRows(
                spec.bins, parameters.sequence_length, document_mask=parameters.document_mask
            )
        )
        self.carried = ranks.together(lambda: Carried.read(spec.state, spec.new_rows))
        self.plan, self.sampler = plan_and_sampler(
            parameters, self.data.bins, self.carried, spec.repeats
        )
        if ranks.world_size > 1:
            require_rows(*self.plan.step_rows, ranks.world_size)
        self.checkpoints = Checkpointer(self.scratch / CHECKPOINTS, ranks, parameters.keep)
        fingerprint = fingerprint_of(parameters, self.data.bins, self.carried)
        restored = self.checkpoints.find(fingerprint)
        self.progress = restored or Progress(fingerprint)
        self.monitor = PhaseMonitor(spec, self.plan, self.progress, ranks)

        self.model = ranks.together(
            lambda: training_model(spec.previous, parameters, self.carried, ranks)
        )
        self.language_model = cast("Any", self.model.language_model)
        self.vocabulary = self.language_model.get_input_embeddings().weight.shape[0]
        self.guessing = math.log(self.vocabulary)
        self.autocast = partial(autocast, parameters.precision, ranks.device)
        self.scaled = parameters.precision == "fp16"
        self.leak = self.model.within(
            lambda: probe_training(
                self.model,
                self.vocabulary,
                ranks.device,
                document_mask=parameters.document_mask,
                autocast=self.autocast,
            )
        )
        reshard(self.model)
        if ranks.world_size == 1:  # else before it was split
            prepare(self.language_model, parameters)
        self.model.train()
        self.trainable = trainable_parameters(self.language_model)
        self.utilisation = utilisation(
            self.language_model, ranks.device, ranks.world_size, parameters.precision
        )
        self.optimizer = ranks.together(
            lambda: phase_optimizer(
                self.language_model, self.trainable, parameters, self.carried, spec.state
            )
        )
        self.watch = LossWatch(parameters.guard, self.plan, self.guessing)
        ranks.together(lambda: self.checkpoints.restore(self.trainable, self.optimizer))
        self.resumed = restored is not None
        if restored is not None:
            self.sampler.restore(restored.rows, restored.drawn)

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
        try:
            self.monitor.evaluate(self.model, self.autocast, stop)
            for planned in self.plan.steps(self.progress.step):
                checkpoint_s = self.checkpoints.waited_s()
                metrics = self.step(planned, stop) | {
                    "alarm": self.watch.alarm(self.progress),
                    "checkpoint_s": checkpoint_s,
                }
                report(self.monitor.step(metrics))
                self.monitor.evaluate(self.model, self.autocast, stop)
                if self.progress.rows < self.plan.rows:
                    self._after_step(timer, stop)
                self._refuse_divergence()
            self._refuse_divergence()  # also where all steps were taken before
            return self._finish()
        except TrainingStopped as error:
            if not self.parameters.proxy:
                raise
            return self._finish() | {"diverged": str(error)}
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            left = self.progress.rows < self.plan.rows
            when = f"in step {self.progress.step + 1}" if left else "while the result was written"
            reason = out_of_memory(self.parameters, when, str(self.ranks.device), error)
            self.ranks.report_failure(reason)  # the others wait for this rank
            raise OutOfMemory(reason) from error
        finally:
            self.checkpoints.close(CLOSE_S)
            self.monitor.close()

    def _after_step(self, timer: CheckpointTimer, stop: Callable[[], bool]) -> None:
        """Write a checkpoint where one is due; end where any rank was asked to."""
        checkpoints = self.checkpoints
        due = self.ranks.is_main and timer.due(
            self.progress.rows, checkpoints.saving_s, writing=checkpoints.is_writing
        )
        due, failed, stopped = self.ranks.any(due, checkpoints.has_failed, stop())
        if failed:
            checkpoints.wait()
        if due:
            checkpoints.save(self.progress, self.trainable, self.optimizer)
        if stopped:
            self._interrupt()

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
        norm = gradients.clip(
            [p.grad for p in self.trainable.values() if p.grad is not None],
            self.parameters.optimizer.gradient_clip,
            self.ranks,
        )
        tokens = self.plan.start + (planned.first_row + planned.rows) * self.plan.sequence_length
        lr = self.plan.schedule.lr(tokens - self.plan.schedule_origin)
        step_tokens = planned.rows * self.plan.sequence_length
        skipped = self._skip_reason(losses, norm, rows)
        rows_by_category = counts(rows)
        progress = self.progress
        if not skipped:
            progress.learn(losses, rows_by_category, self.guessing)
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
            "due": self.sampler.due(),
            "skipped": skipped,
            "step_s": (step_s := time.perf_counter() - began),
            "tokens_per_s": step_tokens / step_s,
            "mfu": self.utilisation.of(step_tokens, self._pairs, step_s),
        }

    def _accumulate(self, rows: list[Row], stop: Callable[[], bool]) -> StepLosses:
        """The step's gradients, from this rank's rows and those of the others."""
        own_rows = deal(rows, self.ranks.world_size, self.ranks.rank)
        batches = self.ranks.together(
            lambda: micro_batches(self.data, own_rows, self.parameters.micro_batch, self.vocabulary)
        )
        self._pairs = self.ranks.world_size * attention_pairs(
            [batch.positions_BT for batch in batches]
        )
        self.optimizer.zero_grad()

        def check_stop() -> None:
            # a step of a large batch can take longer than the grace period
            if self.ranks.any(stop())[0]:
                self._interrupt()

        return accumulate(
            self.model,
            batches,
            self.sampler.categories,
            ranks=self.ranks,
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
        self.checkpoints.save_new_steps(self.progress, self.trainable, self.optimizer)
        raise Interrupted(
            f"stopped after step {self.progress.step}; run again to continue from there"
        )

    def _refuse_divergence(self) -> None:
        """Stop a phase that has clearly diverged, unless `guard.diverged` is `warn`.

        Raises:
            TrainingStopped: it has. A checkpoint is written first.
        """
        if reason := self.watch.divergence(self.progress):
            self.checkpoints.save_new_steps(self.progress, self.trainable, self.optimizer)
            raise TrainingStopped(reason)

    def _finish(self) -> dict[str, Any]:
        """Write the phase's checkpoint and state; returns the statistics."""
        taken = self.sampler.state.taken
        carried = carried_after(self.carried, self.parameters, self.data.bins, self.plan, taken)
        self.checkpoints.wait()
        reshard(self.model)
        write_output(self.spec, self.language_model, self.optimizer, carried, self.ranks)
        return phase_summary(self.progress, self.guessing, self.plan, self.sampler) | {
            "parameters": parameter_count(self.language_model),
            "parameters_trained": self.optimizer.trained,
            "mask_leak": self.leak,
        }
