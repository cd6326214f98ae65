"""What growing a tokenizer asks of its base: one protocol for both families of BPE.

A *content* is what a token stands for: `bytes` in a byte-level base, `str` in a sentencepiece-style
one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import regex  # type: ignore[import-untyped]
from tokenizers import Tokenizer


@dataclass(frozen=True)
class MissingCharacter:
    """A character that the base spells in byte tokens, which no merge joins."""

    character: str


class Family(Protocol):
    """What differs between byte-level and sentencepiece-style BPE."""

    def words(self, text: str) -> list[str]:
        """Words, spelled as in the vocabulary; no piece may cross their boundaries."""
        ...

    def segments(self, word: str) -> list[Any]:
        """Contents of the base's tokens of a word."""
        ...

    def content(self, text: str) -> Any:
        """The content of a text written with plain spaces."""
        ...

    def has_token(self, content: Any) -> bool:
        """Whether the base has a token with this content."""
        ...

    def may_be_added(self, content: Any) -> bool:
        """Whether a piece with this content changes neither segmentation nor special tokens."""
        ...

    def may_join(self, content: Any, longest: int) -> bool:
        """Whether a merge may produce this content, at most `longest` characters."""
        ...

    def token(self, content: Any) -> str:
        """The vocabulary string of a content."""
        ...

    def text(self, content: Any) -> str | None:
        """The plain text of a content; None for part of a character."""
        ...

    def base_ids(self, content: Any) -> tuple[int, ...]:
        """The base's id of one of its tokens, or the ids of the bytes of a missing character."""
        ...


def added_tokens_in(tokenizer: Tokenizer) -> Callable[[str], bool]:
    """A test whether a text holds an added token (the tokenizer matches those before any merge)."""
    contents = sorted(
        {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.content}
    )
    if not contents:
        return lambda text: False
    pattern = regex.compile("|".join(map(regex.escape, contents)))
    return lambda text: pattern.search(text) is not None
