"""Ray's nodes, which are started with the first run on them: that takes half a minute."""

from __future__ import annotations

from typing import Any, Self

from tests.loopback.ray_nodes import RayNodes


class Nodes:
    """A cluster of two nodes, of which the second is killed."""

    def __init__(self) -> None:
        self._nodes: RayNodes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._nodes is not None:
            self._nodes.__exit__()

    def _started(self) -> RayNodes:
        if self._nodes is None:
            self._nodes = RayNodes().__enter__()
        return self._nodes

    @property
    def engine(self) -> tuple[str, ...]:
        """Words with which a run uses them."""
        settings = {
            "kind": "ray",
            "workers": 2,
            "timeout_s": 120,
            "address": self._started().address,
        }
        return tuple(word for k, v in settings.items() for word in ("-s", f"engine.{k}={v}"))

    @property
    def environment(self) -> dict[str, str]:
        """With which runs may use them."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self._started().token)}

    def kill_second(self) -> Any:
        """`kill -9` of the second node, which then joins anew; how many processes that were."""
        killed = self._started().kill_second()
        self._started().start_second()
        return killed
