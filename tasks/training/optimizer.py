"""AdamW over the trainable parameters, its moments by parameter name, and gradient clipping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from tasks.training.plan import Trainable
from tasks.training.sections import Optimizer


def set_trainable(language_model: nn.Module, trainable: Trainable) -> dict[str, nn.Parameter]:
    """Freeze everything outside the trainable set; returns the trainable parameters by name.

    They are in model order, tied ones once. Frozen parameters get no gradient and no moments.
    """
    matrices = (language_model.get_input_embeddings(), language_model.get_output_embeddings())  # type: ignore[operator]
    embeddings = {id(matrix.weight) for matrix in matrices if matrix is not None}
    chosen = {}
    for name, parameter in language_model.named_parameters():
        parameter.requires_grad_(trainable == "all" or id(parameter) in embeddings)
        if parameter.requires_grad:
            chosen[name] = parameter
    return chosen


class AdamW:
    """torch's fused AdamW with weight decay on matrices only and re-warming of fresh parameters.

    Args:
        parameters: the trainable ones by name.
        options: from the recipe.
        moments: from the phase before, as `moments()` returned them; parameters without any are
            `fresh`. None in the first phase, whose warm-up is the schedule's.
        rows: train only rows [first, last) of every parameter (new tokens); others get neither
            update nor decay.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        options: Optimizer,
        moments: Mapping[str, Tensor] | None = None,
        rows: tuple[int, int] | None = None,
    ) -> None:
        self._parameters = dict(parameters)
        self._rows, self._decay = rows, options.weight_decay
        carried = {name.split("/", 1)[1] for name in moments or {}}
        self.fresh = (
            [] if moments is None else sorted(name for name in parameters if name not in carried)
        )
        groups = []
        for is_fresh in (False, True):
            for decays in (True, False):
                members = [
                    parameter
                    for name, parameter in parameters.items()
                    if (name in self.fresh) == is_fresh and (parameter.ndim >= 2) == decays
                ]
                if members:
                    decay = options.weight_decay if decays and rows is None else 0.0
                    groups.append({"params": members, "weight_decay": decay, "fresh": is_fresh})
        self._optimizer = torch.optim.AdamW(
            groups, lr=options.lr, betas=options.betas, eps=options.eps, fused=True
        )
        if moments:
            self.load_moments(moments)

    @property
    def trained(self) -> int:
        """Number of trained scalars, only those in `rows` where rows are set."""
        rows = self._rows
        return sum(
            parameter.numel() if rows is None else (rows[1] - rows[0]) * parameter[0].numel()
            for parameter in self._parameters.values()
        )

    def step(self, lr: float, fresh_factor: float) -> None:
        """One update; the learning rate of fresh parameters is multiplied by `fresh_factor`."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr * fresh_factor if group["fresh"] else lr
            if self._rows is not None:  # AdamW would decay all rows
                with torch.no_grad():
                    for parameter in group["params"]:
                        parameter[slice(*self._rows)].mul_(1 - group["lr"] * self._decay)
        self._optimizer.step()

    def mask_gradients(self) -> None:
        """Zero the gradients of untrained rows; with zero moments AdamW leaves these unchanged."""
        if self._rows is None:
            return
        first, last = self._rows
        for parameter in self._parameters.values():
            if parameter.grad is not None:
                parameter.grad[:first] = 0
                parameter.grad[last:] = 0

    def zero_grad(self) -> None:
        """Drop all gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def moments(self) -> dict[str, Tensor]:
        """Moments and step counts by `kind/parameter`, of the parameters updated so far."""
        moments = {}
        for name, parameter in self._parameters.items():
            for kind, tensor in self._optimizer.state.get(parameter, {}).items():
                moments[f"{kind}/{name}"] = tensor
        return moments

    def load_moments(self, moments: Mapping[str, Tensor]) -> None:
        """Load what `moments()` returned, except moments of parameters that are not trainable now.

        Raises:
            ValueError: a moment has another shape than its parameter.
        """
        state: dict[str, dict[str, Tensor]] = {}
        for key, tensor in moments.items():
            kind, name = key.split("/", 1)
            parameter = self._parameters.get(name)
            if parameter is None:
                continue
            if kind != "step" and tensor.shape != parameter.shape:
                raise ValueError(
                    f"optimizer state {key} has shape {tuple(tensor.shape)}, but its parameter has "
                    f"{tuple(parameter.shape)}: the state is from another model"
                )
            moment = state.setdefault(name, {})[kind] = tensor.clone()
            if self._rows is not None and kind != "step":
                moment[: self._rows[0]] = 0
                moment[self._rows[1] :] = 0
        for name, entries in state.items():
            self._optimizer.state[self._parameters[name]] = entries


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> float:
    """Global L2 norm of the gradients; if it exceeds `limit`, they are scaled to it (0: never).

    The factor is limit / (norm + 1e-6), as torch's `clip_grad_norm_` has it, so that losses equal
    those of other trainers.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients, foreach=True))
    if limit and limit < norm + 1e-6:
        torch._foreach_mul_(gradients, limit / (norm + 1e-6))
    return norm
