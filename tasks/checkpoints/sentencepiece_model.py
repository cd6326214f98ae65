"""sentencepiece's `.model` file: reading its pieces and specifications, and writing it with more
pieces.

The file is a protocol buffer (github.com/google/sentencepiece, `src/sentencepiece_model.proto`).
sentencepiece's own Python classes for it need the `protobuf` package, whose version other libraries
fix; what is needed here is 60 lines. Fields that are not known here are kept as they are.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infra.stage import StageError
from tasks.checkpoints.text_files import refuse_pointer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""SentencePiece.Type."""

UNIGRAM, BPE = 1, 2
"""TrainerSpec.ModelType (others: 3 word, 4 char)."""

PIECES, TRAINER, NORMALIZER, VOCABULARY_SIZE = 1, 2, 3, 4
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Piece:
    """One entry; its id is its place."""

    text: str
    score: float
    kind: int = NORMAL


@dataclass(frozen=True)
class TrainerSpec:
    """The trainer's settings that decide which pieces are possible; sentencepiece's defaults."""

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
    """What is done to text before it is segmented."""

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
    """A whole `.model` file."""

    pieces: tuple[Piece, ...]
    trainer: TrainerSpec
    normalizer: NormalizerSpec
    blob: bytes

    def lowest_score(self) -> float:
        """The worst score of the pieces that merges may lead to."""
        return min((piece.score for piece in self.pieces if piece.kind == NORMAL), default=0.0)

    def equal_scores(self) -> int:
        """How many pieces share their score with another.

        sentencepiece joins the leftmost of neighbours that score the same; a fast tokenizer has no
        two merges of one rank and takes the smaller id. (Chinese-LLaMA gave all its new pieces the
        score 0: one line of Chinese in thirty segments otherwise. Llama-2's 16 runs of spaces share
        one as well, without effect.)
        """
        counts = Counter(piece.score for piece in self.pieces if piece.kind == NORMAL)
        return sum(count for count in counts.values() if count > 1)

    def extended(self, new: Sequence[tuple[str, int]]) -> bytes:
        """The file with further (piece, kind) behind its own, at scores that fall strictly below
        all of its own.
        """
        score = np.float32(self.lowest_score())
        added = bytearray()
        for text, kind in new:
            # One less, or the next float where floats lie further apart (whitespace runs of Llama-2
            # score -1e9).
            score = min(np.float32(score - np.float32(1)), np.nextafter(score, np.float32(-np.inf)))
            body = _field(1, BYTES, text.encode()) + _field(2, FIXED32, struct.pack("<f", score))
            added += _field(
                PIECES, BYTES, body + (b"" if kind == NORMAL else _field(3, VARINT, kind))
            )
        size = len(self.pieces) + len(new)
        own, rest = bytearray(), bytearray()
        for number, wire, value in _fields(self.blob):
            if number == PIECES:
                own += _field(number, wire, value)
            elif number == TRAINER and isinstance(value, bytes):
                kept = b"".join(
                    _field(*field) for field in _fields(value) if field[0] != VOCABULARY_SIZE
                )
                rest += _field(TRAINER, BYTES, kept + _field(VOCABULARY_SIZE, VARINT, size))
            else:
                rest += _field(number, wire, value)
        return bytes(own + added + rest)


def read_model(path: Path) -> SentencePieceModel:
    """Read a file; `StageError` when it is not a sentencepiece model, or is cut short."""
    refuse_pointer(path)
    try:
        return parse_model(path.read_bytes())
    except (IndexError, struct.error, UnicodeDecodeError, ValueError) as error:
        raise StageError(
            f"{path}: not a sentencepiece model, or not all of one "
            f"({str(error) or type(error).__name__}); download it again"
        ) from error


def is_model(path: Path) -> bool:
    """Whether a file parses as a sentencepiece model with pieces (Llama-3's rank files are named
    the same).
    """
    try:
        read_model(path)
    except StageError:
        return False
    return True


def parse_model(blob: bytes) -> SentencePieceModel:
    """Parse a file's bytes; `ValueError`, `IndexError` or `UnicodeDecodeError` when they are
    something else.
    """
    pieces: list[Piece] = []
    trainer, normalizer = TrainerSpec(), NormalizerSpec()
    parts: set[int] = set()
    for number, _, value in _fields(blob):
        parts.add(number)
        if number == PIECES:
            pieces.append(_piece(_message(value)))
        elif number == TRAINER:
            numbers = {
                _TRAINER_FIELDS[n]: v
                for n, _, v in _fields(_message(value))
                if n in _TRAINER_FIELDS
            }
            trainer = TrainerSpec(**{name: _number(name, found) for name, found in numbers.items()})  # type: ignore[arg-type]
        elif number == NORMALIZER:
            found = {
                _NORMALIZER_FIELDS[n]: v
                for n, _, v in _fields(_message(value))
                if n in _NORMALIZER_FIELDS
            }
            normalizer = NormalizerSpec(
                name=_message(found.get("name", b"")).decode(),
                precompiled_charsmap=_message(found.get("precompiled_charsmap", b"")),
                **{
                    n: bool(v)
                    for n, v in found.items()
                    if n not in ("name", "precompiled_charsmap")
                },  # type: ignore[arg-type]
            )
    if not pieces:
        raise ValueError("no pieces in it")
    if (
        TRAINER not in parts
    ):  # one without a normaliser's is whole: sentencepiece reads it with its defaults
        raise ValueError("it ends before the settings that follow the pieces")
    return SentencePieceModel(tuple(pieces), trainer, normalizer, blob)


def _number(name: str, value: int | bytes) -> int | bool:
    if isinstance(value, bytes):
        raise ValueError(f"{name} is no number")
    return value if name in ("model_type", "max_sentencepiece_length") else bool(value)


def _piece(blob: bytes) -> Piece:
    text, score, kind = "", 0.0, NORMAL
    for number, wire, value in _fields(blob):
        if number == 1:
            text = _message(value).decode()
        elif number == 2 and wire == FIXED32:
            score = struct.unpack("<f", _message(value))[0]
        elif number == 3 and isinstance(value, int):
            kind = value
    return Piece(text, score, kind)


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message is expected")
    return value


def _fields(blob: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(field number, wire type, value) in file order; numbers for varints, else the bytes."""
    at = 0
    while at < len(blob):
        tag, at = _varint(blob, at)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == VARINT:
            value, at = _varint(blob, at)
        else:
            if wire not in (FIXED64, BYTES, FIXED32):
                raise ValueError(f"wire type {wire} at byte {at}")
            length, at = (
                _varint(blob, at) if wire == BYTES else ({FIXED64: 8, FIXED32: 4}[wire], at)
            )
            value = blob[at : at + length]
            if len(value) < length:
                raise ValueError(f"cut off at byte {len(blob)}")
            at += length
        yield number, wire, value


def _varint(blob: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = blob[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError(f"number too long at byte {at}")


def _field(number: int, wire: int, value: int | bytes) -> bytes:
    head = _encoded(number << 3 | wire)
    if isinstance(value, int):
        return head + _encoded(value)
    return head + (_encoded(len(value)) if wire == BYTES else b"") + value


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
