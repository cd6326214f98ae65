"""Grow a BPE tokenizer: learn merges on top of its own segmentation and append them to its merges.

1. Normalize and split the training text into words, as the base does, and count distinct words.
2. Segment each word with the base (`Family.segments`). A sentencepiece-style base spells characters
   that it lacks in byte tokens; each becomes one `Missing`, because no merge joins byte tokens.
3. Learn merges on these segments (`tasks.tokenizer.learn`), admitting only pieces that are new,
   short enough, in the wanted scripts, and that leave the base's segmentation as it is.
4. Keep as many steps as `size` asks for, or those up to the knee (`tasks.tokenizer.curve`).
5. Append tokens (ids follow the base's largest) and merges (ranks follow the base's last).

New merges rank after all old ones, so the base segments first and new pieces only join what it left
(coarsening). Undoing them (`undone`) gives the base's segmentation of any text again; the stage
proves it on measured text. Base ids do not change.

Example: the base lacks "公" and "园" (3 byte tokens each), and the text holds "公园" 4 times. The
word is [Missing(公), Missing(园)], 6 tokens. First 公 becomes a piece and saves 4 * 2 tokens,
then 园 likewise; joining 公 and 园 saves 4. The `base_ids` of the three are 3, 3 and 6 byte tokens.

A content is what a token stands for: `bytes` in a byte-level base, `str` in a sentencepiece-style
one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import regex  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.fast_tokenizers import WHITESPACE, byte_level_content, byte_level_token
from tasks.checkpoints.tokenizer_files import size_of
from tasks.tokenizer.curve import knee
from tasks.tokenizer.learn import FIRST_LOCKED, Step, learn
from tasks.tokenizer.rules import SplittingRules, written_in
from tasks.tokenizer.stage import require_growth

MAXIMUM_PIECE_CHARACTERS = 16
"""sentencepiece's default, which Llama-2 kept."""


@dataclass(frozen=True)
class NewToken:
    """A learned piece.

    `text` is None where the piece is only part of a character; `base_ids`: the base's spelling.
    """

    id: int
    token: str
    text: str | None
    base_ids: tuple[int, ...]


class Grown(NamedTuple):
    """A grown tokenizer, and the steps of the learning run it comes from.

    There are more `steps` than `tokens` where the run was cut off at the knee. `tokens_before`:
    tokens of the training words as the base segments them.
    """

    tokenizer: Tokenizer
    tokens: list[NewToken]
    steps: list[Step[Any]]
    tokens_before: int


Texts = Iterable[str] | Mapping[int, Iterable[str]]
"""Texts, or weight -> texts; a text of weight w counts as w copies of it."""

Segmented = list[tuple[Sequence[Any], int]]
"""Words as the contents of their tokens, `Missing` included, and how often each word occurs."""


@dataclass(frozen=True)
class Missing:
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

    def may_be(self, content: Any) -> bool:
        """Whether a piece with this content leaves the base's segmentation and specials alone."""
        ...

    def may_join(self, content: Any, longest: int) -> bool:
        """Whether a merge may produce this content, at most `longest` characters."""
        ...

    def token(self, content: Any) -> str:
        """The vocabulary string of a content."""
        ...

    def text(self, content: Any) -> str | None:
        """The plain text of a content."""
        ...

    def base_ids(self, content: Any) -> tuple[int, ...]:
        """The base's id of one of its tokens, or the ids of the bytes of a missing character."""
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
        "fallback; use `expand: null`, or a base of one of these kinds"
    )


class ByteLevel:
    """GPT-2, Llama-3, Qwen: pieces are byte strings within one word of the pre-tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        if tokenizer.pre_tokenizer is None:
            raise StageError(
                "the base's byte-level tokenizer has no pre-tokenizer, so words cannot be told "
                "apart; use `expand: null`, or a base with one"
            )
        self.tokenizer = tokenizer
        self.normalizer, self.cutter = tokenizer.normalizer, tokenizer.pre_tokenizer
        self.vocabulary = tokenizer.get_vocab()
        self.base_contents = {
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

    def has_token(self, content: bytes) -> bool:
        return content in self.base_contents

    def may_be(self, content: bytes) -> bool:
        return content not in self.base_contents and not self.holds_added(
            content.decode(errors="ignore")
        )

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
    """Whether bytes are at most `longest` whole characters, or a proper prefix of a single one."""
    try:
        return len(content.decode()) <= longest
    except UnicodeDecodeError:
        # UTF-8: the lead byte says how many bytes the character has, all others are 10xxxxxx.
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
    """Llama-2, llama2.c: pieces are characters; a missing character is spelled in byte tokens."""

    def __init__(self, tokenizer: Tokenizer, rules: SplittingRules) -> None:
        self.tokenizer = tokenizer
        self.normalizer, self.cutter = tokenizer.normalizer, tokenizer.pre_tokenizer
        self.rules = rules
        self.vocabulary = tokenizer.get_vocab()
        absent = [name for name in map(_byte_token, range(256)) if name not in self.vocabulary]
        if absent:
            raise StageError(
                f"the base falls back to bytes but lacks {len(absent)} of the 256 byte tokens, "
                f"e.g. {absent[0]}; use `expand: null`, or a base with all of them"
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
        parts: list[str | Missing] = []
        run = ""
        for character in word:
            if character in self.vocabulary:
                run += character
            else:
                parts += [token.value for token in self.tokenizer.model.tokenize(run)]
                parts.append(Missing(character))
                run = ""
        return [*parts, *(token.value for token in self.tokenizer.model.tokenize(run))]

    def content(self, text: str) -> str:
        return text.replace(" ", WHITESPACE)

    def has_token(self, content: str) -> bool:
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
        """Prefixes and suffixes of base pieces that the base's merges never produce.

        sentencepiece joins any two neighbours whose joined text is a piece. With such a part as a
        new piece it would reach the old piece, and text would no longer segment as with the base.
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
    """A test whether a text holds an added token: those are matched before any merge."""
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
    """`base` grown to `size` tokens by merges learned on `texts`.

    Args:
        size: None takes the knee of the curve within `maximum` new tokens.
        longest: characters of a new piece, at most.
        rules: of a sentencepiece base; Llama-2's where it has none.
        scripts: new pieces are written in these only (parts of characters excepted); none: any.

    Raises:
        StageError: the base is of another kind, is that large already, or the text is too short.
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
            f"no new piece occurs at least twice in the text ({where}); give more text"
            + (", or name the scripts it is written in" if scripts else "")
        )
    wanted = budget if size is not None else knee(steps, before)
    if len(steps) < wanted:
        raise StageError(
            f"only {len(steps):,} new pieces occur at least twice in the text, but size {size:,} "
            f"needs {wanted:,}; give more text or ask for at most {start + len(steps):,}"
        )
    tokens, merges = new_tokens(family, known, steps[:wanted], start)
    return Grown(appended(base, tokens, merges), tokens, steps, before)


def counted(family: Family, texts: Texts) -> dict[str, int]:
    """Distinct words and how often each occurs, weights applied."""
    counts: dict[str, int] = {}
    for weight, members in (texts if isinstance(texts, Mapping) else {1: texts}).items():
        for text in members:
            for word in family.words(text):
                counts[word] = counts.get(word, 0) + weight
    return counts


def learned(
    family: Family,
    segmented: Segmented,
    budget: int,
    may_join: Callable[[Any], bool],
    minimum: int = 2,
) -> tuple[list[Any], list[Step[Any]]]:
    """The contents that occur, in the order of their symbols 0, 1, ..., and the learned steps."""
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
    """The base's `tokenizer.json` with tokens and merges appended.

    Special tokens listed only in `added_tokens` enter the vocabulary as well, because its ids may
    have no holes; no merge produces them. `StageError` where ordinary text would still be encoded
    as one: a single character, or a whole word of a base with `ignore_merges`.
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
                f"the base's special token {added['content']!r} also occurs in ordinary text: for "
                "new ids to follow it, the vocabulary has to hold it, and such text would be "
                "encoded as it; rename it in the base's tokenizer.json"
            )
    grown.encode_special_tokens = False
    return grown


def without_whole_words(tokenizer: Tokenizer) -> Tokenizer:
    """A copy with `ignore_merges` off, which reaches tokens by merges only; for `unreachable`."""
    state = json.loads(tokenizer.to_str())
    state["model"]["ignore_merges"] = False
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def unreachable(tokenizer: Tokenizer, tokens: Iterable[NewToken]) -> list[NewToken]:
    """New tokens whose string the merges do not turn into exactly that token."""
    model = without_whole_words(tokenizer).model
    return [
        token for token in tokens if [part.id for part in model.tokenize(token.token)] != [token.id]
    ]


def undone(ids: Iterable[int], spelled: dict[int, tuple[int, ...]]) -> list[int]:
    """`ids` with every new token replaced by its base ids."""
    return [base_id for token_id in ids for base_id in spelled.get(token_id, (token_id,))]
