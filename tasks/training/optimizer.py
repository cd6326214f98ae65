"""AdamW over the trainable parameters, and its moments by parameter name.

It works on each rank's own part of the parameters, plain tensors of the same memory: AdamW is
elementwise, so ranks need not speak.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tasks.training.parts import Part, StoredTensors, local, part_of
from tasks.training.sections import Optimizer, Trainable


def set_trainable(language_model: nn.Module, trainable: Trainable) -> None:
    """Freeze everything outside the trainable set.

    Frozen parameters get no gradient and no moments.
    """
    matrices = (language_model.get_input_embeddings(), language_model.get_output_embeddings())  # type: ignore[operator]
    embeddings = {id(matrix.weight) for matrix in matrices if matrix is not None}
    for parameter in language_model.parameters():
        parameter.requires_grad_(trainable == "all" or id(parameter) in embeddings)


def trainable_parameters(language_model: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable parameters by name, in model order, tied ones once."""
    named = language_model.named_parameters()
    return {name: parameter for name, parameter in named if parameter.requires_grad}


class AdamW:
    """torch's fused AdamW with weight decay on matrices only and re-warming of fresh parameters.

    Args:
        parameters: the trainable ones by name.
        options: from the recipe.
        moments: those that the phase before left, by `kind/parameter`; parameters without any are
            `fresh`. None in the first phase, whose warm-up is the schedule's.
        rows: train only rows [first, last) of every parameter (new tokens); others get neither
            update nor decay.
        offload: keep moments, and a copy of the weights, in the CPU's memory and update them there;
            a step copies gradients to it and weights back.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        options: Optimizer,
        moments: StoredTensors | None = None,
        rows: tuple[int, int] | None = None,
        *,
        offload: bool = False,
    ) -> None:
        self._parameters = dict(parameters)
        self._parts = {name: part_of(parameter) for name, parameter in parameters.items()}
        self._rows, self._decay, self._offload = rows, options.weight_decay, offload
        # What the optimizer updates: this rank's part of each parameter, or a copy of it.
        self._updated = {
            name: self._copy(parameter) if offload else local(parameter).requires_grad_()
            for name, parameter in parameters.items()
        }
        carried = {name.split("/", 1)[1] for name in moments or ()}
        self.fresh = (
            [] if moments is None else sorted(name for name in parameters if name not in carried)
        )
        groups = []
        for is_fresh in (False, True):
            for decays in (True, False):
                members = [
                    self._updated[name]
                    for name, parameter in parameters.items()
                    if (name in self.fresh) == is_fresh and (parameter.ndim >= 2) == decays
                ]
                if members:
                    decay = options.weight_decay if decays and rows is None else 0.0
                    groups.append({"params": members, "weight_decay": decay, "fresh": is_fresh})
        self._optimizer = torch.optim.AdamW(
            groups, lr=options.lr, betas=options.betas, eps=options.eps, fused=True
        )
        if moments is not None:
            self.load_moments(moments)

    @property
    def trained(self) -> int:
        """Number of trained scalars of all ranks, only those in `rows` where rows are set."""
        rows = self._rows
        return sum(
            parameter.numel()
            if rows is None
            else (rows[1] - rows[0]) * math.prod(parameter.shape[1:])
            for parameter in self._parameters.values()
        )

    @property
    def parts(self) -> dict[str, Part]:
        """The part of each parameter that this rank updates."""
        return self._parts

    @torch.no_grad()
    def step(self, lr: float, fresh_factor: float) -> None:
        """One update; the learning rate of fresh parameters is multiplied by `fresh_factor`."""
        for name, parameter in self._parameters.items():
            gradient = None if parameter.grad is None else local(parameter.grad)
            if gradient is not None and self._offload:
                gradient = gradient.to("cpu", non_blocking=True)
            self._updated[name].grad = gradient
        if self._offload and torch.cuda.is_available():
            torch.cuda.synchronize()
        for group in self._optimizer.param_groups:
            group["lr"] = lr * fresh_factor if group["fresh"] else lr
        if self._rows is not None:  # AdamW would decay all rows
            self._decay_rows(lr, fresh_factor, self._rows)
        self._optimizer.step()
        for name, updated in self._updated.items():
            updated.grad = None
            if self._offload:
                local(self._parameters[name]).copy_(updated, non_blocking=True)

    def _decay_rows(self, lr: float, fresh_factor: float, rows: tuple[int, int]) -> None:
        for name, updated in self._updated.items():
            rate = lr * fresh_factor if name in self.fresh else lr
            updated[self._parts[name].within(rows)] *= 1 - rate * self._decay

    def mask_gradients(self) -> None:
        """Zero the gradients of untrained rows; with zero moments AdamW leaves these unchanged."""
        if self._rows is None:
            return
        for name, parameter in self._parameters.items():
            if parameter.grad is not None:
                self._zero_other_rows(name, local(parameter.grad))

    def _zero_other_rows(self, name: str, values: Tensor) -> None:
        if self._rows is not None:
            trained = self._parts[name].within(self._rows)
            values[: trained.start] = 0
            values[trained.stop :] = 0

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    def moments(self) -> dict[str, Tensor]:
        """This rank's part of the moments, and step counts, by `kind/parameter`, of the parameters
        updated so far.
        """
        moments = {}
        for name, updated in self._updated.items():
            for kind, tensor in self._optimizer.state.get(updated, {}).items():
                moments[f"{kind}/{name}"] = tensor
        return moments

    def part(self, key: str) -> Part:
        """The part of the moment `kind/parameter` that this rank holds."""
        kind, name = key.split("/", 1)
        return Part.whole(()) if kind == "step" else self._parts[name]

    def load_moments(self, moments: StoredTensors) -> None:
        """Load what `moments()` returned on all ranks, except moments of parameters that are not
        trainable now.

        Raises:
            ValueError: a moment has another shape than its parameter.
        """
        for key in moments:
            kind, name = key.split("/", 1)
            parameter = self._parameters.get(name)
            if parameter is None:
                continue
            if kind != "step" and moments.shape(key) != tuple(parameter.shape):
                raise ValueError(
                    f"optimizer state {key} has shape {moments.shape(key)}, but its parameter has "
                    f"{tuple(parameter.shape)}: the state is from another model"
                )
            updated = self._updated[name]
            moment = moments.read(key, self.part(key)).to(updated.device)
            if kind != "step":
                self._zero_other_rows(name, moment)
            self._optimizer.state[updated][kind] = moment

    def sync(self) -> None:
        """Take over parameters that were changed from outside (a checkpoint was loaded)."""
        if self._offload:
            with torch.no_grad():
                for name, updated in self._updated.items():
                    updated.copy_(local(self._parameters[name]))

    @staticmethod
    def _copy(parameter: nn.Parameter) -> Tensor:
        own = local(parameter)
        copied = torch.empty_like(own, device="cpu", pin_memory=own.is_cuda)
        return copied.copy_(own).requires_grad_()
