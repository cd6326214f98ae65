"""Read a list of pieces: JSONL, or a sentencepiece `.model`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.io.foreign import foreign_json
from infra.stage import StageError
from tasks.checkpoints.fast_tokenizers import WHITESPACE
from tasks.checkpoints.sentencepiece_model import NORMAL, USER_DEFINED, is_model, read_model

FAULTS_LISTED = 20
"""Bad lines of a file that one error lists."""

_REFUSED = {"\n": "a line feed", "\r": "a carriage return", "\0": "a NUL"}


@dataclass(frozen=True)
class GivenPiece:
    """A piece, with plain spaces, and its place in the file.

    `own`: whether it comes from a list that the user can edit, not from a model.
    """

    text: str
    place: str
    own: bool = True


def read_pieces(path: Path, longest: int) -> list[GivenPiece]:
    """Pieces of a JSONL file (`{"piece": "..."}` per line) or of a sentencepiece `.model`.

    U+2581 is read as a space in both, as sentencepiece writes it.

    Raises:
        StageError: lists the lines that hold no valid piece.
    """
    # A damaged `.model` is read as one too, so that the error says what is wrong with it.
    model = path.suffix == ".model" or is_model(path)
    faults: list[str] = []
    pieces: list[GivenPiece] = []
    for piece in _model_pieces(path) if model else _json_pieces(path, faults):
        if fault := _fault(piece.text, longest):
            faults.append(f"{piece.place}: {fault}")
        else:
            pieces.append(piece)
    refuse(faults)
    if not pieces:
        raise StageError(
            f"{path.name}: no pieces in it; write one JSON object per line, such as "
            '{"piece": "你好"}'
        )
    return pieces


def refuse(faults: Sequence[str]) -> None:
    """Raise a `StageError` that lists the faults, at most `FAULTS_LISTED`, if there are any."""
    if not faults:
        return
    lines = list(faults[:FAULTS_LISTED])
    if len(faults) > FAULTS_LISTED:
        lines.append(f"... and {len(faults) - FAULTS_LISTED:,} more")
    raise StageError("\n".join(lines))


def _fault(text: str, longest: int) -> str | None:
    if not text:
        return "an empty piece; remove the line"
    for character, name in _REFUSED.items():
        if character in text:
            return f"{name} in the piece {text!r}; a piece may not span lines"
    if len(text) > longest:
        return (
            f"the piece {text!r} has {len(text)} characters, `longest_piece` allows {longest}; "
            "shorten it or raise the limit"
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"the piece {text!r} holds half of a surrogate pair, which is not text"
    return None


def _json_pieces(path: Path, faults: list[str]) -> Iterator[GivenPiece]:
    """The pieces of the valid lines; the other lines' faults are appended to `faults`."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            place = f"{path.name}:{number}"
            if not line.strip():
                continue
            try:
                row = foreign_json(line)
            except ValueError as error:
                faults.append(f'{place}: not JSON ({error}); write {{"piece": "你好"}}')
                continue
            if not isinstance(row, dict) or not isinstance(row.get("piece"), str):
                faults.append(f'{place}: no string under "piece"; write {{"piece": "你好"}}')
                continue
            yield GivenPiece(row["piece"].replace(WHITESPACE, " "), place)


def _model_pieces(path: Path) -> Iterator[GivenPiece]:
    """The ordinary pieces of a `.model`, best score first."""
    pieces = read_model(path).pieces
    order = sorted(range(len(pieces)), key=lambda index: (-pieces[index].score, index))
    for index in order:
        if pieces[index].kind in (NORMAL, USER_DEFINED):
            yield GivenPiece(
                pieces[index].text.replace(WHITESPACE, " "),
                f"{path.name}: piece {index}",
                own=False,
            )
