"""AdamW over the trainable parameters, and its moments by parameter name.

It works on each rank's own part of the parameters, plain tensors of the same memory: AdamW is
elementwise, so ranks need not speak.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tasks.training.distributed.parts import Part, StoredTensors, local, part_of
from tasks.training.recipe.sections import Optimizer, Trainable
from tasks.training.step.compact_adamw import (
    MAGNITUDES,
    CompactAdamW,
    magnitudes_part,
    require_compact,
)


def set_trainable(language_model: nn.Module, trainable: Trainable) -> None:
    """Freeze everything outside the trainable set.

    Frozen parameters get no gradient and no moments.
    """
    embeddings = {id(matrix) for matrix in embedding_matrices(language_model)}
    for parameter in language_model.parameters():
        parameter.requires_grad_(trainable == "all" or id(parameter) in embeddings)


def embedding_matrices(language_model: nn.Module) -> list[nn.Parameter]:
    """Input and output matrix; the same one twice where they are tied."""
    modules = (language_model.get_input_embeddings(), language_model.get_output_embeddings())  # type: ignore[operator]
    return [module.weight for module in modules if module is not None]


def trainable_parameters(language_model: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable parameters by name, in model order, tied ones once."""
    named = language_model.named_parameters()
    return {name: parameter for name, parameter in named if parameter.requires_grad}


class AdamW:
    """AdamW, torch's fused one or one of bitsandbytes, with weight decay on matrices only and
    re-warming of fresh parameters.

    Args:
        parameters: the trainable ones by name.
        options: from the recipe.
        moments: those that the phase before left, by `kind/parameter`; parameters without any are
            `fresh`. None in the first phase, whose warm-up is the schedule's.
        rows: parameters of which only rows [first, last) are trained (new tokens); others of them
            get neither update nor decay.
        offload: keep moments, and a copy of the weights, in the CPU's memory and update them there;
            a step copies gradients to it and weights back.
        wide: names of parameters whose moments stay in float32 where others have 8 bits.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        options: Optimizer,
        moments: StoredTensors | None = None,
        rows: Mapping[str, tuple[int, int]] | None = None,
        *,
        offload: bool = False,
        wide: Collection[str] = (),
    ) -> None:
        self._parameters = dict(parameters)
        self._parts = {name: part_of(parameter) for name, parameter in parameters.items()}
        self._rows, self._decay, self._offload = rows or {}, options.weight_decay, offload
        # What the optimizer updates: this rank's part of each parameter, or a copy of it.
        self._updated = {
            name: self._copy(parameter) if offload else local(parameter).requires_grad_()
            for name, parameter in parameters.items()
        }
        carried = {name.split("/", 1)[1] for name in moments or ()}
        self.fresh = (
            [] if moments is None else sorted(name for name in parameters if name not in carried)
        )
        self._optimizer = self._engine(self._groups(options), options, wide)
        if moments is not None:
            self.load_moments(moments)

    def _groups(self, options: Optimizer) -> list[dict[str, Any]]:
        """Parameters by whether they are fresh, and decay."""
        groups: dict[tuple[bool, float], list[Tensor]] = {}
        for name, parameter in self._parameters.items():
            # rows are decayed by hand: AdamW would decay all
            decays = parameter.ndim >= 2 and name not in self._rows
            key = (name in self.fresh, options.weight_decay if decays else 0.0)
            groups.setdefault(key, []).append(self._updated[name])
        return [
            {"params": members, "weight_decay": decay, "fresh": fresh}
            for (fresh, decay), members in groups.items()
        ]

    def _engine(
        self, groups: list[dict[str, Any]], options: Optimizer, wide: Collection[str]
    ) -> _TorchAdamW | CompactAdamW:
        if options.name == "adamw":
            return _TorchAdamW(groups, options)
        some = next(iter(self._updated.values()))
        bitsandbytes = require_compact(options.name, some.device, some.dtype, offload=self._offload)
        kept = {id(self._updated[name]) for name in wide if name in self._updated}
        return CompactAdamW(bitsandbytes, groups, options.name, options, kept)

    @property
    def trained(self) -> int:
        """Number of trained scalars of all ranks, only those in `rows` where rows are set."""
        total = 0
        for name, parameter in self._parameters.items():
            first, last = self._rows.get(name, (0, 0))
            rows = last - first if name in self._rows else math.prod(parameter.shape[:1])
            total += rows * math.prod(parameter.shape[1:])
        return total

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
        self._decay_rows(lr, fresh_factor)
        self._optimizer.step()
        for name, updated in self._updated.items():
            updated.grad = None
            if self._offload:
                local(self._parameters[name]).copy_(updated, non_blocking=True)

    def _decay_rows(self, lr: float, fresh_factor: float) -> None:
        for name, rows in self._rows.items():
            rate = lr * fresh_factor if name in self.fresh else lr
            self._updated[name][self._parts[name].within(rows)] *= 1 - rate * self._decay

    def mask_gradients(self) -> None:
        """Zero the gradients of untrained rows; with zero moments AdamW leaves these unchanged."""
        for name in self._rows:
            gradient = self._parameters[name].grad
            if gradient is not None:
                self._zero_other_rows(name, local(gradient))

    def _zero_other_rows(self, name: str, values: Tensor) -> None:
        if name in self._rows:
            trained = self._parts[name].within(self._rows[name])
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
            for kind, tensor in self._optimizer.moments(updated).items():
                moments[f"{kind}/{name}"] = tensor
        return moments

    def portable(self) -> dict[str, Tensor]:
        """The moments without what only the same optimizer reads; for the next phase."""
        return {
            key: tensor
            for key, tensor in self.moments().items()
            if key.split("/", 1)[0] not in MAGNITUDES
        }

    def part(self, key: str) -> Part:
        """The part of the moment `kind/parameter` that this rank holds."""
        kind, name = key.split("/", 1)
        if kind in MAGNITUDES:
            return magnitudes_part(self._parameters[name])
        return Part.whole(()) if kind == "step" else self._parts[name]

    def load_moments(self, moments: StoredTensors) -> None:
        """Load what `moments()` returned on all ranks, except moments of parameters that are not
        trainable now.

        Raises:
            ValueError: a moment has another shape than its parameter.
        """
        kinds: dict[str, list[str]] = {}
        for key in moments:
            kind, name = key.split("/", 1)
            if name in self._parameters:
                kinds.setdefault(name, []).append(kind)
        for name, found in kinds.items():
            updated = self._updated[name]
            own = {}
            for kind in found:
                key = f"{kind}/{name}"
                if kind in MAGNITUDES:
                    if moments.shape(key) == self.part(key).shape:
                        own[kind] = moments.read(key, self.part(key))
                    continue
                shape = tuple(self._parameters[name].shape)
                if kind != "step" and moments.shape(key) != shape:
                    raise ValueError(
                        f"optimizer state {key} has shape {moments.shape(key)}, but its parameter "
                        f"has {shape}: the state is from another model"
                    )
                own[kind] = moments.read(key, self.part(key))
                if kind != "step":
                    self._zero_other_rows(name, own[kind])
            self._optimizer.load(updated, own)

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


class _TorchAdamW:
    """torch's fused AdamW over groups of tensors."""

    def __init__(self, groups: list[dict[str, Any]], options: Optimizer) -> None:
        self._optimizer = torch.optim.AdamW(
            groups, lr=options.lr, betas=options.betas, eps=options.eps, fused=True
        )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self._optimizer.param_groups

    def step(self) -> None:
        self._optimizer.step()

    def moments(self, tensor: Tensor) -> dict[str, Tensor]:
        return dict(self._optimizer.state.get(tensor, {}))

    def load(self, tensor: Tensor, moments: Mapping[str, Tensor]) -> None:
        self._optimizer.state[tensor] = {
            kind: moment.to(tensor.device)
            for kind, moment in moments.items()
            if kind not in MAGNITUDES
        }
