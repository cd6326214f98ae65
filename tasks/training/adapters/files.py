"""The adapter of a phase as PEFT writes it: `adapter_config.json`, `adapter_model.safetensors`.

`PeftModel.from_pretrained(base, folder)` over the checkpoint that the phase began with gives the
model that the phase ended with. Matrices that were trained beside the adapter are in it as PEFT's
`modules_to_save`; tied ones under both names, as PEFT asks for them, and `ensure_weight_tying`
keeps them tied.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from tasks.training.adapters.targets import AdapterError
from tasks.training.distributed.ranks import Ranks
from tasks.training.distributed.sharding import names_of
from tasks.training.model.names import ADAPTER, is_adapter, saved_name

FOLDER = "adapter"
"""Folder in a phase's output."""


def adapter_weights(language_model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of the adapter, and trained ones beside it, by their names in PEFT's file."""
    return {
        saved_name(name): parameter
        for first, (parameter, names) in names_of(language_model).items()
        if is_adapter(first) or parameter.requires_grad
        for name in names
    }


def write_adapter(
    folder: Path, language_model: Any, gathered: dict[str, Tensor | None], ranks: Ranks
) -> None:
    """Write an adapter's folder; only the main rank does.

    Args:
        gathered: whole tensors of `adapter_weights`.
    """
    if not ranks.is_main:
        return
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.clone() for name, tensor in gathered.items() if tensor is not None}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = language_model.peft_config[ADAPTER]
    beside = sorted(
        {
            name.rsplit(".", 2)[-2]
            for first, (parameter, names) in names_of(language_model).items()
            if parameter.requires_grad and not is_adapter(first)
            for name in names
        }
    )
    config.modules_to_save = beside or None
    config.inference_mode = True
    if beside and _is_tied(language_model):
        if not hasattr(config, "ensure_weight_tying"):
            raise AdapterError(
                "this release of PEFT unties matrices that are trained beside an adapter; "
                "install peft >= 0.18"
            )
        config.ensure_weight_tying = True
    config.save_pretrained(folder)


def _is_tied(language_model: Any) -> bool:
    head = language_model.get_output_embeddings()
    return head is not None and head.weight is language_model.get_input_embeddings().weight
