"""Grow a BPE tokenizer: learn merges on top of its own segmentation and append them behind its own.

The new merges rank after all old ones, so the base segments first and new pieces only join what it left (coarsening):
undoing them gives back the base's segmentation of any text. Base ids stay as they are; new ids follow the largest.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import regex  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.tokenizer_files import WHITESPACE, byte_level_content, byte_level_token, size_of
from tasks.tokenizer.learn import FIRST_LOCKED, Step, learn

MAXIMUM_PIECE_CHARACTERS = 16
"""sentencepiece's default, which Llama-2 kept."""

_SCRIPTS = (
    "Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Bengali", "Tamil", "Telugu", "Kannada",
    "Malayalam", "Gujarati", "Gurmukhi", "Sinhala", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Hangul",
    "Georgian", "Armenian", "Ethiopic",
)  # fmt: skip
_EAST_ASIAN = r"[\p{Han}\p{Hiragana}\p{Katakana}ー々]"

_SENTENCEPIECE_WORDS = regex.compile(
    "|".join(
        [
            rf"{WHITESPACE}?{_EAST_ASIAN}+",
            *(rf"{WHITESPACE}?(?:\p{{Script={script}}}\p{{M}}*)+" for script in _SCRIPTS),
            rf"{WHITESPACE}?(?:(?!{_EAST_ASIAN})\p{{L}}\p{{M}}*)+",
            rf"{WHITESPACE}?[^\p{{L}}\p{{N}}\p{{M}}\p{{Z}}\p{{C}}{WHITESPACE}]+",
        ]
    )
)
"""Llama-2's `trainer_spec`: pieces hold one script, a space only in front, no digit beside anything else."""


@dataclass(frozen=True)
class NewToken:
    """A learned piece. `text` is None for a step inside one character; `base_ids` is how the base spells it."""

    id: int
    token: str
    text: str | None
    base_ids: tuple[int, ...]


class Family(Protocol):
    """What differs between byte-level and sentencepiece-style BPE."""

    def words(self, texts: Iterable[str]) -> Counter[str]:
        """Distinct words, as the model's vocabulary spells them, that no piece may reach beyond."""
        ...

    def steps(self, words: Counter[str], budget: int, longest: int) -> tuple[list[str], list[Step[Any]]]:
        """The base's tokens that occur (symbol order), and the learned steps."""
        ...

    def token(self, content: Any) -> str:
        """The vocabulary string of a content."""
        ...

    def text(self, content: Any) -> str | None:
        """The plain text of a content."""
        ...

    def fallback_ids(self, content: Any) -> tuple[int, ...]:
        """How the base spells a missing character."""
        ...


def family_of(tokenizer: Tokenizer) -> Family:
    """The base's family; `StageError` for models other than the two kinds of BPE."""
    state = json.loads(tokenizer.to_str())
    model = state["model"]
    if model["type"] == "BPE" and model.get("byte_fallback"):
        return SentencePieceStyle(tokenizer)
    if model["type"] == "BPE" and '"ByteLevel"' in json.dumps(state["decoder"]):
        return ByteLevel(tokenizer)
    raise StageError(
        f"the base's tokenizer is {model['type']}, neither byte-level BPE nor BPE with byte fallback; "
        "use `expand: null`, or a base of these kinds"
    )


class ByteLevel:
    """GPT-2, Llama-3, Qwen: pieces are byte strings inside the pre-tokenizer's words."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.vocabulary = tokenizer.get_vocab()

    def words(self, texts: Iterable[str]) -> Counter[str]:
        found: Counter[str] = Counter()
        normalizer, cutter = self.tokenizer.normalizer, self.tokenizer.pre_tokenizer
        if cutter is None:
            raise StageError("the base's byte-level tokenizer has no pre-tokenizer, so its words are unknown")
        for text in texts:
            plain = normalizer.normalize_str(text) if normalizer is not None else text
            found.update(word for word, _ in cutter.pre_tokenize_str(plain))
        return found

    def steps(self, words: Counter[str], budget: int, longest: int) -> tuple[list[str], list[Step[Any]]]:
        segmented = [([t.value for t in self.tokenizer.model.tokenize(word)], words[word]) for word in sorted(words)]
        known = sorted({token for tokens, _ in segmented for token in tokens}, key=self.vocabulary.__getitem__)
        symbol = {token: number for number, token in enumerate(known)}
        there = {content for token in self.vocabulary if (content := byte_level_content(token)) is not None}
        return known, learn(
            [([symbol[token] for token in tokens], count) for tokens, count in segmented],
            [byte_level_content(token) or b"" for token in known],
            budget,
            may_join=lambda content: content not in there and whole_characters_or_step(content, longest),
        )

    def token(self, content: bytes) -> str:
        return byte_level_token(content)

    def text(self, content: bytes) -> str | None:
        try:
            return content.decode()
        except UnicodeDecodeError:
            return None

    def fallback_ids(self, content: bytes) -> tuple[int, ...]:
        return tuple(self.vocabulary[byte_level_token(bytes([byte]))] for byte in content)


def whole_characters_or_step(content: bytes, longest: int) -> bool:
    """Whether bytes are at most `longest` whole characters, or the beginning of one character and nothing else."""
    try:
        return len(content.decode()) <= longest
    except UnicodeDecodeError:
        lead = content[0]
        needed = 2 if 0xC2 <= lead <= 0xDF else 3 if 0xE0 <= lead <= 0xEF else 4 if 0xF0 <= lead <= 0xF4 else 0
        return len(content) < needed and all(0x80 <= byte <= 0xBF for byte in content[1:])


class SentencePieceStyle:
    """Llama-2, llama2.c: pieces are characters, what is missing is spelled in byte tokens that nothing joins."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.vocabulary = tokenizer.get_vocab()
        absent = [name for name in map(_byte_token, range(256)) if name not in self.vocabulary]
        if absent:
            raise StageError(
                f"the base falls back to bytes but lacks {len(absent)} of the 256 byte tokens, e.g. {absent[0]}"
            )

    def words(self, texts: Iterable[str]) -> Counter[str]:
        found: Counter[str] = Counter()
        for text in texts:
            found.update(_SENTENCEPIECE_WORDS.findall(WHITESPACE + text.replace(" ", WHITESPACE)))
        return found

    def steps(self, words: Counter[str], budget: int, longest: int) -> tuple[list[str], list[Step[Any]]]:
        missing = sorted({char for word in words for char in word if char not in self.vocabulary})
        locked = {char: FIRST_LOCKED - number for number, char in enumerate(missing)}
        segmented = [(list(self._segments(word, locked)), words[word]) for word in sorted(words)]
        known = sorted(
            {t for tokens, _ in segmented for t in tokens if isinstance(t, str)}, key=self.vocabulary.__getitem__
        )
        symbol = {token: number for number, token in enumerate(known)}
        return known, learn(
            [([t if isinstance(t, int) else symbol[t] for t in tokens], count) for tokens, count in segmented],
            known,
            budget,
            may_join=lambda content: content not in self.vocabulary and len(content) <= longest,
            missing={char: len(char.encode()) for char in missing},
        )

    def _segments(self, word: str, locked: dict[str, int]) -> Iterable[str | int]:
        """The base's pieces of a word, and the locked symbols of its missing characters."""
        run = ""
        for char in word:
            if char in locked:
                yield from (token.value for token in self.tokenizer.model.tokenize(run))
                yield locked[char]
                run = ""
            else:
                run += char
        yield from (token.value for token in self.tokenizer.model.tokenize(run))

    def token(self, content: str) -> str:
        return content

    def text(self, content: str) -> str | None:
        return content.replace(WHITESPACE, " ")

    def fallback_ids(self, content: str) -> tuple[int, ...]:
        return tuple(self.vocabulary[_byte_token(byte)] for byte in content.encode())


def _byte_token(byte: int) -> str:
    return f"<0x{byte:02X}>"


def continue_bpe(
    base: Tokenizer, texts: Iterable[str], size: int, longest: int = MAXIMUM_PIECE_CHARACTERS
) -> tuple[Tokenizer, list[NewToken]]:
    """`base` grown to ids 0 .. `size` - 1 by merges learned on `texts`; `StageError` when it cannot grow so far."""
    start = size_of(base)
    if size <= start:
        raise StageError(f"the size asked for is {size:,}, the base has {start:,} tokens already; ask for more")
    family = family_of(base)
    words = family.words(texts)
    known, steps = family.steps(words, size - start, longest)
    if len(steps) < size - start:
        raise StageError(
            f"the text yields {len(steps):,} new pieces that occur twice or more, {size - start:,} are needed "
            f"for the size {size:,}; give more text or ask for {start + len(steps):,} at most"
        )
    vocabulary = base.get_vocab()
    strings = [*known, *(family.token(step.content) for step in steps)]
    spelled: list[tuple[int, ...]] = [(vocabulary[token],) for token in known]
    tokens: list[NewToken] = []
    merges: list[list[str]] = []
    for number, step in enumerate(steps):
        if step.left < 0:
            base_ids = family.fallback_ids(step.content)
        else:
            base_ids = spelled[step.left] + spelled[step.right]
            merges.append([strings[step.left], strings[step.right]])
        spelled.append(base_ids)
        tokens.append(NewToken(start + number, family.token(step.content), family.text(step.content), base_ids))
    return _appended(base, tokens, merges), tokens


def _appended(base: Tokenizer, tokens: Sequence[NewToken], merges: Sequence[list[str]]) -> Tokenizer:
    """The base's `tokenizer.json` with tokens and merges behind its own.

    Special tokens that only `added_tokens` lists enter the vocabulary as well, because it may have no holes; no merge
    leads to them.
    """
    state = json.loads(base.to_str())
    model = state["model"]
    for added in state["added_tokens"]:
        model["vocab"].setdefault(added["content"], added["id"])
    model["vocab"].update({token.token: token.id for token in tokens})
    model["merges"] = [*(merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]), *merges]
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def without_whole_words(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that reaches every token through merges only (`ignore_merges` off), to prove reachability with."""
    state = json.loads(tokenizer.to_str())
    state["model"]["ignore_merges"] = False
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def unreachable(tokenizer: Tokenizer, tokens: Iterable[NewToken]) -> list[NewToken]:
    """New tokens whose own string the merges do not turn into exactly that token."""
    model = without_whole_words(tokenizer).model
    return [token for token in tokens if [found.id for found in model.tokenize(token.token)] != [token.id]]


def undone(ids: Iterable[int], spelled: dict[int, tuple[int, ...]]) -> list[int]:
    """`ids` with every new token replaced by the base's ids of it."""
    return [base_id for token_id in ids for base_id in spelled.get(token_id, (token_id,))]
