"""The recipe's `training.devices:`: what a phase computes on, and how its ranks share the model.

Nothing here is part of a phase's version: rows, losses and checkpoints are the same for every
number of ranks. Imports are light: pydantic and the standard library.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from infra.stage import Parameters

DeviceKind = Literal["auto", "cpu", "cuda"]

_PARALLEL = ("tensor", "tensor_parallel", "tp", "pipeline", "pipeline_parallel", "pp")


class DeviceError(ValueError):
    """Devices or ranks that do not fit; names the value, what is there, and the next action."""


def _refuse_parallel(word: str) -> None:
    if word.lower() in _PARALLEL:
        kind = "pipeline" if word.lower().startswith("p") else "tensor"
        raise ValueError(
            f"{word}: {kind} parallel is not offered; set shard: full, which splits weights, "
            "gradients and moments over all ranks (shard: hybrid with replicas where the network "
            "between machines is slow), recompute: full and a smaller micro_batch for activations, "
            "and offload: optimizer where moments still do not fit"
        )


class Devices(Parameters):
    """What a phase trains on; `devices: cuda` is short for `devices: {kind: cuda}`.

    - `kind`: `auto` takes a GPU where there is one.
    - `ranks`: processes that train together, one a GPU; `auto` takes as many as there are GPUs on
      this machine (one on the CPU), or as the launcher starts.
    - `shard`: `full` splits weights, gradients and moments over all ranks (FSDP2, as ZeRO 3);
      `hybrid` splits them within each of `replicas` groups; `none` keeps them whole on each rank;
      `auto` is `full`.
    - `replicas`: groups of `hybrid`; by default one a machine.
    - `offload`: `optimizer` keeps the moments in the CPU's memory and updates weights there.
    - `launcher`: words of a command that starts the ranks, in place of torchrun; the command that
      it must start for each takes the place of `{command}`, or comes last.
    - `restarts`: how often ranks that died are started again from the last checkpoint.
    - `start_timeout`: seconds that a start may pause: until all ranks run, have found each other,
      and have loaded the model.
    """

    kind: DeviceKind = "auto"
    ranks: Literal["auto"] | Annotated[int, pydantic.Field(gt=0)] = "auto"
    shard: Literal["auto", "none", "full", "hybrid"] = "auto"
    replicas: int | None = pydantic.Field(default=None, gt=0)
    offload: Literal["none", "optimizer"] = "none"
    launcher: tuple[Annotated[str, pydantic.Field(min_length=1)], ...] = ()
    restarts: int = pydantic.Field(default=3, ge=0)
    start_timeout: float = pydantic.Field(default=600, gt=0)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"kind": value}
        if isinstance(value, dict):
            for word in (*value, value.get("shard")):
                _refuse_parallel(str(word))
        return value

    @pydantic.model_validator(mode="after")
    def _check(self) -> Devices:
        if self.replicas is not None and self.shard != "hybrid":
            raise ValueError(
                f"replicas: {self.replicas} is read with shard: hybrid only, and shard is "
                f"{self.shard}; set shard: hybrid or leave replicas out"
            )
        if self.replicas is not None and self.ranks != "auto":
            self.mesh_shape(self.ranks, self.ranks)
        return self

    def mesh_shape(self, world_size: int, ranks_per_machine: int) -> tuple[int, int]:
        """(replicas, shards): each of `replicas` groups of ranks splits the model in `shards`.

        Raises:
            DeviceError: `hybrid` over ranks that do not divide into groups.
        """
        if self.shard == "none":
            return world_size, 1
        if self.shard != "hybrid":
            return 1, world_size
        replicas = self.replicas or world_size // max(1, ranks_per_machine)
        if world_size % replicas or replicas > world_size:
            fitting = [str(n) for n in range(1, world_size + 1) if world_size % n == 0]
            raise DeviceError(
                f"replicas: {replicas} groups cannot share {world_size} ranks evenly; set "
                f"replicas to one of {', '.join(fitting)}"
            )
        return replicas, world_size // replicas
