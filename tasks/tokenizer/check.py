"""Whether the base and the pieces that a recipe's tokenizer is made of can be read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from infra.remote.access import Access
from infra.remote.locations import is_remote
from infra.stage import Fault, Pin, StageError
from tasks.checkpoints.base import folder_of, naming, open_base, read_base_tokenizer
from tasks.checkpoints.tokenizer_files import size_of
from tasks.tokenizer.given_pieces import read_pieces
from tasks.tokenizer.stage import TokenizerParameters, require_growth


def faults(
    parameters: TokenizerParameters, pins: Mapping[str, tuple[Pin, ...]], access: Access
) -> Iterator[Fault]:
    """What is wrong with a base and a list of pieces on this machine."""
    expand = parameters.expand
    here = {
        path: found for path, found in pins.items() if not any(is_remote(p.path) for p in found)
    }
    if base := here.get("base"):
        try:
            size = _size(base)
        except StageError as error:
            yield Fault("base", str(error))
        else:
            if expand is not None and isinstance(expand.size, int):
                try:
                    require_growth(expand.size, size)
                except StageError as error:
                    yield Fault("expand.size", str(error))
    if expand is not None and (given := here.get("expand.pieces")):
        try:
            read_pieces(Path(given[0].path), expand.longest_piece)
        except StageError as error:
            yield Fault("expand.pieces", str(error))


def _size(pins: Sequence[Pin]) -> int:
    """Tokens of a base. Raises `StageError` where it cannot be opened."""
    folder = folder_of(pins)
    with tempfile.TemporaryDirectory() as scratch:
        opened = open_base(folder, Path(scratch), weights=False)
        with naming(folder, opened):
            return size_of(read_base_tokenizer(opened).tokenizer)
