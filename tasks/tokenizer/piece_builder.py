"""Join given pieces from tokens that exist, adding intermediate steps where a piece needs them.

Every new merge ranks after all earlier ones, so a piece that has become reachable stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tasks.tokenizer.append import NewToken
from tasks.tokenizer.byte_level import whole_characters_or_step
from tasks.tokenizer.expand import learned
from tasks.tokenizer.family import Family, MissingCharacter
from tasks.tokenizer.given_pieces import GivenPiece
from tasks.tokenizer.learn import LearnedStep
from tasks.tokenizer.piece_account import CHANGES_BASE, CHARACTERS, STEPS, UNREACHABLE, PieceAccount

LIMITLESS = 2**31
"""In place of a limit on steps or characters."""

Unreached = tuple[GivenPiece, Any, list[Any]]
"""A piece, its content, and the contents of its tokens so far."""


class PieceBuilder:
    """Collects new tokens, each joined from two existing ones, and their merges.

    `rank`: content -> index in `tokens`. `start`: id of the first new token.
    """

    def __init__(self, family: Family, start: int, account: PieceAccount) -> None:
        self.family = family
        self.start = start
        self.account = account
        self.tokens: list[NewToken] = []
        self.merges: list[list[str]] = []
        self.rank: dict[Any, int] = {}

    def add_characters(self, contents: Sequence[Any]) -> None:
        """Add every character that the base spells in byte tokens, those of short pieces first.

        `contents`: of the pieces to add. A byte-level base lacks no character.
        """
        given = set(contents)
        for content in sorted(contents, key=len):
            for part in self.family.segments(content) if isinstance(content, str) else ():
                if isinstance(part, MissingCharacter):
                    self._add_character(part, content, is_given=part.character in given)

    def _add_character(self, part: MissingCharacter, piece: str, *, is_given: bool) -> None:
        character = part.character
        if character in self.rank or not self.family.may_be_added(character):
            return
        if not is_given:
            self.account.characters += 1
            self.account.show(CHARACTERS, f"{character} for {piece}")
        self._append(character, self.family.base_ids(part), None)

    def add_length(self, group: Sequence[tuple[GivenPiece, Any]]) -> None:
        """Add the pieces of one length, with the intermediate steps that they need."""
        rest: list[Unreached] = []
        for piece, content in group:
            parts = self._parts(content)
            if not parts:
                self.account.skip(CHANGES_BASE, piece)
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
        contents = []
        for part in parts:
            if not isinstance(part, MissingCharacter):
                contents.append(part)
            elif part.character in self.rank:
                contents.append(part.character)
            else:
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
            # A step that serves most pieces may block the way to another one: check each.
            reached = [len(merged(parts, rank)) == 1 for _, _, parts in rest]
            if all(reached):
                self._add_steps(
                    [*known, *(step.content for step in steps)],
                    steps,
                    {content for _, content, _ in rest},
                )
                break
            left += [item for item, whole in zip(rest, reached, strict=True) if not whole]
            rest = [item for item, whole in zip(rest, reached, strict=True) if whole]
        return left

    def _add_steps(
        self, contents: Sequence[Any], steps: Sequence[LearnedStep[Any]], asked: set[Any]
    ) -> None:
        for step in steps:
            if step.content not in asked:
                self.account.steps += 1
                self.account.show(STEPS, self.family.text(step.content) or repr(step.content))
            self._join(contents[step.left], contents[step.right])

    def _whole_or_step(self, content: Any) -> bool:
        """For bytes: whole characters, or the beginning of one."""
        fits = not isinstance(content, bytes) or whole_characters_or_step(content, LIMITLESS)
        return fits and self.family.may_be_added(content)

    def _anything(self, content: Any) -> bool:
        """Any bytes: where the base's own tokens end inside characters, steps may have to, too."""
        return self.family.may_be_added(content)

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
