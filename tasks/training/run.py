"""Run the training stage: supervise the processes that train, show progress, publish the output."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from infra.context import WARNING, Context
from infra.interrupts import saved_on_interrupt
from infra.stage import Outcome, StageError
from infra.store import Artifact, Shard
from tasks.checkpoints.config_keys import for_all_readers, has_nested_rope, rope_of
from tasks.checkpoints.context import ContextLength
from tasks.checkpoints.rope import extended
from tasks.checkpoints.text_files import read_json, write_json
from tasks.documents.bins import category_of, most_repeated
from tasks.documents.proposals import proposed_shares
from tasks.documents.selected import HELD_OUT_FOLDER
from tasks.training.monitoring.names import EVALUATIONS, METRICS, SAMPLES, TENSORBOARD, in_words
from tasks.training.origin import refuse_other_tokenizer
from tasks.training.recipe.mixtures import TimesNatural
from tasks.training.spec import CHECKPOINTS, STOP, resume_place
from tasks.training.stage import TrainingParameters
from tasks.training.supervision.sharing import SharedCheckpoints
from tasks.training.supervision.supervise import GRACE_S, Listener, Stopped, Supervisor

PHASE = "phase"
"""Key of the one shard."""


def run(context: Context) -> Outcome:
    """Train one phase.

    Inputs: `previous` (model/main or training/<phase>) and `bins` (binning/<category>, one per
    category). Data: `checkpoint/` (Hugging Face) and `state/` (optimizer moments and sampler, for
    the next phase). Records: `metrics.jsonl`, `evaluations.jsonl` and `samples.jsonl` where the
    recipe has `training.evaluation`, the folder `tensorboard`, and `rank-N.log`, the end of what
    each rank said.

    `heldout` (select artifacts) is read by evaluations inside the phase. It decides no byte of the
    data, so it is not part of the version: to change what is watched trains nothing anew.
    """
    scratch = context.scratch() / "training"
    scratch.mkdir(parents=True, exist_ok=True)
    values = _spec(context, scratch)
    stop, ended = scratch / STOP, threading.Event()
    stop.unlink(missing_ok=True)
    place = partial(resume_place, scratch, context.name, context.parameters.sequence_length)
    shown = (0.0, 0.0)

    def save() -> str:
        stop.touch()
        ended.wait(GRACE_S)
        shared.send()
        if context.attempt.completed(PHASE):
            return f"training/{context.name} has taken all its steps; the next run stores the model"
        return place()

    def progress(metrics: dict[str, Any]) -> None:
        nonlocal shown
        shown = metrics["phase_tokens"], metrics["phase_total"]
        context.measured(
            {
                "tokens": metrics["phase_tokens"],
                "loss": metrics["loss"],
                "learning_rate": metrics["lr"],
                "tokens_per_s": metrics["tokens_per_s"],
                "left_s": metrics["left_s"],
            }
        )
        context.progress(*shown, _unit(metrics))

    def restart(reason: str) -> None:
        context.progress(*shown, f"tokens, {WARNING}: {reason}")

    def train(_: object, shard: Shard) -> dict[str, Any]:
        listener = Listener(progress, restart, stop.exists)
        supervisor = Supervisor(context.parameters, values, scratch, context.cpu_threads, listener)
        try:
            statistics = supervisor.train()
        except Stopped:  # interrupted, not failed: the main thread ends this process
            ended.set()
            threading.Event().wait()
            raise
        except StageError as error:
            reason, _, output = str(error).partition("\n")
            words = f"{reason}{_kept(scratch)}\n{output}".rstrip()
            raise StageError(words) from error.__cause__
        except BaseException:  # ^C in this thread: the ranks have ended and saved what they could
            sys.stderr.write(f"{place()}\n")
            raise
        finally:
            _record_logs(context, supervisor.logs)
        shard.publish(scratch / "output")
        return statistics

    shared = SharedCheckpoints(
        context.exchange.child(CHECKPOINTS), scratch, context.parameters.keep, restart
    )

    # An interrupt also waits for a phase that has taken its last step, until nothing of it is lost.
    with shared, saved_on_interrupt(save):
        try:
            statistics = context.map(train, {PHASE: None}, here=True)[PHASE]
        finally:
            ended.set()
    for name, file in _watched(context, scratch).items():
        with context.record(name) as path:
            shutil.copyfile(file, path)
    return Outcome(statistics)


def _watched(context: Context, scratch: Path) -> dict[str, Path]:
    """Name below records -> file that the training process wrote elsewhere."""
    files = {name: scratch / name for name in (METRICS, EVALUATIONS, SAMPLES)}
    if context.attempt.records.local_root is None:  # else they are there already
        for folder in (TENSORBOARD, "wandb"):
            found = sorted(path for path in (scratch / folder).rglob("*") if path.is_file())
            files |= {str(path.relative_to(scratch)): path for path in found}
    return {name: file for name, file in files.items() if file.exists()}


def _record_logs(context: Context, logs: Mapping[int, Sequence[str]]) -> None:
    """The end of each rank's stderr in records, by attempt; none where nothing was said."""
    for rank, texts in logs.items():
        if any(text.strip() for text in texts):
            with context.record(f"rank-{rank}.log") as path:
                path.write_text(
                    "".join(f"start {n}\n{text}\n" for n, text in enumerate(texts, 1)),
                    encoding="utf-8",
                )


def _kept(scratch: Path) -> str:
    """Words that follow a failure where there is a checkpoint."""
    checkpoints = sorted((scratch / CHECKPOINTS).glob("step-*"))
    if not checkpoints:
        return ""
    steps = int(checkpoints[-1].name.removeprefix("step-"))
    return f". The checkpoint of step {steps:,} is kept; the next run continues from it"


def _unit(metrics: Mapping[str, Any]) -> str:
    """The unit shown after the tokens trained, with loss, speed, time left and any warning."""
    loss = "" if metrics["loss"] is None else f", loss {metrics['loss']:.3f}"
    skipped = f"a step was not taken: {metrics['skipped']}" if metrics["skipped"] else ""
    speed = f", {metrics['tokens_per_s']:,.0f} tokens/s" if metrics.get("tokens_per_s") else ""
    left = "" if metrics.get("left_s") is None else f", {in_words(metrics['left_s'])} left"
    problem = metrics["alarm"] or skipped
    return f"tokens{loss}{speed}{left}" + (f", {WARNING}: {problem}" if problem else "")


def _spec(context: Context, scratch: Path) -> dict[str, Any]:
    try:
        parameters: TrainingParameters = context.parameters.settled(_proposed(context))
    except ValueError as error:
        raise StageError(f"training/{context.name}: {error}") from None
    previous = context.input("previous")
    checkpoint = starting_point(
        previous.folder("checkpoint"), parameters.context, scratch / "previous"
    )
    require_positions(checkpoint, parameters.sequence_length)
    refuse_other_tokenizer(previous, context.many("bins"))
    added = previous.statistics.get("new_tokens", 0)
    size = previous.statistics.get("tokenizer_size", 0)
    records = context.attempt.records.local_root
    return {
        "parameters": parameters.model_dump(mode="json", by_alias=True),
        "bins": bins_of(parameters, context.many("bins")),
        "previous": str(checkpoint),
        "state": state_of(previous),
        "scratch": str(scratch),
        "output": str(scratch / "output"),
        "new_rows": [size - added, size] if added else None,
        "heldout": _held_out(context.many("heldout")) if parameters.evaluation else {},
        "events": "" if records is None else str(records / TENSORBOARD),
        "name": context.name,
        "repeats": repeats_of(context.many("bins")),
    }


def _proposed(context: Context) -> dict[str, float]:
    """Category -> share that a mixture search proposes; {} where the phase states its own."""
    artifact = context.optional("shares")
    return {} if artifact is None else proposed_shares(artifact)


def _held_out(selected: Iterable[Artifact]) -> dict[str, list[str]]:
    """Category -> local files of held-out text."""
    files: dict[str, list[str]] = {}
    for artifact in selected:
        for file in artifact.files(f"{HELD_OUT_FOLDER}/"):
            files.setdefault(file.split("/")[1], []).append(str(artifact.path(file)))
    return files


def starting_point(checkpoint: Path, context: ContextLength | None, folder: Path) -> Path:
    """The checkpoint that a phase begins from: with `context`, a folder of links to its files and a
    configuration with these positions and rope, so that the phase's own checkpoint has them too.

    Raises:
        StageError: the model cannot have this context.
    """
    if context is None:
        return checkpoint
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in checkpoint.iterdir():
        if file.is_file() and file.name != "config.json":
            (folder / file.name).symlink_to(file.resolve())
    config = extended(read_json(checkpoint / "config.json"), context)
    write_json(folder / "config.json", for_all_readers(config))
    return folder


def require_positions(checkpoint: Path, sequence_length: int) -> None:
    """`StageError` where rows are longer than the model's positions.

    Such rows would silently train angles that the model has never seen. Dynamic rope is exempt: it
    adapts to the length.
    """
    config = read_json(checkpoint / "config.json")
    positions = config.get("max_position_embeddings")
    stretches = not has_nested_rope(config) and rope_of(config)["rope_type"] == "dynamic"
    if positions is not None and sequence_length > positions and not stretches:
        raise StageError(
            f"rows have {sequence_length:,} tokens (binning.sequence_length, or the phase's own), "
            f"but the model has {positions:,} positions: lower that, or set model.context or the "
            "phase's `context` to the positions and rope you want"
        )


def state_of(previous: Artifact) -> str | None:
    """Local folder of the state that earlier phases left; None at the first phase."""
    return str(previous.folder("state")) if previous.files("state/") else None


def bins_of(parameters: TrainingParameters, artifacts: Iterable[Artifact]) -> dict[str, list[str]]:
    """Category -> local folders of its bins, in order; only categories the phase draws from."""
    bins = {category_of(artifact.name): _bin_folders(artifact) for artifact in artifacts}
    mixture = parameters.mixture
    if isinstance(mixture, TimesNatural):
        return bins_drawn_from(bins, mixture.natural)
    return bins_drawn_from(bins, mixture) if isinstance(mixture, dict) else bins


def repeats_of(artifacts: Iterable[Artifact]) -> dict[str, int]:
    """Category -> copies of its most repeated document, where a curve of `cut` asks for any."""
    found = {category_of(a.name): most_repeated(a.statistics) for a in artifacts}
    return {category: copies for category, copies in sorted(found.items()) if copies > 1}


def _bin_folders(artifact: Artifact) -> list[str]:
    names = sorted({Path(file).parts[0] for file in artifact.files("bin-")})
    return [str(artifact.folder(name)) for name in names]


def bins_drawn_from(
    bins: Mapping[str, list[str]], mixture: Mapping[str, object]
) -> dict[str, list[str]]:
    """The bins of the categories that a mixture names.

    Raises:
        StageError: the mixture names a category without bins.
    """
    for category in mixture:
        if category not in bins:
            raise StageError(
                f"the mixture names category {category!r}, but the categories with bins are "
                f"{', '.join(sorted(bins)) or 'none'}; correct the mixture or add the category"
            )
    return {category: bins[category] for category in sorted(mixture)}
