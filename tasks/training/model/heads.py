"""What a model does between its last hidden states and its logits.

    logits = cap(scale * (H W^T + b)),  cap(z) = c tanh(z / c), or z without a cap

Llama has neither scale nor cap nor b. Others state theirs in their configuration, under names of
their own (`_SCALES`, `_CAPS`); a head that this does not describe is caught by the start-up probe
`tasks.training.model.probe.probe_loss`, which compares with the model's own forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


class UnknownHead(ValueError):
    """A head that Puna would compute wrongly; the message names what is different."""


@dataclass(frozen=True)
class Head:
    """How logits follow from the product of hidden states and the output matrix."""

    scale: float = 1.0
    cap: float | None = None

    def logits(self, products: Tensor) -> Tensor:
        """Logits from H W^T + b; differentiable, nothing is overwritten."""
        scaled = products if self.scale == 1 else products * self.scale
        return scaled if self.cap is None else self.cap * (scaled / self.cap).tanh()


_SCALES = {
    "logits_scaling": -1,  # Granite divides
    "logit_scale": 1,  # Cohere multiplies
    "lm_head_multiplier": 1,  # Falcon-H1
}
"""Configuration key -> power to which it multiplies the logits."""

_SCALES_OF = {
    "hyperclovax": {"logits_scaling": 1},
    "mpt": {"logit_scale": 0},  # in its configuration, but transformers' forward ignores it
}
"""The same where a model type means something else by the key."""

_CAPS = ("final_logit_softcapping", "output_logit_soft_cap")


def head_of(language_model: Any) -> Head:
    """Scale and cap that a model's configuration states.

    Raises:
        UnknownHead: the model adds a loss of its own to cross entropy.
    """
    config = language_model.config
    if getattr(config, "output_router_logits", False):
        raise UnknownHead(
            "output_router_logits is true in config.json: the model's own loss then has a term for "
            "its router, which Puna does not train with; set it to false to train with cross "
            "entropy alone"
        )
    scale = 1.0
    for key, usual in _SCALES.items():
        value = getattr(config, key, None)
        power = _SCALES_OF.get(config.model_type, {}).get(key, usual)
        if value is not None:
            scale *= float(value) ** power
    caps = [value for key in _CAPS if (value := getattr(config, key, None))]
    return Head(scale, float(caps[0]) if caps else None)


def head_parameters(language_model: Any) -> tuple[Tensor, Tensor | None]:
    """Weight (V, D) and bias (V,) of the output head, as they are now (unsharded in a forward).

    Raises:
        UnknownHead: there is none, or it is no plain linear layer.
    """
    head = language_model.get_output_embeddings()
    if type(head).__name__ == "ModulesToSaveWrapper":  # PEFT: a copy that is trained in full
        head = head.modules_to_save[head.active_adapters[0]]
    name = type(language_model).__name__
    if head is None:
        raise UnknownHead(f"{name} has no output head, so it is no causal language model")
    if getattr(type(head), "forward", None) is not nn.Linear.forward:
        raise UnknownHead(
            f"{name} has an output head of type {type(head).__name__}; Puna trains plain linear "
            "heads: leave lm_head out of adapters (or train it in full) and of quantization"
        )
    return head.weight, head.bias
