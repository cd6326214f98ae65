"""Takes over models that were trained elsewhere, such as cc_net's, as a unit like any other.

The files are copied, so that what scored a document stays in the store, whatever becomes of the
place where they came from. The recipe says how their text was normalised.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kenlm
import sentencepiece

from infra.stage import StageError
from infra.store import Shard
from tasks.language_model.unit import SENTENCEPIECE_FILE, write_unit, written_sha256
from tasks.text.normalise import Steps

KENLM_BINARY = b"mmap lm "
"""What a file of KenLM's `build_binary` begins with; others are ARPA."""

MINIMUM_KNOWN = 0.5
"""Share of the SentencePiece model's pieces that the n-gram model must have as words.

Of models trained together nearly all are there; a model of words, or another language's, has few.
"""


@dataclass(frozen=True)
class Pretrained:
    """Local paths of a language's models. Picklable."""

    language: str
    sentencepiece: Path
    lm: Path
    steps: Steps


def take_over(files: Pretrained, shard: Shard) -> dict[str, Any]:
    """Check that the two models load and fit each other, and publish them with their unit."""
    segmenter, model = _load_sentencepiece(files), _load_lm(files)
    pieces = [segmenter.id_to_piece(index) for index in range(len(segmenter))]
    known = sum(piece in model for piece in pieces)
    if known < MINIMUM_KNOWN * len(pieces):
        raise StageError(
            f"language_model/{files.language}: {files.lm} knows {known:,} of the {len(pieces):,} "
            f"pieces of {files.sentencepiece}, fewer than {MINIMUM_KNOWN:.0%}; it was trained on "
            "other pieces. Name the two files that belong together"
        )
    with files.lm.open("rb") as stream:
        name = "lm.bin" if stream.read(len(KENLM_BINARY)) == KENLM_BINARY else "lm.arpa"
    for source, target in ((files.sentencepiece, SENTENCEPIECE_FILE), (files.lm, name)):
        with shard.create(target) as path:
            shutil.copyfile(source, path)
    unit = write_unit(
        shard,
        language=files.language,
        steps=files.steps,
        lm=name,
        order=model.order,
        sentencepiece_sha256=written_sha256(shard, SENTENCEPIECE_FILE),
        training_tokens=None,
    )
    return {
        "unit": unit,
        "order": model.order,
        "pretrained": {
            "sentencepiece": files.sentencepiece.name,
            "lm": files.lm.name,
            "pieces": len(pieces),
            "pieces_known_to_lm": known,
        },
    }


def _load_sentencepiece(files: Pretrained) -> sentencepiece.SentencePieceProcessor:
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(files.sentencepiece))
    except (RuntimeError, OSError) as error:
        raise _unreadable(files, files.sentencepiece, "a SentencePiece model", error) from error


def _load_lm(files: Pretrained) -> kenlm.Model:
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    config.load_method = kenlm.LoadMethod.LAZY  # a few pages of gigabytes
    try:
        return kenlm.Model(str(files.lm), config)
    except (RuntimeError, OSError) as error:
        raise _unreadable(files, files.lm, "a model that KenLM loads", error) from error


def _unreadable(files: Pretrained, path: Path, what: str, error: Exception) -> StageError:
    start = path.read_bytes()[:40] if path.stat().st_size < 1_000 else b""
    pointer = start.startswith(b"version https://git-lfs")
    why = "a Git LFS pointer, not the file itself; run `git lfs pull`" if pointer else error
    return StageError(
        f"language_model/{files.language}: {path} is not {what} ({why}); name another file, or "
        "copy it again"
    )
