"""Grow a BPE tokenizer: learn merges on top of its own segmentation and append them behind its own.

The new merges rank after all old ones, so the base segments first and new pieces only join what it
left (coarsening): undoing them gives back the base's segmentation of any text. Base ids stay as
they are; new ids follow the largest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import regex  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.tokenizer_files import (
    WHITESPACE,
    byte_level_content,
    byte_level_token,
    size_of,
)
from tasks.tokenizer.curve import knee
from tasks.tokenizer.learn import FIRST_LOCKED, Step, learn
from tasks.tokenizer.rules import SplittingRules, written_in
from tasks.tokenizer.stage import require_growth

MAXIMUM_PIECE_CHARACTERS = 16
"""sentencepiece's default, which Llama-2 kept."""


@dataclass(frozen=True)
class NewToken:
    """A learned piece. `text` is None for a step inside one character; `base_ids` is how the base
    spells it.
    """

    id: int
    token: str
    text: str | None
    base_ids: tuple[int, ...]


class Grown(NamedTuple):
    """A grown tokenizer, and the learning run it comes from (longer than `tokens` where its end was
    cut off).

    `tokens_before`: tokens of the training words as the base segments them.
    """

    tokenizer: Tokenizer
    tokens: list[NewToken]
    steps: list[Step[Any]]
    tokens_before: int


Texts = Iterable[str] | Mapping[int, Iterable[str]]
"""Texts, or weight -> texts that count as though each were there so many times."""

Segmented = list[tuple[Sequence[Any], int]]
"""Words as contents of their tokens (a `Missing` for a character the base lacks), and how often
each occurs.
"""


@dataclass(frozen=True)
class Missing:
    """A character that the base spells in byte tokens, which nothing joins."""

    character: str


class Family(Protocol):
    """What differs between byte-level and sentencepiece-style BPE. A content is `bytes` or
    `str`.
    """

    def words(self, text: str) -> list[str]:
        """Words, as the model's vocabulary spells them, that no piece may reach beyond."""
        ...

    def segments(self, word: str) -> list[Any]:
        """Contents of the base's tokens of a word."""
        ...

    def content(self, text: str) -> Any:
        """The content of a text (spaces as spaces)."""
        ...

    def is_there(self, content: Any) -> bool:
        """Whether the base has a token of this content."""
        ...

    def may_be(self, content: Any) -> bool:
        """Whether a piece of this content leaves the base's segmentation and its special tokens
        alone.
        """
        ...

    def may_join(self, content: Any, longest: int) -> bool:
        """Whether a piece of this content is wanted."""
        ...

    def token(self, content: Any) -> str:
        """The vocabulary string of a content."""
        ...

    def text(self, content: Any) -> str | None:
        """The plain text of a content."""
        ...

    def base_ids(self, content: Any) -> tuple[int, ...]:
        """The base's id of one of its own tokens, or of the byte tokens that spell a missing
        character.
        """
        ...


def family_of(tokenizer: Tokenizer, rules: SplittingRules | None = None) -> Family:
    """The base's family; `StageError` for models other than the two kinds of BPE."""
    state = json.loads(tokenizer.to_str())
    model = state["model"]
    if model["type"] == "BPE" and model.get("byte_fallback"):
        return SentencePieceStyle(tokenizer, rules or SplittingRules())
    if model["type"] == "BPE" and '"ByteLevel"' in json.dumps(state["decoder"]):
        return ByteLevel(tokenizer)
    raise StageError(
        f"the base's tokenizer is {model['type']}, neither byte-level BPE nor BPE with byte "
        "fallback; use `expand: null`, or a base of these kinds"
    )


class ByteLevel:
    """GPT-2, Llama-3, Qwen: pieces are byte strings inside the pre-tokenizer's words."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        if tokenizer.pre_tokenizer is None:
            raise StageError(
                "the base's byte-level tokenizer has no pre-tokenizer, so its words are unknown"
            )
        self.tokenizer = tokenizer
        self.normalizer, self.cutter = tokenizer.normalizer, tokenizer.pre_tokenizer
        self.vocabulary = tokenizer.get_vocab()
        self.there = {
            content
            for token in self.vocabulary
            if (content := byte_level_content(token)) is not None
        }
        self.holds_added = added_tokens_in(tokenizer)

    def words(self, text: str) -> list[str]:
        plain = self.normalizer.normalize_str(text) if self.normalizer is not None else text
        return [word for word, _ in self.cutter.pre_tokenize_str(plain)]

    def segments(self, word: str) -> list[bytes]:
        return [
            byte_level_content(token.value) or b"" for token in self.tokenizer.model.tokenize(word)
        ]

    def content(self, text: str) -> bytes:
        return text.encode()

    def is_there(self, content: bytes) -> bool:
        return content in self.there

    def may_be(self, content: bytes) -> bool:
        return content not in self.there and not self.holds_added(content.decode(errors="ignore"))

    def may_join(self, content: bytes, longest: int) -> bool:
        return whole_characters_or_step(content, longest) and self.may_be(content)

    def token(self, content: bytes) -> str:
        return byte_level_token(content)

    def text(self, content: bytes) -> str | None:
        try:
            return content.decode()
        except UnicodeDecodeError:
            return None

    def base_ids(self, content: bytes) -> tuple[int, ...]:
        return (self.vocabulary[byte_level_token(content)],)


def whole_characters_or_step(content: bytes, longest: int) -> bool:
    """Whether bytes are at most `longest` whole characters, or the beginning of one character and
    nothing else.
    """
    try:
        return len(content.decode()) <= longest
    except UnicodeDecodeError:
        lead = content[0]
        needed = (
            2
            if 0xC2 <= lead <= 0xDF
            else 3
            if 0xE0 <= lead <= 0xEF
            else 4
            if 0xF0 <= lead <= 0xF4
            else 0
        )
        return len(content) < needed and all(0x80 <= byte <= 0xBF for byte in content[1:])


class SentencePieceStyle:
    """Llama-2, llama2.c: pieces are characters, what is missing is spelled in byte tokens that
    nothing joins.
    """

    def __init__(self, tokenizer: Tokenizer, rules: SplittingRules) -> None:
        self.tokenizer = tokenizer
        self.normalizer, self.cutter = tokenizer.normalizer, tokenizer.pre_tokenizer
        self.rules = rules
        self.vocabulary = tokenizer.get_vocab()
        absent = [name for name in map(_byte_token, range(256)) if name not in self.vocabulary]
        if absent:
            raise StageError(
                f"the base falls back to bytes but lacks {len(absent)} of the 256 byte tokens, "
                f"e.g. {absent[0]}"
            )
        self.holds_added = added_tokens_in(tokenizer)
        self.closed = self._parts_of_unreachable()

    def words(self, text: str) -> list[str]:
        plain = self.normalizer.normalize_str(text) if self.normalizer is not None else text
        parts = (
            [part for part, _ in self.cutter.pre_tokenize_str(plain)]
            if self.cutter is not None
            else [plain]
        )
        return [word for part in parts for word in self.rules.words(part)]

    def segments(self, word: str) -> list[str | Missing]:
        found: list[str | Missing] = []
        run = ""
        for character in word:
            if character in self.vocabulary:
                run += character
            else:
                found += [token.value for token in self.tokenizer.model.tokenize(run)]
                found.append(Missing(character))
                run = ""
        return [*found, *(token.value for token in self.tokenizer.model.tokenize(run))]

    def content(self, text: str) -> str:
        return text.replace(" ", WHITESPACE)

    def is_there(self, content: str) -> bool:
        return content in self.vocabulary

    def may_join(self, content: str, longest: int) -> bool:
        return self.may_be(content) and len(content) <= longest and self.rules.allows(content)

    def may_be(self, content: str) -> bool:
        return (
            content not in self.vocabulary
            and content not in self.closed
            and not self.holds_added(content.replace(WHITESPACE, " "))
        )

    def token(self, content: str) -> str:
        return content

    def text(self, content: str) -> str | None:
        return content.replace(WHITESPACE, " ")

    def base_ids(self, content: str | Missing) -> tuple[int, ...]:
        if isinstance(content, Missing):
            return tuple(self.vocabulary[_byte_token(byte)] for byte in content.character.encode())
        return (self.vocabulary[content],)

    def _parts_of_unreachable(self) -> set[str]:
        """Beginnings and ends of base pieces that the base's merges never reach.

        sentencepiece joins any two neighbours whose joined text is a piece. Given such a part as a
        new piece, it would reach the old one, and text would no longer segment as with the base.
        """
        tokenize = self.tokenizer.model.tokenize
        special = set(self.tokenizer.get_added_tokens_decoder())
        unreached = [
            piece
            for piece, index in self.vocabulary.items()
            if len(piece) > 1
            and index not in special
            and not _is_byte_token(piece)
            and len(tokenize(piece)) > 1
        ]
        return {
            part
            for piece in unreached
            for cut in range(1, len(piece))
            for part in (piece[:cut], piece[cut:])
        }


def _byte_token(byte: int) -> str:
    return f"<0x{byte:02X}>"


def _is_byte_token(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")


def added_tokens_in(tokenizer: Tokenizer) -> Callable[[str], bool]:
    """Whether a text holds one of the tokens that are matched before any merge, special ones above
    all.
    """
    contents = sorted(
        {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.content}
    )
    if not contents:
        return lambda text: False
    pattern = regex.compile("|".join(map(regex.escape, contents)))
    return lambda text: pattern.search(text) is not None


def grow(
    base: Tokenizer,
    texts: Texts,
    size: int | None,
    longest: int = MAXIMUM_PIECE_CHARACTERS,
    rules: SplittingRules | None = None,
    *,
    maximum: int = 100_000,
    scripts: Sequence[str] = (),
) -> Grown:
    """`base` grown to ids 0 .. `size` - 1 by merges learned on `texts`; `StageError` when it cannot
    grow so far.

    `size` None takes the knee of the curve within `maximum` new tokens. `longest`: characters.
    `scripts`: new pieces are written in these only (parts of characters apart); none means any.
    """
    start = size_of(base)
    if size is not None:
        require_growth(size, start)
    family = family_of(base, rules)
    words = counted(family, texts)
    segmented: Segmented = [(family.segments(word), words[word]) for word in sorted(words)]
    before = sum(
        count
        * sum(len(part.character.encode()) if isinstance(part, Missing) else 1 for part in parts)
        for parts, count in segmented
    )
    budget = maximum if size is None else size - start

    def wanted_piece(content: Any) -> bool:
        if not family.may_join(content, longest):
            return False
        text = family.text(content)
        return not scripts or text is None or written_in(text, scripts)

    known, steps = learned(family, segmented, budget, wanted_piece)
    if not steps:
        where = f"{len(words):,} distinct words" + (
            f", scripts {', '.join(scripts)}" if scripts else ""
        )
        raise StageError(
            f"the text yields no new piece that occurs twice or more ({where}); give more text"
            + (", or name the scripts it is written in" if scripts else "")
        )
    wanted = budget if size is not None else knee(steps, before)
    if len(steps) < wanted:
        raise StageError(
            f"the text yields {len(steps):,} new pieces that occur twice or more, {wanted:,} are "
            f"needed for the size {size:,}; give more text or ask for {start + len(steps):,} at "
            "most"
        )
    tokens, merges = new_tokens(family, known, steps[:wanted], start)
    return Grown(appended(base, tokens, merges), tokens, steps, before)


def counted(family: Family, texts: Texts) -> dict[str, int]:
    """Distinct words and how often each occurs, weights applied."""
    found: dict[str, int] = {}
    for weight, some in (texts if isinstance(texts, Mapping) else {1: texts}).items():
        for text in some:
            for word in family.words(text):
                found[word] = found.get(word, 0) + weight
    return found


def learned(
    family: Family,
    segmented: Segmented,
    budget: int,
    may_join: Callable[[Any], bool],
    minimum: int = 2,
) -> tuple[list[Any], list[Step[Any]]]:
    """The contents that occur, as symbols 0, 1, ...; and the learned steps."""
    parts = {part for word, _ in segmented for part in word}
    missing = sorted(part.character for part in parts if isinstance(part, Missing))
    known = sorted(part for part in parts if not isinstance(part, Missing))
    symbol: dict[Any, int] = {content: number for number, content in enumerate(known)}
    symbol |= {
        Missing(character): FIRST_LOCKED - number for number, character in enumerate(missing)
    }
    return known, learn(
        [([symbol[part] for part in word], count) for word, count in segmented],
        known,
        budget,
        may_join=may_join,
        missing={character: len(character.encode()) for character in missing},
        minimum=minimum,
    )


def new_tokens(
    family: Family, known: Sequence[Any], steps: Sequence[Step[Any]], start: int
) -> tuple[list[NewToken], list[list[str]]]:
    """Tokens with ids from `start` on, and their merges. `known`: see `learned`."""
    strings = [*map(family.token, known), *(family.token(step.content) for step in steps)]
    spelled = [family.base_ids(content) for content in known]
    tokens: list[NewToken] = []
    merges: list[list[str]] = []
    for number, step in enumerate(steps):
        if step.left < 0:
            base_ids = family.base_ids(Missing(step.content))
        else:
            base_ids = spelled[step.left] + spelled[step.right]
            merges.append([strings[step.left], strings[step.right]])
        spelled.append(base_ids)
        tokens.append(
            NewToken(
                start + number, family.token(step.content), family.text(step.content), base_ids
            )
        )
    return tokens, merges


def appended(base: Tokenizer, tokens: Sequence[NewToken], merges: Sequence[list[str]]) -> Tokenizer:
    """The base's `tokenizer.json` with tokens and merges behind its own.

    Special tokens that only `added_tokens` lists enter the vocabulary as well, because it may have
    no holes; no merge leads to them. `StageError` for one that text would be read as all the same:
    a single character, or a whole word of a base with `ignore_merges`.
    """
    state = json.loads(base.to_str())
    model = state["model"]
    entering = [
        added
        for added in state["added_tokens"]
        if added["special"] and added["content"] not in model["vocab"]
    ]
    for added in state["added_tokens"]:
        model["vocab"].setdefault(added["content"], added["id"])
    model["vocab"].update({token.token: token.id for token in tokens})
    model["merges"] = [
        *(merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]),
        *merges,
    ]
    grown = Tokenizer.from_str(json.dumps(state, ensure_ascii=False))
    grown.encode_special_tokens = True
    for added in entering:
        if added["id"] in grown.encode(added["content"], add_special_tokens=False).ids:
            raise StageError(
                f"the base's special token {added['content']!r} is what ordinary text holds: for "
                "new ids to follow it, the vocabulary has to hold it, and text would be read as "
                "it; rename it in the base's tokenizer.json"
            )
    grown.encode_special_tokens = False
    return grown


def without_whole_words(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that reaches every token through merges only (`ignore_merges` off), to prove
    reachability with.
    """
    state = json.loads(tokenizer.to_str())
    state["model"]["ignore_merges"] = False
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def unreachable(tokenizer: Tokenizer, tokens: Iterable[NewToken]) -> list[NewToken]:
    """New tokens whose own string the merges do not turn into exactly that token."""
    model = without_whole_words(tokenizer).model
    return [
        token
        for token in tokens
        if [found.id for found in model.tokenize(token.token)] != [token.id]
    ]


def undone(ids: Iterable[int], spelled: dict[int, tuple[int, ...]]) -> list[int]:
    """`ids` with every new token replaced by the base's ids of it."""
    return [base_id for token_id in ids for base_id in spelled.get(token_id, (token_id,))]
