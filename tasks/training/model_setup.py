"""What a phase trains: the model that earlier phases left, and an optimizer with their moments."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from tasks.training.attention import choose_attention
from tasks.training.layers import decoder_layers
from tasks.training.loss import LossModel
from tasks.training.numerics import COMPUTE_DTYPES, WEIGHT_DTYPES, require_precision
from tasks.training.optimizer import AdamW, set_trainable
from tasks.training.parts import StoredTensors
from tasks.training.ranks import Ranks
from tasks.training.recompute import prepare
from tasks.training.rope import use_angles_by_document
from tasks.training.sharding import fill, fits, materialise, shard, weight_files, without_weights
from tasks.training.spec import Carried
from tasks.training.stage import TrainingParameters

MOMENTS_STEM = "optimizer"
"""Files of moments in a phase's state folder: `optimizer.safetensors`, or several of one size."""

_LOG = logging.getLogger(__name__)


def load_language_model(
    checkpoint_folder: str | Path, parameters: TrainingParameters, device: torch.device
) -> Any:
    """The causal language model of a Hugging Face checkpoint, on its device, with its attention.

    Its angles are by document where they depend on lengths (`tasks.training.rope`). Notes on what
    could not be used are logged.

    Raises:
        ValueError: the folder lacks tensors that the model needs, or the model, precision or
            attention cannot be trained with on this device.
    """
    require_precision(parameters.precision, device)
    transformers_logging.disable_progress_bar()
    language_model, report = _from_pretrained(checkpoint_folder, parameters)
    if missing := sorted(report["missing_keys"]):
        raise ValueError(
            f"the model in {checkpoint_folder} lacks {len(missing):,} tensors that its config.json "
            f"requires, first {missing[0]}; complete the download, or use the config.json of this "
            "model"
        )
    language_model.to(device)
    use_angles_by_document(language_model, parameters.sequence_length)
    compute = COMPUTE_DTYPES[parameters.precision]
    chosen = choose_attention(language_model, parameters.attention, device, compute)
    for note in chosen.notes if device.type == "cuda" else ():
        _LOG.info("%s", note)
    _LOG.info("attention: %s", chosen.kind)
    return language_model


def _from_pretrained(
    checkpoint_folder: str | Path, parameters: TrainingParameters
) -> tuple[Any, dict[str, Any]]:
    """A model with a kind of attention whose mask keeps documents apart, and its loading report."""
    for implementation in ("sdpa", "eager"):
        try:
            return AutoModelForCausalLM.from_pretrained(  # type: ignore[no-any-return]
                str(checkpoint_folder),
                dtype=WEIGHT_DTYPES[parameters.precision],
                attn_implementation=implementation,
                local_files_only=True,
                output_loading_info=True,
            )
        except ValueError as error:
            if implementation == "eager" or "scaled_dot_product_attention" not in str(error):
                raise
    raise AssertionError("unreachable")


def training_model(folder: str, parameters: TrainingParameters, ranks: Ranks) -> LossModel:
    """The model of a phase on this rank's device, its trainable parameters marked; split over the
    ranks where there are several.

    Raises:
        ValueError: the model cannot be trained, or not by several ranks.
    """
    if ranks.world_size == 1:
        language_model = load_language_model(folder, parameters, ranks.device)
        set_trainable(language_model, parameters.trainable)
        return LossModel(language_model)
    stored = StoredTensors(weight_files(Path(folder)))
    with without_weights():
        language_model = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(folder, local_files_only=True),
            dtype=WEIGHT_DTYPES[parameters.precision],
            attn_implementation="sdpa",
        )
    by_rows = fits(language_model, stored)
    if by_rows:
        use_angles_by_document(language_model, parameters.sequence_length)
    else:
        _LOG.warning(
            "the tensors of this checkpoint have other names than the model's, so every rank loads "
            "all of them before it keeps its part"
        )
        language_model = load_language_model(folder, parameters, torch.device("cpu"))
    set_trainable(language_model, parameters.trainable)
    model = LossModel(language_model)
    prepare(language_model, parameters)
    shard(model, decoder_layers(language_model), ranks, parameters.precision)
    if by_rows:
        materialise(model, ranks.device)
        fill(language_model, stored)
    return model


def state_files(state: str | Path) -> list[Path]:
    """The files of moments in a state folder."""
    return sorted(Path(state).glob(f"{MOMENTS_STEM}*.safetensors"))


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
    moments = StoredTensors(state_files(state)) if state else None
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
        moments = StoredTensors()
    offload = parameters.devices.offload == "optimizer"
    return AdamW(trainable, parameters.optimizer, moments, rows, offload=offload)
