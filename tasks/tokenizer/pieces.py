"""Grow a tokenizer by a given list of pieces, adding as few intermediate steps as reach them all.

A BPE reaches a piece only by joining two tokens, so a piece of three tokens needs an intermediate
step, and a character that the base spells in bytes has to become a token first.

1. Leave out pieces that cannot be added, each counted under its reason.
2. Add the characters that the base lacks.
3. Take the pieces by length in characters, then in given order: shorter ones serve as parts of
   longer ones, as in Colossal-LLaMA, and lists usually put the most frequent first.
4. Join those of two tokens directly. For the rest of a length, run BPE on the pieces themselves, so
   that steps which many of them share come first; add its steps (`PieceBuilder`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.fast_tokenizers import WHITESPACE
from tasks.checkpoints.tokenizer_files import size_of
from tasks.tokenizer.append import NewToken, appended
from tasks.tokenizer.family import Family, added_tokens_in
from tasks.tokenizer.family_of import family_of
from tasks.tokenizer.given_pieces import GivenPiece, refuse
from tasks.tokenizer.piece_account import (
    ALREADY_A_TOKEN,
    CHANGES_BASE,
    NOT_ONE_WORD,
    REPEATED,
    REWRITTEN,
    SPECIAL,
    PieceAccount,
)
from tasks.tokenizer.piece_builder import PieceBuilder
from tasks.tokenizer.rules import SplittingRules
from tasks.tokenizer.sentencepiece_style import SentencePieceStyle


def add_pieces(
    base: Tokenizer, given: Sequence[GivenPiece], rules: SplittingRules | None = None
) -> tuple[Tokenizer, list[NewToken], PieceAccount]:
    """`base` with every piece that can be added to it, the new tokens, and the account.

    Raises:
        StageError: a piece of the user's list holds a special token, or no piece is new.
    """
    family = family_of(base, rules)
    account = PieceAccount(given=len(given))
    wanted = _wanted(base, family, given, account)
    builder = PieceBuilder(family, size_of(base), account)
    builder.add_characters([content for _, content in wanted])
    for _, group in groupby(sorted(wanted, key=_length), key=_length):
        builder.add_length(list(group))
    if not builder.tokens:
        raise StageError(
            f"none of the {len(given):,} pieces is new ({dict(account.skipped)}); give other "
            "pieces, or use the base as it is"
        )
    account.added = len(builder.tokens) - account.steps - account.characters
    return appended(base, builder.tokens, builder.merges), builder.tokens, account


def _length(pair: tuple[GivenPiece, Any]) -> int:
    return len(pair[0].text)


def _wanted(
    base: Tokenizer, family: Family, given: Sequence[GivenPiece], account: PieceAccount
) -> list[tuple[GivenPiece, Any]]:
    """Pieces to add, with their contents, in given order; the others are counted in `account`.

    Raises:
        StageError: lists the pieces of the user's file that hold a special token.
    """
    holds_added = added_tokens_in(base)
    seen: set[Any] = set()
    wanted: list[tuple[GivenPiece, Any]] = []
    faults: list[str] = []
    for piece in given:
        special = holds_added(piece.text)
        if special and piece.own:
            faults.append(
                f"{piece.place}: the piece {piece.text!r} holds one of the base's special or added "
                "tokens, which are matched before any piece; remove the line"
            )
        content = family.content(piece.text)
        if special:
            reason: str | None = SPECIAL
        elif content in seen:
            reason = REPEATED
        else:
            reason = _skip_reason(base, family, piece.text, content)
        seen.add(content)
        if reason is None:
            wanted.append((piece, content))
        else:
            account.skip(reason, piece)
    refuse(faults)
    return wanted


def _skip_reason(base: Tokenizer, family: Family, text: str, content: Any) -> str | None:
    """Why a piece cannot be added, whatever the other pieces are; None where it can."""
    if family.has_token(content):
        return ALREADY_A_TOKEN
    normal = base.normalizer.normalize_str(text) if base.normalizer is not None else text
    if isinstance(family, SentencePieceStyle):
        if normal.replace(" ", WHITESPACE) not in (content, WHITESPACE + content):
            return REWRITTEN
        return None if family.may_be_added(content) else CHANGES_BASE
    if normal != text:
        return REWRITTEN
    return NOT_ONE_WORD if len(family.words(text)) > 1 else None
