"""The training loop of one phase, one process (rank) at a time.

1. plan        tokens of the phase -> steps, learning rates, mixture     (plan.py)
2. sampler     rows of the next step, the same whatever the world size   (sampler.py)
3. loss        summed over valid tokens, divided by those of the step    (loss.py)
4. guard       skips steps that spike or are not finite; stops a phase
               that has diverged                                         (guard.py)
5. optimizer   AdamW                                                     (optimizer.py)
6. checkpoint  everything above, so that a killed run ends in the same bits
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import math
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from tasks.training import checkpoint
from tasks.training.data import Data
from tasks.training.guard import BEGINS, WINDOW, Course, alarm, guard_reason, has_diverged
from tasks.training.loss import IGNORE_INDEX, LossModel, step_scale, sum_over_ranks
from tasks.training.optimizer import AdamW, clip_gradients, set_trainable
from tasks.training.output import complete
from tasks.training.plan import Step, duration_tokens
from tasks.training.probe import probe
from tasks.training.sampler import Row, counts, deal
from tasks.training.spec import CHECKPOINTS, Carried, Spec, plan_and_sampler

SKIPPED_SHARE = 0.05
"""A larger share of skipped steps is reported at the end."""

LAST_STEPS = 20
"""Steps whose mean loss is reported as the phase's last."""

CHECKPOINT_S, CHECKPOINT_SHARE = 30.0, 0.02
"""By default a checkpoint is written every 30 s, or less often where that would take more than 2 %
of the time.
"""

DTYPES = {"fp32": torch.float32, "bf16": torch.float32, "fp64": torch.float64}
"""Type of the weights by precision; bf16 computes in bfloat16 over float32 weights."""

_LOG = logging.getLogger(__name__)


class TrainingStopped(Exception):
    """Training cannot go on; says why, and which documents the last batch held."""


class Interrupted(Exception):
    """The run was asked to end; its completed steps are in a checkpoint."""


@dataclass
class Progress:
    """Progress of a phase; with weights, moments and random state it makes up a checkpoint."""

    fingerprint: str
    step: int = 0
    rows: int = 0
    drawn: dict[str, int] = field(default_factory=dict)
    course: Course = field(default_factory=Course)
    first_loss: float | None = None
    skipped: int = 0
    skipped_in_a_row: int = 0

    @classmethod
    def of(cls, state: dict[str, Any]) -> Progress:
        """From a checkpoint's state."""
        return cls(**{**state, "course": Course(**state["course"])})


def configure(cpu_threads: int, seed: int) -> None:
    """Make torch bitwise reproducible: threads, algorithms, random state."""
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(cpu_threads)
    torch.use_deterministic_algorithms(True)
    # We read no uninitialised memory, and filling it costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)


class Phase:
    """One phase in one process: builds everything, trains, writes the result."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        parameters = self.parameters = spec.parameters
        configure(spec.cpu_threads, parameters.seed)
        self.scratch = Path(spec.scratch)
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.data = Data(spec.bins, parameters.sequence_length)
        self.carried = Carried.read(spec.state, spec.new_rows)
        self.plan, self.sampler = plan_and_sampler(parameters, self.data.bins, self.carried)
        self._build_model()
        self.progress = Progress(self._fingerprint())
        self.saving_s, self.saved_step = 0.0, 0
        self.resumed = self._resume()

    def _build_model(self) -> None:
        spec, parameters = self.spec, self.parameters
        self.language_model = AutoModelForCausalLM.from_pretrained(
            spec.previous,
            dtype=DTYPES[parameters.precision],
            attn_implementation="sdpa",
            local_files_only=True,
        )
        self.vocabulary = self.language_model.get_input_embeddings().weight.shape[0]
        self.guessing = math.log(self.vocabulary)
        self.leak = probe(self.language_model, self.vocabulary)
        self.trainable = set_trainable(self.language_model, parameters.trainable)
        self.model = LossModel(self.language_model)
        self.model.train()
        moments = (
            checkpoint.load_tensors(Path(spec.state) / "optimizer.safetensors")
            if spec.state
            else None
        )
        rows = None
        if parameters.trainable == "new-rows":
            rows = self.carried.new_rows
            if rows is None:
                raise ValueError(
                    "trainable: new-rows, but the model stage added no tokens to the base; use "
                    "embeddings or all"
                )
        elif self.carried.trainable == "new-rows":
            # old rows of the matrices have no moments, so the whole matrices start without any
            moments = {}
        self.optimizer = AdamW(self.trainable, parameters.optimizer, moments, rows)

    def _fingerprint(self) -> str:
        """Hash of what a checkpoint must agree with to be continued."""
        decides = [self.parameters.identity(), self.data.bins, asdict(self.carried)]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def _resume(self) -> bool:
        found = checkpoint.load(self.scratch / CHECKPOINTS)
        if found is None:
            return False
        tensors, state = found
        if state["fingerprint"] != self.progress.fingerprint:
            _LOG.warning("checkpoints are of another plan or data; starting this phase over")
            shutil.rmtree(self.scratch / CHECKPOINTS)
            return False
        self.progress = Progress.of(state)
        self.saved_step = self.progress.step
        with torch.no_grad():
            for name, parameter in self.language_model.named_parameters():
                parameter.copy_(tensors["model"][name])
        self.optimizer.load_moments({k: v for k, v in tensors["optimizer"].items() if k != "rng"})
        torch.set_rng_state(tensors["optimizer"]["rng"])
        self.sampler.restore(self.progress.rows, self.progress.drawn)
        return True

    def save(self) -> None:
        """Write a checkpoint."""
        tensors = {
            "model": dict(self.language_model.named_parameters()),
            "optimizer": {**self.optimizer.moments(), "rng": torch.get_rng_state()},
        }
        began = time.monotonic()
        checkpoint.save(
            self.scratch / CHECKPOINTS, self.progress.step, tensors, asdict(self.progress)
        )
        self.saving_s, self.saved_step = time.monotonic() - began, self.progress.step

    def train(
        self,
        report: Callable[[dict[str, Any]], None] = lambda metrics: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        """Train to the end of the phase, write `output`, and return its statistics.

        Args:
            report: called with the metrics of every step.
            stop: asked after every step; when true, a checkpoint is written and `Interrupted`
            raised.

        Raises:
            TrainingStopped: too many steps in a row could not be taken.
            DataExhausted: a category ran out.
        """
        due = self._due()
        with self._metrics() as write:
            for step in itertools.islice(self.plan.steps(), self.progress.step, None):
                metrics = self.step(step, stop) | {"alarm": self._watch()}
                write(metrics)
                report(metrics)
                if not self._done:
                    if due():
                        self.save()
                    if stop():
                        self._interrupt()
                self._refuse_divergence()
        self._refuse_divergence()  # also where all steps were taken before
        return self._finish()

    def _interrupt(self) -> NoReturn:
        """Save the steps taken since the last checkpoint and end; an unfinished step is redone."""
        if self.progress.step > self.saved_step:
            self.save()
        raise Interrupted(
            f"stopped after step {self.progress.step}; run again to continue from there"
        )

    def step(self, step: Step, stop: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """One optimizer step; returns its metrics.

        Raises:
            Interrupted: `stop` became true between micro-batches; the step is not taken.
        """
        began = time.perf_counter()
        rows = self.sampler.draw(step.rows)
        mine = deal(rows, self.spec.world_size, self.spec.rank)
        size = self.parameters.micro_batch
        micro_batches = [
            (part := mine[at : at + size], self.data.batch(part))
            for at in range(0, len(mine), size)
        ]
        valid, scale = step_scale([labels for _, (_, labels, _) in micro_batches])
        self.optimizer.zero_grad()
        categories = self.sampler.categories
        sums = torch.zeros(
            2, len(categories), dtype=torch.float64
        )  # loss sums and valid tokens by category
        for part, (ids_BT, labels_BT, positions_BT) in micro_batches:
            if stop():  # a step of a large batch can take longer than the grace period
                self._interrupt()
            if int(ids_BT.max()) >= self.vocabulary:
                raise ValueError(
                    f"token id {int(ids_BT.max())} in the bins, but the model has "
                    f"{self.vocabulary} rows; bin with the tokenizer of this model"
                )
            with self._autocast():
                total, losses_B = self.model(ids_BT, labels_BT, positions_BT)
            (total * scale).backward()
            of_row = torch.tensor([categories.index(row.category) if row else 0 for row in part])
            sums[0].index_add_(0, of_row, losses_B.detach().double())
            sums[1].index_add_(0, of_row, (labels_BT != IGNORE_INDEX).sum(1).double())
        sum_over_ranks(sums)
        loss = float(sums[0].sum()) / valid if valid else 0.0
        self.optimizer.mask_gradients()
        norm = clip_gradients(self.trainable.values(), self.parameters.optimizer.gradient_clip)
        tokens = self.plan.start + (step.first_row + step.rows) * self.plan.sequence_length
        lr = self.plan.schedule.lr(tokens - self.plan.schedule_origin)
        skipped = self._guard(loss, norm, rows) if valid else "no valid tokens"
        by_category = counts(rows)
        if not skipped:
            of = {
                c: (by_category.get(c, 0), float(sums[1, i]), float(sums[0, i]))
                for i, c in enumerate(categories)
            }
            self.progress.course.add(loss, of, self.guessing)
        if not skipped:
            self.optimizer.step(lr, self.plan.fresh_factor(tokens))
        progress = self.progress
        progress.step, progress.rows = step.index + 1, step.first_row + step.rows
        progress.drawn = self.sampler.state.drawn
        return {
            "step": progress.step,
            "tokens": tokens,
            "phase_tokens": progress.rows * self.plan.sequence_length,
            "lr": lr,
            "loss": loss if math.isfinite(loss) else None,
            "losses": {
                category: float(sums[0, i] / sums[1, i])
                for i, category in enumerate(categories)
                if sums[1, i] > 0 and math.isfinite(sums[0, i])
            },
            "grad_norm": norm if math.isfinite(norm) else None,
            "valid_tokens": valid,
            "rows": by_category,
            "drawn": progress.drawn,
            "skipped": skipped,
            "tokens_per_s": step.rows * self.plan.sequence_length / (time.perf_counter() - began),
        }

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.parameters.precision == "bf16":
            return torch.autocast("cpu", dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def _guard(self, loss: float, norm: float, rows: list[Row]) -> str:
        """Why this step must not be taken; "" when it may."""
        progress, guard = self.progress, self.parameters.guard
        reason = guard_reason(loss, norm, progress.course.losses, guard)
        if not reason:
            progress.skipped_in_a_row = 0
            if progress.first_loss is None:
                progress.first_loss = loss
            return ""
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        if progress.skipped_in_a_row >= guard.patience:
            documents = self.data.documents(rows, limit=50)
            raise TrainingStopped(
                f"{guard.patience} steps in a row could not be taken, the last because {reason}. "
                f"Documents of its {len(rows)} rows ({len(documents)} shown): "
                f"{', '.join(documents)}. Lower the learning rate, look at these documents, or "
                "change training.guard"
            )
        _LOG.warning("step %d is not taken: %s", progress.step + 1, reason)
        return reason

    @property
    def _done(self) -> bool:
        return self.progress.rows == self.plan.rows

    def _watch(self) -> str:
        """A description of what is wrong with the loss, logged when it begins; "" if nothing is."""
        course = self.progress.course
        if len(course.losses) < BEGINS and not self._done:
            return ""
        tokens = self.plan.start + self.progress.rows * self.plan.sequence_length
        warm = self._done or tokens - self.plan.schedule_origin >= self.plan.schedule.warmup
        found = alarm(course, self.guessing, warm=warm)
        if found and not course.told:
            _LOG.warning("step %d: %s", self.progress.step, found)
        course.told = bool(found)
        return found

    def _refuse_divergence(self) -> None:
        """Stop a phase that has clearly diverged.

        Raises:
            TrainingStopped: it has, and `guard.diverged` is `stop`. A checkpoint is written first.
        """
        steps = BEGINS if self._done else WINDOW
        if self.parameters.guard.diverged == "stop" and has_diverged(
            self.progress.course, self.guessing, steps=steps
        ):
            if self.progress.step > self.saved_step:
                self.save()
            found = alarm(self.progress.course, self.guessing, warm=True)
            raise TrainingStopped(
                f"this phase has diverged: {found}. Mostly the learning rate is too high (peak "
                f"{self.parameters.optimizer.lr:g}): lower training.optimizer.lr or the phase's "
                "lr, or lengthen schedule.warmup; the phase then begins anew from the one before "
                f"it, which is kept. To go on from step {self.progress.step} all the same: "
                "training.guard.diverged: warn"
            )

    def _due(self) -> Callable[[], bool]:
        """A test whether a checkpoint is due: by `checkpoint_every`, else by time at low cost."""
        every = self.parameters.checkpoint_every
        length = self.plan.sequence_length
        tokens = (
            None
            if every is None
            else duration_tokens(every, sequence_length=length, batch=self.plan.batch)
        )
        rows, moment = self.progress.rows, time.monotonic()

        def due() -> bool:
            nonlocal rows, moment
            if tokens is not None:
                if (self.progress.rows - rows) * length < tokens:
                    return False
            elif time.monotonic() - moment < max(CHECKPOINT_S, self.saving_s / CHECKPOINT_SHARE):
                return False
            rows, moment = self.progress.rows, time.monotonic()
            return True

        return due

    @contextlib.contextmanager
    def _metrics(self) -> Iterator[Callable[[dict[str, Any]], None]]:
        """Append to metrics.jsonl, after dropping lines later than the checkpoint resumed from."""
        path = self.scratch / "metrics.jsonl"
        kept = []
        if path.exists():
            for line in path.read_text().splitlines():
                with contextlib.suppress(ValueError):  # a line that a kill cut short
                    if json.loads(line)["step"] <= self.progress.step:
                        kept.append(line + "\n")
        rewritten = path.with_suffix(".new")
        rewritten.write_text("".join(kept))
        rewritten.replace(path)
        with path.open("a") as file:

            def write(metrics: dict[str, Any]) -> None:
                file.write(json.dumps(metrics) + "\n")
                file.flush()

            yield write

    def _finish(self) -> dict[str, Any]:
        """Write the phase's checkpoint and state; returns the statistics."""
        output = Path(self.spec.output)
        shutil.rmtree(output, ignore_errors=True)
        (output / "state").mkdir(parents=True)
        self.language_model.save_pretrained(output / "checkpoint")
        complete(Path(self.spec.previous), output / "checkpoint")
        checkpoint.save_tensors(
            output / "state" / "optimizer.safetensors", self.optimizer.moments()
        )
        sampler = self.sampler.state
        carried = Carried(
            tokens=self.plan.start + self.plan.tokens,
            taken=sampler.taken,
            bins={**self.carried.bins, **self.data.bins},
            seed=self.parameters.seed,
            trainable=self.parameters.trainable,
            new_rows=self.carried.new_rows,
            owed=str(self.plan.owed),
        )
        carried.write(output / "state")
        progress = self.progress
        last = progress.course.losses[-LAST_STEPS:]
        first = progress.first_loss
        found = alarm(progress.course, self.guessing, warm=True)
        notes = [found] if found else []
        if progress.skipped > SKIPPED_SHARE * progress.step:
            notes.append(
                f"{progress.skipped:,} of its {progress.step:,} steps were not taken; see "
                "records/metrics.jsonl"
            )
        return {
            "headline": "".join(
                [_headline(progress.course, last), *(f"; {note}" for note in notes)]
            ),
            "steps": progress.step,
            "tokens": self.plan.tokens,
            "tokens_total": carried.tokens,
            "rows": sampler.drawn,
            "epochs": {
                c: sampler.taken[c] / sum(self.data.bins[c]) for c in self.sampler.categories
            },
            "loss_first": first,
            "loss_of_guessing": self.guessing,
            "loss_last": statistics.fmean(last) if last else None,
            "skipped_steps": progress.skipped,
            "parameters": sum(parameter.numel() for parameter in self.language_model.parameters()),
            "parameters_trained": self.optimizer.trained,
            "mask_leak": self.leak,
            "notes": notes,
        }


def _headline(course: Course, last: list[float]) -> str:
    if not last:
        return "no step was taken"
    begun = list(course.beginnings.values())
    first = sum(total for _, _, total, _ in begun) / sum(valid for _, valid, _, _ in begun)
    return f"loss {first:.3f} to {statistics.fmean(last):.3f}"
