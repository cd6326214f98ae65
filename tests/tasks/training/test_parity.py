"""Losses and gradients against a plain loop and Hugging Face Trainer, on a real small Llama.

`python -m tests.tasks.training.test_parity FOLDER` prints the differences over 50 steps.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tasks.checkpoints.base import open_base
from tasks.training.loop import Phase
from tests.tasks.training.doubles import in_float64
from tests.tasks.training.references import Course, hugging_face, plain_loop
from tests.tasks.training.toys import parameters, save_bins, spec

LENGTH, VOCABULARY, ROWS = 64, 512, 8


def settings(steps: int, precision: str) -> Any:
    """50 steps of 8 rows in micro-batches of 2, with warm-up, a cosine, decay and clipping."""
    total = steps * ROWS * LENGTH
    return parameters(
        tokens=f"{steps * ROWS} rows", batch=ROWS * LENGTH, sequence_length=LENGTH,
        mixture={"a": 0.6, "b": 0.4}, precision=precision, micro_batch=2, guard={"spike": 0},
        optimizer={"lr": 1e-3, "gradient_clip": 1.0},
        schedule={"kind": "cosine", "warmup": total // 10, "final_ratio": 0.1, "decay": 0.1},
    )  # fmt: skip


def ours(folder: Path, bins: dict[str, list[str]], values: Any, scratch: Path) -> Course:
    """The same by `Phase`."""
    phase, course = Phase(spec(scratch, folder, bins, values)), Course()
    step = phase.optimizer.step

    def watched(*args: Any) -> None:
        if not course.first_gradients:
            course.first_gradients = {n: p.grad.clone() for n, p in phase.trainable.items()}
        step(*args)

    phase.optimizer.step = watched  # type: ignore[method-assign]
    phase.train(lambda metrics: course.losses.append(metrics["loss"]))
    return course


def gradient_difference(mine: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Largest difference of a parameter's gradient, relative to its norm."""
    assert mine.keys() == other.keys()
    return max(float((mine[n] - other[n]).norm() / other[n].norm()) for n in mine)


def compare(
    base: Path, scratch: Path, steps: int, precision: str
) -> dict[str, tuple[float, float]]:
    """Peer -> largest difference of losses, and of the first step's gradients."""
    bins = save_bins(
        scratch / "bins", {"a": [2 * ROWS * steps], "b": [2 * ROWS * steps]}, length=LENGTH,
        vocabulary=VOCABULARY,
    )  # fmt: skip
    values = settings(steps, precision)
    mine = ours(base, bins, values, scratch / "ours")
    assert len(mine.losses) == steps
    found = {}
    for name, course in {
        "plain loop": plain_loop(base, bins, values),
        "Trainer": hugging_face(base, bins, values, scratch / "trainer"),
    }.items():
        assert len(course.losses) == steps
        found[name] = (
            max(abs(a - b) for a, b in zip(mine.losses, course.losses, strict=True)),
            gradient_difference(mine.first_gradients, course.first_gradients),
        )
    torch.use_deterministic_algorithms(False)
    return found


@pytest.mark.real
@pytest.mark.parametrize(
    ("precision", "losses", "gradients"), [("fp64", 1e-10, 1e-9), ("fp32", 1e-5, 1e-4)]
)
def test_parity(
    stories260k: Path, tmp_path: Path, precision: str, losses: float, gradients: float
) -> None:
    with in_float64():
        base = open_base(stories260k, tmp_path / "base")
        for name, (loss, gradient) in compare(base, tmp_path, 6, precision).items():
            assert loss <= losses, name
            assert gradient <= gradients, name


def main() -> None:
    """Print the differences over 50 steps of the model in the folder given (stories260K)."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        base = open_base(Path(sys.argv[1]), root / "base")
        for precision in ("fp64", "fp32"):
            with in_float64():
                for name, (loss, gradient) in compare(
                    base, root / precision, 50, precision
                ).items():
                    sys.stdout.write(
                        f"{precision} against {name}: losses {loss:.1e} nats over 50 steps, first "
                        f"gradients {gradient:.1e}\n"
                    )


if __name__ == "__main__":
    main()
