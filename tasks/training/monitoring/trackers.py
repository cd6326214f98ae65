"""trackio and wandb behind one small interface: where a phase's metrics also go, if wished.

Where and how they keep runs is theirs to say, by their own environment variables (WANDB_MODE,
WANDB_PROJECT, TRACKIO_DIR, ...). A tracker that fails is told of once in the log and left out from
then on: training does not depend on it.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.training.recipe.monitoring import Tracker

PROJECT = "puna"
"""Project of runs, unless the tracker's environment variable names another."""

FINISH_S = 60.0
"""Time that a tracker has to send what is left when the phase ends."""

_LOG = logging.getLogger(__name__)


class Tracking:
    """A run of a tracker; `none`, or one that has failed, ignores everything.

    Args:
        name: of the run.
        id: the same when the phase is resumed.
        config: what the run is about; JSON.
        folder: for the tracker's own files.
    """

    def __init__(
        self, kind: Tracker, name: str, id: str, config: Mapping[str, Any], folder: Path
    ) -> None:
        self._kind, self._module = kind, None
        self._attempt("begin", lambda: self._begin(name, id, config, folder))

    @property
    def is_on(self) -> bool:
        """Whether metrics still reach it."""
        return self._module is not None

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log values at an optimizer step."""
        if (module := self._module) is not None:
            self._attempt("log", lambda: module.log(dict(values), step=step))

    def close(self) -> None:
        """End the run; a tracker that cannot within `FINISH_S` is left behind."""
        if (module := self._module) is None:
            return
        context = contextvars.copy_context()  # in which trackio keeps its run
        thread = threading.Thread(
            target=lambda: context.run(self._attempt, "finish", module.finish),
            daemon=True,
            name="tracker",
        )
        thread.start()
        thread.join(FINISH_S)
        if thread.is_alive():
            _LOG.warning("%s has not sent everything after %.0f s", self._kind, FINISH_S)
        self._module = None

    def _begin(self, name: str, id: str, config: Mapping[str, Any], folder: Path) -> None:
        if self._kind == "none":
            return
        module: Any = importlib.import_module(self._kind)
        if self._kind == "wandb":
            module.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=name,
                id=id,
                resume="allow",
                config=dict(config),
                dir=str(folder),
                settings=module.Settings(console="off"),
            )
            # Over tokens, as in TensorBoard.
            module.define_metric("*", step_metric="tokens")
        else:
            module.init(
                project=os.environ.get("TRACKIO_PROJECT", PROJECT),
                name=f"{name}-{id}",
                resume="allow",
                config=dict(config),
            )
        self._module = module

    def _attempt(self, what: str, call: Callable[[], Any]) -> None:
        try:
            # Standard output is the training process's channel to its parent.
            with contextlib.redirect_stdout(sys.stderr):
                call()
        except ImportError as error:
            self._module = None
            _LOG.warning(
                "training.tracker: %s cannot be imported (%s); install it with: pip install "
                "'puna[%s]'. Training goes on without it",
                self._kind,
                error,
                self._kind,
            )
        except (Exception, SystemExit) as error:
            self._module = None
            _LOG.warning(
                "%s failed to %s (%s); training goes on without it, and TensorBoard files and "
                "metrics.jsonl have everything",
                self._kind,
                what,
                str(error).splitlines()[0] if str(error) else type(error).__name__,
            )
