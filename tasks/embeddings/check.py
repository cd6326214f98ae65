"""Whether the encoder that a recipe names can be used, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infra.remote.access import Access
from infra.remote.locations import is_remote
from infra.stage import Fault, Pin, StageError
from tasks.checkpoints.base import folder_of
from tasks.embeddings.folder import EncoderFolder
from tasks.embeddings.stage import EmbeddingsParameters


def faults(
    parameters: EmbeddingsParameters, pins: Mapping[str, tuple[Pin, ...]], access: Access
) -> Iterator[Fault]:
    """What is wrong with an encoder in a folder of this machine."""
    given = pins.get("model", ())
    if not given or any(is_remote(pin.path) for pin in given):
        return
    try:
        EncoderFolder.read(folder_of(given), parameters)
    except StageError as error:
        yield Fault("model", str(error))
