"""Grow a tokenizer by a given list of pieces, adding as few intermediate steps as reach them all.

A BPE reaches a piece only by joining two tokens, so a piece of three tokens needs an intermediate
step, and a character that the base spells in bytes has to become a token first.

1. Leave out pieces that cannot be added, each counted under its reason.
2. Add the characters that the base lacks.
3. Take the pieces by length in characters, then in given order: shorter ones serve as parts of
   longer ones, as in Colossal-LLaMA, and lists usually put the most frequent first.
4. Join those of two tokens directly. For the rest of a length, run BPE on the pieces themselves, so
   that steps which many of them share come first; add its steps.

Every new merge ranks after all earlier ones, so a piece that has become reachable stays so.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.fast_tokenizers import WHITESPACE
from tasks.checkpoints.sentencepiece_model import NORMAL, USER_DEFINED, is_model, read_model
from tasks.checkpoints.tokenizer_files import size_of
from tasks.tokenizer.expand import (
    Family,
    Missing,
    NewToken,
    SentencePieceStyle,
    added_tokens_in,
    appended,
    family_of,
    learned,
    whole_characters_or_step,
)
from tasks.tokenizer.learn import Step
from tasks.tokenizer.rules import SplittingRules

EXAMPLES = 20
MOST_FAULTS = 20
"""Bad lines of a file that one error lists."""
LIMITLESS = 2**31
_REFUSED = {"\n": "a line feed", "\r": "a carriage return", "\0": "a NUL"}


@dataclass(frozen=True)
class Given:
    """A piece, with plain spaces, and its place in the file.

    `own`: it comes from a list that the user can edit, not from a model.
    """

    text: str
    place: str
    own: bool = True


Unreached = tuple[Given, Any, list[Any]]
"""A piece, its content, and the contents of its tokens so far."""


@dataclass
class Account:
    """What became of the given pieces, and what else had to be added to reach them."""

    given: int = 0
    added: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    steps: int = 0
    characters: int = 0

    def skip(self, reason: str, piece: Given) -> None:
        """Count a piece that is not added."""
        self.skipped[reason] += 1
        self.show(reason, f"{piece.text} ({piece.place})")

    def show(self, name: str, text: str) -> None:
        """Keep an example."""
        if len(self.examples[name]) < EXAMPLES:
            self.examples[name].append(text)

    def summary(self) -> dict[str, Any]:
        """For statistics and report."""
        return {
            "given": self.given,
            "added": self.added,
            "skipped": dict(sorted(self.skipped.items())),
            "steps_added": self.steps,
            "characters_added": self.characters,
            "examples": {name: self.examples[name] for name in sorted(self.examples)},
        }


THERE = "already a token of the base"
REPEATED = "given before"
CLOSED = "would change how the base segments text"
BEYOND = "never one word of the base's pre-tokenizer"
REWRITTEN = "rewritten by the base's normalizer"
SPECIAL = "holds a special token"
UNREACHABLE = "no way to join it"
STEPS = "steps added"
CHARACTERS = "characters added"


def read_pieces(path: Path, longest: int) -> list[Given]:
    """Pieces of a JSONL file (`{"piece": "..."}` per line) or of a sentencepiece `.model`.

    U+2581 is read as a space in both, as sentencepiece writes it.

    Raises:
        StageError: lists the lines that hold no valid piece.
    """
    # A damaged `.model` is read as one too, so that the error says what is wrong with it.
    model = path.suffix == ".model" or is_model(path)
    faults: list[str] = []
    pieces: list[Given] = []
    for piece in _model_pieces(path) if model else _json_pieces(path, faults):
        if fault := _fault(piece.text, longest):
            faults.append(f"{piece.place}: {fault}")
        else:
            pieces.append(piece)
    _refuse(faults)
    if not pieces:
        raise StageError(
            f"{path.name}: no pieces in it; write one JSON object per line, such as "
            '{"piece": "你好"}'
        )
    return pieces


def _refuse(faults: Sequence[str]) -> None:
    """Raise a `StageError` that lists the faults, at most `MOST_FAULTS` of them."""
    if faults:
        more = f"\n... and {len(faults) - MOST_FAULTS:,} more" if len(faults) > MOST_FAULTS else ""
        raise StageError("\n".join(faults[:MOST_FAULTS]) + more)


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


def _json_pieces(path: Path, faults: list[str]) -> Iterator[Given]:
    """The pieces of the valid lines; the other lines' faults are appended to `faults`."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            place = f"{path.name}:{number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                faults.append(f'{place}: not JSON ({error}); write {{"piece": "你好"}}')
                continue
            if not isinstance(row, dict) or not isinstance(row.get("piece"), str):
                faults.append(f'{place}: no string under "piece"; write {{"piece": "你好"}}')
                continue
            yield Given(row["piece"].replace(WHITESPACE, " "), place)


def _model_pieces(path: Path) -> Iterator[Given]:
    """Best score first."""
    pieces = read_model(path).pieces
    order = sorted(range(len(pieces)), key=lambda index: (-pieces[index].score, index))
    for index in order:
        if pieces[index].kind in (NORMAL, USER_DEFINED):
            yield Given(
                pieces[index].text.replace(WHITESPACE, " "),
                f"{path.name}: piece {index}",
                own=False,
            )


def add_pieces(
    base: Tokenizer, given: Sequence[Given], rules: SplittingRules | None = None
) -> tuple[Tokenizer, list[NewToken], Account]:
    """`base` with every piece that can become a token of it, the new tokens, and the account.

    Raises:
        StageError: a piece of the user's list holds a special token, or no piece is new.
    """
    family = family_of(base, rules)
    account = Account(given=len(given))
    wanted = _wanted(base, family, given, account)
    builder = _Builder(family, size_of(base), account)
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


def _length(pair: tuple[Given, Any]) -> int:
    return len(pair[0].text)


def _wanted(
    base: Tokenizer, family: Family, given: Sequence[Given], account: Account
) -> list[tuple[Given, Any]]:
    """Pieces to add, with their contents, in given order."""
    holds_added = added_tokens_in(base)
    seen: set[Any] = set()
    wanted: list[tuple[Given, Any]] = []
    faults: list[str] = []
    for piece in given:
        special = holds_added(piece.text)
        if special and piece.own:
            faults.append(
                f"{piece.place}: the piece {piece.text!r} holds one of the base's special or added "
                "tokens, which are matched before any piece; remove the line"
            )
        content = family.content(piece.text)
        reason = SPECIAL if special else REPEATED if content in seen else None
        reason = reason or _reason_against(base, family, piece.text, content)
        seen.add(content)
        if reason is None:
            wanted.append((piece, content))
        else:
            account.skip(reason, piece)
    _refuse(faults)
    return wanted


def _reason_against(base: Tokenizer, family: Family, text: str, content: Any) -> str | None:
    """Why a piece cannot be added, seen by itself; None where it can."""
    if family.has_token(content):
        return THERE
    normal = base.normalizer.normalize_str(text) if base.normalizer is not None else text
    if isinstance(family, SentencePieceStyle):
        if normal.replace(" ", WHITESPACE) not in (content, WHITESPACE + content):
            return REWRITTEN
        return None if family.may_be(content) else CLOSED
    if normal != text:
        return REWRITTEN
    return BEYOND if len(family.words(text)) > 1 else None


class _Builder:
    """Appends tokens, each joined from two existing ones. `rank`: content -> index in `tokens`."""

    def __init__(self, family: Family, start: int, account: Account) -> None:
        self.family = family
        self.start = start
        self.account = account
        self.tokens: list[NewToken] = []
        self.merges: list[list[str]] = []
        self.rank: dict[Any, int] = {}

    def add_characters(self, contents: Sequence[Any]) -> None:
        """Add every character that the base spells in byte tokens, shortest pieces' first."""
        given = set(contents)
        for content in sorted(contents, key=len):
            for part in self.family.segments(content) if isinstance(content, str) else ():
                if (
                    isinstance(part, Missing)
                    and part.character not in self.rank
                    and self.family.may_be(part.character)
                ):
                    if part.character not in given:
                        self.account.characters += 1
                        self.account.show(CHARACTERS, f"{part.character} for {content}")
                    self._append(part.character, self.family.base_ids(part), None)

    def add_length(self, group: Sequence[tuple[Given, Any]]) -> None:
        """Add the pieces of one length, with the intermediate steps that they need."""
        rest: list[Unreached] = []
        for piece, content in group:
            parts = self._parts(content)
            if not parts:
                self.account.skip(CLOSED, piece)
            elif len(parts) == 2:
                self._join(parts[0], parts[1])
            elif len(parts) > 2:
                rest.append((piece, content, parts))
        for allowed in (self._whole_or_step, self._anything):
            rest = self._learn(rest, allowed)
        for piece, _, _ in rest:
            self.account.skip(UNREACHABLE, piece)

    def _parts(self, content: Any) -> list[Any]:
        """Contents of a piece's current tokens; none if a character of it may not be a token."""
        parts = self.family.segments(self.family.token(content))
        contents = [part.character if isinstance(part, Missing) else part for part in parts]
        if any(isinstance(part, Missing) and part.character not in self.rank for part in parts):
            return []
        return merged(contents, self.rank)

    def _learn(self, rest: list[Unreached], allowed: Callable[[Any], bool]) -> list[Unreached]:
        """Add the pieces that `allowed` steps reach, and return the others."""
        left: list[Unreached] = []
        while rest:
            known, steps = learned(
                self.family, [(parts, 1) for _, _, parts in rest], LIMITLESS, allowed, minimum=1
            )
            rank = {step.content: number for number, step in enumerate(steps)}
            # BPE on all pieces together may join across the way one of them needs: check each.
            whole = [len(merged(parts, rank)) == 1 for _, _, parts in rest]
            if all(whole):
                self._add_steps(
                    [*known, *(step.content for step in steps)],
                    steps,
                    {content for _, content, _ in rest},
                )
                break
            left += [item for item, reached in zip(rest, whole, strict=True) if not reached]
            rest = [item for item, reached in zip(rest, whole, strict=True) if reached]
        return left

    def _add_steps(
        self, contents: Sequence[Any], steps: Sequence[Step[Any]], asked: set[Any]
    ) -> None:
        for step in steps:
            if step.content not in asked:
                self.account.steps += 1
                self.account.show(STEPS, self.family.text(step.content) or repr(step.content))
            self._join(contents[step.left], contents[step.right])

    def _whole_or_step(self, content: Any) -> bool:
        """For bytes: whole characters, or the beginning of one."""
        fits = not isinstance(content, bytes) or whole_characters_or_step(content, LIMITLESS)
        return fits and self.family.may_be(content)

    def _anything(self, content: Any) -> bool:
        """Any bytes: where the base's own tokens end inside characters, steps have to as well."""
        return self.family.may_be(content)

    def _join(self, left: Any, right: Any) -> None:
        self._append(left + right, self._spelled(left) + self._spelled(right), (left, right))

    def _spelled(self, content: Any) -> tuple[int, ...]:
        new = self.rank.get(content)
        return self.tokens[new].base_ids if new is not None else self.family.base_ids(content)

    def _append(
        self, content: Any, base_ids: tuple[int, ...], parts: tuple[Any, Any] | None
    ) -> None:
        token = self.family.token(content)
        self.rank[content] = len(self.tokens)
        self.tokens.append(
            NewToken(self.start + len(self.tokens), token, self.family.text(content), base_ids)
        )
        if parts is not None:
            self.merges.append([self.family.token(part) for part in parts])


def merged(parts: Sequence[Any], rank: dict[Any, int]) -> list[Any]:
    """`parts` joined as a BPE with these ranks joins them: best rank first, then leftmost."""
    parts = list(parts)
    while True:
        pairs = ((parts[index] + parts[index + 1], index) for index in range(len(parts) - 1))
        candidates = [(rank[joined], index) for joined, index in pairs if joined in rank]
        if not candidates:
            return parts
        _, index = min(candidates)
        parts[index : index + 2] = [parts[index] + parts[index + 1]]
