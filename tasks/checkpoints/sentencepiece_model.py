"""Reads sentencepiece's `.model` file (pieces, settings), and writes it with pieces added.

The file is a protocol buffer (github.com/google/sentencepiece, `src/sentencepiece_model.proto`).
sentencepiece's own Python classes for it need the `protobuf` package, whose version other libraries
pin; the part needed here takes 60 lines. Unknown fields are kept unchanged.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infra.stage import StageError
from tasks.checkpoints.text_files import refuse_pointer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""SentencePiece.Type."""

UNIGRAM, BPE = 1, 2
"""TrainerSpec.ModelType (others: 3 word, 4 char)."""

PIECES, TRAINER, NORMALIZER = 1, 2, 3
"""Field numbers of ModelProto."""

VOCABULARY_SIZE = 4
"""Field number of TrainerSpec."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types of protocol buffers."""

_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}


@dataclass(frozen=True)
class ModelPiece:
    """One vocabulary entry; its id is its position in the file."""

    text: str
    score: float
    kind: int = NORMAL


@dataclass(frozen=True)
class TrainerSpec:
    """Training settings that restrict which pieces can exist, with sentencepiece's defaults."""

    model_type: int = UNIGRAM
    max_sentencepiece_length: int = 16
    split_by_unicode_script: bool = True
    split_by_whitespace: bool = True
    split_by_number: bool = True
    split_digits: bool = False
    treat_whitespace_as_suffix: bool = False
    allow_whitespace_only_pieces: bool = False


_TRAINER_FIELDS = {
    3: "model_type",
    20: "max_sentencepiece_length",
    21: "split_by_unicode_script",
    22: "split_by_whitespace",
    23: "split_by_number",
    24: "treat_whitespace_as_suffix",
    25: "split_digits",
    26: "allow_whitespace_only_pieces",
}


@dataclass(frozen=True)
class NormalizerSpec:
    """How text is normalised before it is segmented, with sentencepiece's defaults."""

    name: str = ""
    precompiled_charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True


_NORMALIZER_FIELDS = {
    1: "name",
    2: "precompiled_charsmap",
    3: "add_dummy_prefix",
    4: "remove_extra_whitespaces",
    5: "escape_whitespaces",
}


@dataclass(frozen=True)
class SentencePieceModel:
    """The content of a `.model` file; `blob` is the file itself."""

    pieces: tuple[ModelPiece, ...]
    trainer: TrainerSpec
    normalizer: NormalizerSpec
    blob: bytes

    def lowest_score(self) -> float:
        """The lowest score of the pieces that merges can produce."""
        return min((piece.score for piece in self.pieces if piece.kind == NORMAL), default=0.0)

    def equal_scores(self) -> int:
        """Number of pieces that share their score with another piece.

        Among pairs of equal score, sentencepiece merges the leftmost; a fast tokenizer, whose
        merges all have different ranks, merges the one with the smaller id. (All new pieces of
        Chinese-LLaMA have score 0, so one line of Chinese in thirty is segmented differently.
        Llama-2's 16 runs of spaces share a score too, without effect.)
        """
        counts = Counter(piece.score for piece in self.pieces if piece.kind == NORMAL)
        return sum(count for count in counts.values() if count > 1)

    def extended(self, new: Sequence[tuple[str, int]]) -> bytes:
        """The file with `new` (text, kind) pieces after its own, with scores that decrease strictly
        from the lowest of its own.
        """
        score = np.float32(self.lowest_score())
        added = bytearray()
        for text, kind in new:
            # One less, or the next smaller float if floats are further apart there (whitespace runs
            # of Llama-2 score -1e9).
            score = min(np.float32(score - np.float32(1)), np.nextafter(score, np.float32(-np.inf)))
            body = encoded_field(1, BYTES, text.encode()) + encoded_field(
                2, FIXED32, struct.pack("<f", score)
            )
            added += encoded_field(
                PIECES, BYTES, body + (b"" if kind == NORMAL else encoded_field(3, VARINT, kind))
            )
        size = len(self.pieces) + len(new)
        pieces, rest = bytearray(), bytearray()
        for number, wire, value in _fields(self.blob):
            if number == PIECES:
                pieces += encoded_field(number, wire, value)
            elif number == TRAINER and isinstance(value, bytes):
                kept = b"".join(
                    encoded_field(*field) for field in _fields(value) if field[0] != VOCABULARY_SIZE
                )
                rest += encoded_field(
                    TRAINER, BYTES, kept + encoded_field(VOCABULARY_SIZE, VARINT, size)
                )
            else:
                rest += encoded_field(number, wire, value)
        return bytes(pieces + added + rest)


def read_model(path: Path) -> SentencePieceModel:
    """Read a file; `StageError` if it is not a sentencepiece model, or is truncated."""
    refuse_pointer(path)
    try:
        return parse_model(path.read_bytes())
    except (IndexError, struct.error, UnicodeDecodeError, ValueError) as error:
        raise StageError(
            f"{path} is not a sentencepiece model, or is truncated "
            f"({str(error) or type(error).__name__}); download it again"
        ) from error


def is_model(path: Path) -> bool:
    """Whether a file parses as a sentencepiece model with pieces (Llama-3's rank files have the
    same name).
    """
    try:
        read_model(path)
    except StageError:
        return False
    return True


def parse_model(blob: bytes) -> SentencePieceModel:
    """Parse a file's bytes; `ValueError`, `IndexError` or `UnicodeDecodeError` if they are not a
    sentencepiece model.
    """
    pieces: list[ModelPiece] = []
    trainer: TrainerSpec | None = None
    # sentencepiece uses its defaults for a model without a normalizer's settings.
    normalizer = NormalizerSpec()
    for number, _, value in _fields(blob):
        if number == PIECES:
            pieces.append(_piece(_message(value)))
        elif number == TRAINER:
            trainer = _trainer(_message(value))
        elif number == NORMALIZER:
            normalizer = _normalizer(_message(value))
    if not pieces:
        raise ValueError("it has no pieces")
    if trainer is None:
        raise ValueError("it ends before the settings that follow the pieces")
    return SentencePieceModel(tuple(pieces), trainer, normalizer, blob)


def _trainer(blob: bytes) -> TrainerSpec:
    settings: dict[str, Any] = {}
    for number, _, value in _fields(blob):
        if (name := _TRAINER_FIELDS.get(number)) is not None:
            settings[name] = _number(name, value)
    return TrainerSpec(**settings)


def _normalizer(blob: bytes) -> NormalizerSpec:
    settings: dict[str, Any] = {}
    for number, _, value in _fields(blob):
        name = _NORMALIZER_FIELDS.get(number)
        if name == "name":
            settings[name] = _message(value).decode()
        elif name == "precompiled_charsmap":
            settings[name] = _message(value)
        elif name is not None:
            settings[name] = bool(value)
    return NormalizerSpec(**settings)


def _number(name: str, value: int | bytes) -> int | bool:
    if isinstance(value, bytes):
        raise ValueError(f"{name} is not a number")
    return value if name in ("model_type", "max_sentencepiece_length") else bool(value)


def _piece(blob: bytes) -> ModelPiece:
    text, score, kind = "", 0.0, NORMAL
    for number, wire, value in _fields(blob):
        if number == 1:
            text = _message(value).decode()
        elif number == 2 and wire == FIXED32:
            score = struct.unpack("<f", _message(value))[0]
        elif number == 3 and isinstance(value, int):
            kind = value
    return ModelPiece(text, score, kind)


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message is expected")
    return value


def _fields(blob: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(field number, wire type, value) in file order; values are numbers for varints, else
    bytes.
    """
    offset = 0
    while offset < len(blob):
        tag, offset = _varint(blob, offset)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            count, offset = _varint(blob, offset)
            yield number, wire, count
            continue
        if wire == BYTES:
            length, offset = _varint(blob, offset)
        elif wire in _FIXED_BYTES:
            length = _FIXED_BYTES[wire]
        else:
            raise ValueError(f"unknown wire type {wire} at byte {offset}")
        value = blob[offset : offset + length]
        if len(value) < length:
            raise ValueError(f"truncated at byte {len(blob)}")
        offset += length
        yield number, wire, value


def _varint(blob: bytes, offset: int) -> tuple[int, int]:
    """The number at `offset`, and the offset after it."""
    value = shift = 0
    while True:
        byte = blob[offset]
        value |= (byte & 0x7F) << shift
        offset, shift = offset + 1, shift + 7
        if byte < 0x80:
            return value, offset
        if shift > 63:
            raise ValueError(f"number too long at byte {offset}")


def encoded_field(number: int, wire: int, value: int | bytes) -> bytes:
    """The bytes of one field: the inverse of `_fields`."""
    tag = _encoded(number << 3 | wire)
    if isinstance(value, int):
        return tag + _encoded(value)
    return tag + (_encoded(len(value)) if wire == BYTES else b"") + value


def _encoded(value: int) -> bytes:
    """A number as a varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
