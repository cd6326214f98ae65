"""What a phase trains: the model that earlier phases left, and an optimizer with their moments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from tasks.training import checkpoint
from tasks.training.numerics import WEIGHT_DTYPES
from tasks.training.optimizer import AdamW
from tasks.training.sections import Precision
from tasks.training.spec import Carried
from tasks.training.stage import TrainingParameters

OPTIMIZER_FILE = "optimizer.safetensors"
"""Moments in a phase's state folder."""


def load_language_model(checkpoint_folder: str, precision: Precision) -> Any:
    """The causal language model of a Hugging Face checkpoint, with block masks by position."""
    transformers_logging.disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(
        checkpoint_folder,
        dtype=WEIGHT_DTYPES[precision],
        attn_implementation="sdpa",
        local_files_only=True,
    )


def phase_optimizer(
    trainable: dict[str, nn.Parameter],
    parameters: TrainingParameters,
    carried: Carried,
    state: str | None,
) -> AdamW:
    """The optimizer of a phase, with the moments of the phase before.

    `state`: folder of the state that the phase before left; None at the first.

    Raises:
        ValueError: `trainable: new-rows`, but the model stage added no rows.
    """
    moments = checkpoint.load_tensors(Path(state) / OPTIMIZER_FILE) if state else None
    rows = None
    if parameters.trainable == "new-rows":
        rows = carried.new_rows
        if rows is None:
            raise ValueError(
                "trainable: new-rows, but the model stage added no tokens to the base; use "
                "embeddings or all"
            )
    elif carried.trainable == "new-rows":
        # old rows of the matrices have no moments, so the whole matrices start without any
        moments = {}
    return AdamW(trainable, parameters.optimizer, moments, rows)
