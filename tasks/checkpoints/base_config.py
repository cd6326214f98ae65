"""The configuration of a local base, whatever its layout: `puna plan` reads it, so it is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infra.io.foreign import foreign_json
from infra.stage import StageError
from tasks.checkpoints import meta_llama
from tasks.checkpoints.llama2c_header import files_of, read_header
from tasks.checkpoints.ranks import LLAMA_3_RANKS, LLAMA_3_SPECIALS, is_rank_file
from tasks.checkpoints.sentencepiece_model import read_model


def config_of(base: str | Path) -> dict[str, Any] | None:
    """A local base's configuration, of its config.json, Meta's params.json or its llama2.c file;
    None where it cannot be read: the base is an artifact, or broken. In that last case the stage
    reports it.
    """
    folder = Path(base)
    try:
        if not (folder / "config.json").is_file():
            if meta_llama.is_folder(folder):
                return _of_meta(folder)
            if (files := files_of(folder)) is not None:
                return read_header(files[0]).config()
        found = foreign_json((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, StageError):
        return None
    return found if isinstance(found, dict) else None


def _of_meta(folder: Path) -> dict[str, Any]:
    (model,) = folder.glob("*.model")  # ValueError where there is not one
    vocabulary = (
        LLAMA_3_RANKS + LLAMA_3_SPECIALS if is_rank_file(model) else len(read_model(model).pieces)
    )
    shape = meta_llama.read_shape(folder, vocabulary)
    return meta_llama.config_of(shape, meta_llama.stated_hidden(folder), {}, "bfloat16")
