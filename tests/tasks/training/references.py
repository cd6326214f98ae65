"""The same training by others: a plain loop in a few lines, and Hugging Face Trainer.

Settings are those of `training_settings`: AdamW with decay on matrices only, a cosine with warm-up,
clipping, gradient accumulation, rows in the order that our sampler draws them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

from tasks.training.planning.plan import TrainingPlan
from tasks.training.planning.sampler import Sampler
from tasks.training.stage import TrainingParameters
from tasks.training.step.data import PackedRows

DTYPES = {"fp32": torch.float32, "fp64": torch.float64}


class Course:
    """What a reference computed: the loss of each step, and the first step's clipped gradients."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.first_gradients: dict[str, Tensor] = {}


def drawn_rows(
    values: TrainingParameters, bins: dict[str, list[str]]
) -> tuple[TrainingPlan, list[tuple[Tensor, Tensor, Tensor]]]:
    """The plan of a phase, and ids, targets and positions of each of its steps."""
    data = PackedRows(bins, values.sequence_length)
    plan = values.plan(0)
    sampler = Sampler(
        data.bins, plan.mixture, sequence_length=plan.sequence_length, seed=values.seed,
        max_epochs=values.max_epochs, taken={},
    )  # fmt: skip
    return plan, [data.batch(list(sampler.draw(step.rows))) for step in plan.steps()]


def learning_rates(plan: TrainingPlan) -> list[float]:
    """The rate of each step: that at its end, in tokens."""
    length = plan.sequence_length
    return [plan.schedule.lr((step.first_row + step.rows) * length) for step in plan.steps()]


def _groups(model: Any, decay: float) -> list[dict[str, Any]]:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return [
        {"params": matrices, "weight_decay": decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def _adamw(model: Any, values: TrainingParameters) -> torch.optim.AdamW:
    options = values.optimizer
    return torch.optim.AdamW(
        _groups(model, options.weight_decay), lr=options.lr, betas=options.betas, eps=options.eps
    )


def plain_loop(folder: Path, bins: dict[str, list[str]], values: TrainingParameters) -> Course:
    """The plainest loop: whole steps at once, logits of the whole batch, no chunks."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[values.precision])
    plan, steps = drawn_rows(values, bins)
    optimizer, course = _adamw(model, values), Course()
    for (ids, targets, positions), lr in zip(steps, learning_rates(plan), strict=True):
        optimizer.zero_grad()
        logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), values.optimizer.gradient_clip)
        if not course.losses:
            course.first_gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        course.losses.append(loss.item())
    return course


class _Rows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """All rows of all steps, in order."""

    def __init__(self, steps: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        names = ("input_ids", "shift_labels", "position_ids")
        columns = [torch.cat(tensors) for tensors in zip(*steps, strict=True)]
        self._columns = dict(zip(names, columns, strict=True))
        # transformers computes no loss without `labels`; it takes `shift_labels` where both are.
        self._columns["labels"] = functional.pad(columns[1], (1, 0), value=-100)[:, :-1]

    def __len__(self) -> int:
        return len(self._columns["input_ids"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: column[index] for name, column in self._columns.items()}


class _Trainer(Trainer):
    """Trainer with its rows in order and our loss by step, undivided by its logging."""

    course: Course
    _now = 0.0

    def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        loss = super().compute_loss(model, inputs | {"use_cache": False}, *args, **options)
        self._now += float(loss.detach())
        return loss


class _Watch(TrainerCallback):
    def __init__(self, trainer: Callable[[], _Trainer]) -> None:
        self._trainer = trainer

    def on_pre_optimizer_step(self, *_: Any, model: Any = None, **__: Any) -> None:
        trainer = self._trainer()
        if not trainer.course.losses:
            named = model.named_parameters()
            trainer.course.first_gradients = {name: p.grad.clone() for name, p in named}
        trainer.course.losses.append(trainer._now)
        trainer._now = 0.0


def hugging_face(
    folder: Path, bins: dict[str, list[str]], values: TrainingParameters, scratch: Path
) -> Course:
    """Hugging Face Trainer with matched settings; all steps must have the same number of rows."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[values.precision])
    plan, steps = drawn_rows(values, bins)
    rows = len(steps[0][0])
    rates = learning_rates(plan)
    optimizer = _adamw(model, values)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rates[min(step, len(rates) - 1)] / values.optimizer.lr
    )
    trainer = _Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(scratch), per_device_train_batch_size=values.micro_batch,
            gradient_accumulation_steps=rows // values.micro_batch, max_steps=len(steps),
            max_grad_norm=values.optimizer.gradient_clip, save_strategy="no", report_to=[],
            use_cpu=True, disable_tqdm=True, logging_strategy="no", remove_unused_columns=False,
        ),
        train_dataset=_Rows(steps),
        optimizers=(optimizer, schedule),
    )  # fmt: skip
    trainer.course = Course()
    trainer.add_callback(_Watch(lambda: trainer))
    trainer.train()
    return trainer.course
