"""What a phase's checkpoints hold, when they are due, and how a phase resumes from one.

A checkpoint holds what training changes: the trainable parameters, their moments, each rank's
random state, and progress. It is copied in memory and written in the background; the next one
waits for it, and an error there ends training at the next step. `checkpoint.py` reads and writes
the files.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tasks.training.checkpoints import checkpoint
from tasks.training.checkpoints.checkpoint import CheckpointError
from tasks.training.checkpoints.staging import stage
from tasks.training.distributed.parts import Part, StoredTensors, local, part_of
from tasks.training.distributed.ranks import TIMEOUT, Ranks
from tasks.training.errors import TrainingStopped
from tasks.training.planning.plan import TrainingPlan
from tasks.training.recipe.durations import Duration
from tasks.training.step.optimizer import AdamW
from tasks.training.step.progress import Progress

CHECKPOINT_S, CHECKPOINT_SHARE = 30.0, 0.02
"""By default a checkpoint is written every 30 s, or less often where that would take more than 2 %
of the time.
"""

OTHERS_S = 10.0
"""Time that the main rank, when it ends alone, gives the others to write their parts."""

MODEL, MOMENTS, RNG = "model/", "moments/", "rng/"
"""What the names of a checkpoint's tensors begin with."""

_LOG = logging.getLogger(__name__)


class Checkpointer:
    """Saves and restores trained weights, moments, random state, sampler and progress.

    All ranks call its methods together.

    Args:
        keep: checkpoints kept; more than one, so that a damaged last one can be done without.
    """

    def __init__(self, folder: Path, ranks: Ranks, keep: int) -> None:
        self._folder, self._ranks, self._keep = folder, ranks, keep
        self._found: Path | None = None
        self._writing: threading.Thread | None = None
        self._error: Exception | None = None
        self._cancelled, self._part_written = threading.Event(), threading.Event()
        self._saved_step = 0
        self.saving_s = 0.0
        """Time that training waited for the last checkpoint."""
        self._waited_s = 0.0

    def find(self, fingerprint: str) -> Progress | None:
        """The progress of the newest intact checkpoint; None where there is none.

        Needs no model. Corrupt checkpoints are removed, and said to be.

        Raises:
            TrainingStopped: the checkpoint is of another plan or data.
        """
        ranks = self._ranks
        if ranks.is_main:
            checkpoint.remove_unfinished(self._folder)
        paths = [str(path) for path in reversed(checkpoint.checkpoints(self._folder))]
        for path in map(Path, ranks.from_main(paths)):
            problem = checkpoint.problem(path, (ranks.rank, ranks.world_size))
            if ranks.any(bool(problem))[0]:
                self._remove(path, problem)
                continue
            state = checkpoint.read_state(path)
            if state["fingerprint"] != fingerprint:
                raise TrainingStopped(
                    f"the checkpoints in {self._folder} are of another recipe or other data (the "
                    "last one's plan, bins or earlier phases differ); move that folder away, or "
                    "delete it, to begin this phase anew"
                )
            self._found, self._saved_step = path, state["step"]
            return Progress.from_state(state)
        return None

    def _remove(self, path: Path, problem: str) -> None:
        if problem:
            _LOG.warning(
                "checkpoint %s is not usable (%s); falling back to the one before",
                path.name,
                problem,
            )
        self._ranks.any(False)  # no rank still reads it
        if self._ranks.is_main:
            checkpoint.remove(path)

    @torch.no_grad()
    def restore(self, parameters: Mapping[str, nn.Parameter], optimizer: AdamW) -> None:
        """Load what `find` found into the model and the optimizer; nothing where it found none."""
        if self._found is None:
            return
        files = checkpoint.tensor_files(self._found)
        weights = StoredTensors(files, MODEL)
        for name, parameter in parameters.items():
            local(parameter).copy_(weights.read(name, part_of(parameter)))
        optimizer.sync()
        optimizer.load_moments(StoredTensors(files, MOMENTS))
        restore_random_state(StoredTensors(files, RNG), self._ranks)

    def save(
        self, progress: Progress, parameters: Mapping[str, nn.Parameter], optimizer: AdamW
    ) -> None:
        """Begin to write a checkpoint, once the one before is complete.

        Raises:
            TrainingStopped: the one before could not be written, or this one, where there is no
                memory for a copy.
        """
        began = time.monotonic()
        self.wait()
        tensors, parts = self._own(parameters, optimizer)
        state = asdict(progress)
        copies = self._ranks.together(lambda: stage(tensors))

        def write() -> None:
            try:
                self._write(progress_step, copies or tensors, parts, state)
            except Exception as error:
                self._error = error
            finally:
                self._part_written.set()

        self._part_written.clear()
        progress_step = progress.step
        self._writing = threading.Thread(target=write, name="checkpoint", daemon=True)
        self._writing.start()
        self._saved_step = progress.step
        # Where one rank has no room for copies, all wait, together: so they see one that dies.
        if self._ranks.any(copies is None)[0]:
            self.wait()
        self.saving_s = time.monotonic() - began
        self._waited_s += self.saving_s

    def waited_s(self) -> float:
        """Time that training waited for checkpoints since this was last asked."""
        waited_s, self._waited_s = self._waited_s, 0.0
        return waited_s

    def _own(
        self, parameters: Mapping[str, nn.Parameter], optimizer: AdamW
    ) -> tuple[dict[str, Tensor], dict[str, Part]]:
        """What this rank writes: its shards, where another replica does not; tensors that all ranks
        hold whole only on the main rank.
        """
        ranks = self._ranks
        candidates = {
            MODEL + name: (local(parameter), part_of(parameter))
            for name, parameter in parameters.items()
        } | {
            MOMENTS + key: (tensor, optimizer.part(key))
            for key, tensor in optimizer.moments().items()
        }
        written = {
            name: (tensor, part)
            for name, (tensor, part) in candidates.items()
            if (ranks.is_main if part.is_whole else ranks.is_first_replica)
            and part.last > part.first
        }
        tensors = {name: tensor for name, (tensor, _) in written.items()}
        parts = {name: part for name, (_, part) in written.items()}
        return tensors | random_state(ranks), parts

    def _write(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        parts: Mapping[str, Part],
        state: Mapping[str, Any],
    ) -> None:
        building = checkpoint.building_folder(self._folder, step, self._ranks.token)
        checkpoint.write_rank(building, self._ranks.rank, tensors, parts)
        self._part_written.set()
        if not self._ranks.is_main:
            return
        final = self._folder / checkpoint.name_of(step)
        checkpoint.complete(building, final, self._ranks.world_size, state, self._patience())
        checkpoint.prune(self._folder, self._keep)

    def _patience(self) -> Callable[[], None]:
        """Waits between looks for other ranks' files, up to the time that a collective may take."""
        give_up = time.monotonic() + TIMEOUT.total_seconds()

        def wait() -> None:
            if self._cancelled.wait(checkpoint.POLL_S):
                raise CheckpointError("another rank could not write its part")
            if time.monotonic() > give_up:
                raise CheckpointError(f"a rank has not written its part within {TIMEOUT}")

        return wait

    @property
    def is_writing(self) -> bool:
        """Whether a checkpoint is being written by this rank."""
        return self._writing is not None and self._writing.is_alive()

    @property
    def has_failed(self) -> bool:
        """Whether this rank could not write its part; `wait` then raises on all ranks."""
        return self._error is not None

    def wait(self) -> None:
        """Wait until the last checkpoint is complete.

        Raises:
            TrainingStopped: it could not be written.
        """
        # The main rank's part is to wait for the others' files; so these end first, and where one
        # failed (perhaps without room to say so in the folder) the main rank does not wait longer.
        if not self._ranks.is_main:
            self._join()
        if self._ranks.any(self.has_failed)[0]:
            self._cancelled.set()
        self._ranks.together(self._wait)

    def close(self, timeout_s: float) -> None:
        """Give a checkpoint that is being written some time to end; for a rank that ends alone.

        Other ranks may be dead, so once this rank's part is written, theirs get `OTHERS_S`.
        """
        if self._writing is not None:
            give_up = time.monotonic() + timeout_s
            self._part_written.wait(timeout_s)
            self._writing.join(max(0.0, min(OTHERS_S, give_up - time.monotonic())))

    def _join(self) -> None:
        if self._writing is not None:
            self._writing.join()
            self._writing = None

    def _wait(self) -> None:
        self._join()
        if self._error is None:
            return
        error, self._error = self._error, None
        building = checkpoint.building_folder(self._folder, self._saved_step, self._ranks.token)
        if self._ranks.is_main:
            checkpoint.remove(building)
        raise TrainingStopped(
            f"the checkpoint of step {self._saved_step} could not be written to {self._folder} "
            f"({checkpoint.free_bytes(self._folder):,} bytes free): {error}. "
            f"{self._last()} Make room, or set training.keep lower, and run again"
        ) from error

    def _last(self) -> str:
        left = checkpoint.checkpoints(self._folder)
        if not left:
            return "There is no checkpoint before it, so the phase will start over."
        return f"The one before, {left[-1].name}, is intact and will be continued from."

    def save_new_steps(
        self, progress: Progress, parameters: Mapping[str, nn.Parameter], optimizer: AdamW
    ) -> None:
        """Write a checkpoint unless the last one already holds all steps, and wait for it."""
        if progress.step > self._saved_step:
            self.save(progress, parameters, optimizer)
        self.wait()


def random_state(ranks: Ranks) -> dict[str, Tensor]:
    """This rank's random state, by name."""
    state = {f"{RNG}{ranks.rank}/cpu": torch.get_rng_state()}
    if ranks.device.type == "cuda":
        state[f"{RNG}{ranks.rank}/cuda"] = torch.cuda.get_rng_state(ranks.device)
    return state


def restore_random_state(stored: StoredTensors, ranks: Ranks) -> None:
    """Continue this rank's random state.

    It decides dropout only. Where there was no such rank, or on another kind of device, it stays
    as seeded; so a run resumed with another number of ranks has other dropout, as it would have had
    with that number from the start.
    """
    if (name := f"{ranks.rank}/cpu") in stored:
        torch.set_rng_state(stored.read(name))
    if ranks.device.type == "cuda" and (name := f"{ranks.rank}/cuda") in stored:
        torch.cuda.set_rng_state(stored.read(name), ranks.device)


class CheckpointTimer:
    """Says when a checkpoint is due: every `interval`, by default by time at low cost.

    Args:
        interval: `checkpoint_every` of the recipe.
        rows: rows of the phase that were trained before the timer starts.
    """

    def __init__(self, interval: Duration | None, plan: TrainingPlan, rows: int) -> None:
        self._interval, self._plan = interval, plan
        self._last_rows, self._last_moment = rows, time.monotonic()

    def due(self, rows: int, saving_s: float, *, writing: bool = False) -> bool:
        """Whether to write a checkpoint after `rows` rows; if so, the next interval begins.

        `writing`: whether one is still being written; by time, the next one then waits.
        """
        now = time.monotonic()
        if self._interval is not None:
            due = self._plan.passes(self._interval, self._last_rows, rows)
        else:
            pause_s = max(CHECKPOINT_S, saving_s / CHECKPOINT_SHARE)
            due = not writing and now - self._last_moment >= pause_s
        if due:
            self._last_rows, self._last_moment = rows, now
        return due
