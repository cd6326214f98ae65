"""Toy checkpoints with grown tokenizers of both families."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from infra.store import Artifact
from tasks.checkpoints.tokenizer_files import size_of, write_tokenizer
from tasks.model.stage import STAGE as MODEL
from tasks.model.stage import ModelParameters
from tasks.tokenizer.expand import grow
from tasks.tokenizer.train import SETTINGS, bytes_only
from tests.stage_harness import run_stage
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH
from tests.tasks.model.bases import base, grown_tokenizer
from tests.tasks.training.toys import save_model


def byte_level(folder: Path) -> tuple[Path, Tokenizer, int]:
    """A checkpoint whose byte-level tokenizer was grown, the tokenizer, and its base's size."""
    base_tokenizer = grow(bytes_only(), ENGLISH, 320).tokenizer
    grown = grow(base_tokenizer, CHINESE, 380).tokenizer
    save_model(folder, vocab_size=384, bos_token_id=256, eos_token_id=257)
    for old in folder.glob("*token*"):
        old.unlink()
    write_tokenizer(grown, folder, SETTINGS)
    return folder, grown, size_of(base_tokenizer)


def sentencepiece(tmp_path: Path) -> Artifact:
    """A model artifact whose sentencepiece-style tokenizer was grown."""
    folder = base(tmp_path / "base")
    return run_stage(
        MODEL,
        ModelParameters(base=str(folder), pad_to_multiple_of=64),
        {"tokenizer": grown_tokenizer(folder, tmp_path)},
        tmp_path=tmp_path,
    )
