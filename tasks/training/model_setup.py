"""What a phase trains: the model that earlier phases left, and an optimizer with their moments."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from tasks.training.adapters.inject import initialise, inject
from tasks.training.adapters.setup import AdapterPlan, held_dtype, hold_frozen, plan_adapter
from tasks.training.distributed.parts import StoredTensors
from tasks.training.distributed.ranks import Ranks
from tasks.training.distributed.sharding import (
    fill,
    fits,
    materialise,
    names_of,
    shard,
    weight_files,
    without_weights,
)
from tasks.training.model.attention import choose_attention
from tasks.training.model.layers import decoder_layers
from tasks.training.model.loss import LossModel
from tasks.training.model.numerics import COMPUTE_DTYPES, require_precision
from tasks.training.model.recompute import prepare
from tasks.training.model.rope import use_angles_by_document
from tasks.training.spec import Carried, trained_set
from tasks.training.stage import TrainingParameters
from tasks.training.step.optimizer import AdamW, embedding_matrices, set_trainable

_LOG = logging.getLogger(__name__)

MOMENTS_STEM = "optimizer"
"""Files of moments in a phase's state folder: `optimizer.safetensors`, or several of one size."""


def load_language_model(
    checkpoint_folder: str | Path, parameters: TrainingParameters, device: torch.device
) -> Any:
    """The causal language model of a Hugging Face checkpoint, on its device, with its attention.

    Its angles are by document where they depend on lengths (`model/rope.py`). Notes on what could
    not be used are logged.

    Raises:
        ValueError: the folder lacks tensors that the model needs, or the model, precision or
            attention cannot be trained with on this device.
    """
    require_precision(parameters.precision, device)
    transformers_logging.disable_progress_bar()
    dtype = held_dtype(checkpoint_folder, parameters)
    language_model, report = _with_attention(
        lambda implementation: AutoModelForCausalLM.from_pretrained(
            str(checkpoint_folder),
            dtype=dtype,
            attn_implementation=implementation,
            local_files_only=True,
            output_loading_info=True,
        )
    )
    if missing := sorted(report["missing_keys"]):
        raise ValueError(
            f"the model in {checkpoint_folder} lacks {len(missing):,} tensors that its config.json "
            f"requires, first {missing[0]}; complete the download, or use the config.json of this "
            "model"
        )
    hold_frozen(language_model, parameters, device)
    language_model.to(device)
    _fit(language_model, parameters, device)
    return language_model


def _with_attention(make: Callable[[str], Any]) -> Any:
    """What `make` makes with a kind of attention whose mask keeps documents apart."""
    try:
        return make("sdpa")
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error):
            raise
    return make("eager")


def _fit(language_model: Any, parameters: TrainingParameters, device: torch.device) -> None:
    """Angles by document, and the best kind of attention of this device."""
    use_angles_by_document(language_model, parameters.sequence_length)
    compute = COMPUTE_DTYPES[parameters.precision]
    chosen = choose_attention(language_model, parameters.attention, device, compute)
    for note in chosen.notes if device.type == "cuda" else ():
        _LOG.info("%s", note)
    _LOG.info("attention: %s", chosen.kind)


def training_model(
    folder: str, parameters: TrainingParameters, carried: Carried, ranks: Ranks
) -> LossModel:
    """The model of a phase on this rank's device, its trainable parameters marked; split over the
    ranks where there are several, or whole on each with 4-bit layers.

    Raises:
        ValueError: the model cannot be trained, or not by several ranks.
    """
    require_precision(parameters.precision, ranks.device, ranks.world_size)
    adapter, whole = parameters.adapter, ranks.world_size == 1
    plan = None
    if adapter is not None or not whole:
        empty = _without_weights(folder, parameters)
    if adapter is not None:  # refused before weights are loaded
        plan = plan_adapter(empty, adapter, carried.new_rows is not None)
        whole = whole or adapter.kind == "qlora"
    if whole:
        language_model = load_language_model(folder, parameters, ranks.device)
        _make_trainable(language_model, parameters, plan)
        if ranks.world_size > 1:
            prepare(language_model, parameters)
        return LossModel(language_model)
    stored = StoredTensors(weight_files(Path(folder)))
    shapes = [(tuple(held.shape), names) for held, names in names_of(empty).values()]
    by_rows = fits(shapes, stored)
    if by_rows:
        language_model = empty
        hold_frozen(language_model, parameters, ranks.device)
    else:
        _LOG.warning(
            "the tensors of this checkpoint have other names than the model's, so every rank loads "
            "all of them before it keeps its part"
        )
        language_model = load_language_model(folder, parameters, torch.device("cpu"))
    _make_trainable(language_model, parameters, plan)
    prepare(language_model, parameters)
    model = LossModel(language_model)
    shard(model, decoder_layers(language_model), ranks)
    if by_rows:
        materialise(model, ranks.device)
        fill(language_model, stored)
        if plan is not None:
            initialise(language_model, parameters.seed)
        model.within(lambda: _fit(language_model, parameters, ranks.device))
    return model


def _without_weights(folder: str, parameters: TrainingParameters) -> Any:
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with without_weights():
        return _with_attention(
            lambda implementation: AutoModelForCausalLM.from_config(
                config,
                dtype=held_dtype(folder, parameters),
                attn_implementation=implementation,
            )
        )


def _make_trainable(
    language_model: Any, parameters: TrainingParameters, plan: AdapterPlan | None
) -> None:
    if parameters.adapter is None or plan is None:
        set_trainable(language_model, parameters.trainable)
        return
    inject(language_model, parameters.adapter, plan.targets, parameters.seed)
    if plan.embeddings != "frozen":
        for parameter in embedding_matrices(language_model):
            parameter.requires_grad_()


def state_files(state: str | Path) -> list[Path]:
    """The files of moments in a state folder."""
    return sorted(Path(state).glob(f"{MOMENTS_STEM}*.safetensors"))


def phase_optimizer(
    language_model: Any,
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
    matrices = {id(matrix) for matrix in embedding_matrices(language_model)}
    embeddings = [name for name, parameter in trainable.items() if id(parameter) in matrices]
    rows = {}
    if trained_set(parameters, carried) == "new-rows":
        if carried.new_rows is None:
            raise ValueError(
                "trainable: new-rows, but the model stage added no tokens to the base; use "
                "embeddings or all"
            )
        rows = dict.fromkeys(embeddings, carried.new_rows)
    elif carried.trainable == "new-rows":
        # old rows of the matrices have no moments, so the whole matrices start without any
        moments = StoredTensors()
    return AdamW(
        trainable,
        parameters.optimizer,
        moments,
        rows,
        offload=parameters.devices.offload == "optimizer",
        wide=_input_embeddings(language_model, embeddings),
    )


def _input_embeddings(language_model: Any, names: list[str]) -> list[str]:
    """Those of `names` that are the input matrix."""
    held = language_model.get_input_embeddings().weight
    return [name for name in names if language_model.get_parameter(name) is held]
