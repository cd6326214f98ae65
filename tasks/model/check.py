"""Whether the base that a recipe names can be read: its weights by their headers alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from infra.remote.access import Access
from infra.remote.locations import is_remote
from infra.stage import Fault, Pin, StageError
from tasks.checkpoints.base import converts_weights, folder_of, naming, open_base
from tasks.checkpoints.tokenizer_files import read_tokenizer
from tasks.model.added_tokens import require_rows
from tasks.model.checkpoint import Checkpoint
from tasks.model.stage import ModelParameters


def faults(
    parameters: ModelParameters, pins: Mapping[str, tuple[Pin, ...]], access: Access
) -> Iterator[Fault]:
    """What is wrong with a base in a folder of this machine."""
    given = pins.get("base", ())
    if not given or any(is_remote(pin.path) for pin in given):
        return
    try:
        _require_whole(given)
    except StageError as error:
        yield Fault("base", str(error))


def _require_whole(pins: Sequence[Pin]) -> None:
    """Raise `StageError` unless weights, configuration and tokenizer are there and agree."""
    folder = folder_of(pins)
    with tempfile.TemporaryDirectory() as scratch:
        opened = open_base(folder, Path(scratch), weights=False)
        with naming(folder, opened):
            tokenizer = read_tokenizer(opened)
            if not converts_weights(folder):
                base = Checkpoint.read(opened, quickly=True)
                require_rows(tokenizer, base.rows)
