"""Texts on which two encoders of one tokenizer are likely to differ, if they do anywhere.

The same for every run: words of the tokenizer itself, and what is rare in ordinary text.
"""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

LONG_WORD = 1_000_000
"""Characters of the longest words."""

_NONE = ("Cn", "Cs")
_RUNS = " \n\t\r01a-=._#中é😀　\u00a0\u200b\u2581\0"
_RUN_LENGTHS = (*range(1, 34), 63, 64, 65, 127, 128, 129, 255, 256, 257, 1_000, 4_097)
_ALPHABETS = (
    " ab1",
    "  \n\r\t",
    "a'sSdDmMtTlLvVrReEſK’ ",
    "0123456789.,- ",
    "中国的一是，。 a",
    "éèßŉǅ\u0301\u0327ㅏ각ｱﾞア゙",
    "😀👩\u200d👩🏽\u200d👧🇩🇪\ufe0f#️⃣ ",
    "אבجدहिंदीไทยမြန်မာ ",
    "\0\x01\x1b\x7f\x85\u2028\ufeff\ufffd\u00ad a",
    "<|>/s_bunk[]{}=()`~^\\\"' ",
    "▁Ġ ĊÂ<0xE4>",
)


def probe_texts(state: str) -> list[tuple[str, str]]:
    """(prompt, text) of documents, for a tokenizer given as JSON."""
    contents = [token["content"] for token in json.loads(state)["added_tokens"]]
    texts = [*_named(contents), *_runs(), *_noise(), *_planes(), *_pieces(state), *_long()]
    return [*(("", text) for text in texts), *_prompted(contents)]


def _named(contents: Sequence[str]) -> Iterator[str]:
    """Special and other added tokens, spelled in text."""
    for content in contents:
        yield content
    for content in [*contents[:40], *contents[-40:]]:
        yield from (f"a{content}b", f"a {content} b {content}{content}", f"\n{content}\n")
        yield from (content[:-1], content[1:], content + content[:2], content.upper())
    yield "".join(contents)


def _runs() -> Iterator[str]:
    yield ""
    for character in _RUNS:
        for length in _RUN_LENGTHS:
            yield character * length
            if length < 70:
                yield f"x{character * length}y {character * length}"


def _noise() -> Iterator[str]:
    dice = random.Random(11)
    alphabets = [*_ALPHABETS, "".join(_ALPHABETS)]
    for number in range(3_000):
        yield "".join(dice.choices(alphabets[number % len(alphabets)], k=dice.randint(1, 60)))


def _planes() -> Iterator[str]:
    """Every character of the first two planes and every eighth of the third, beside others."""
    codes = [*range(0x20000), *range(0x20000, 0x34000, 8), 0xE0001, 0xF0000, 0x10FFFF]
    characters = [chr(code) for code in codes if unicodedata.category(chr(code)) not in _NONE]
    for at in range(0, len(characters), 16):
        some = characters[at : at + 16]
        yield "".join(some)
        yield "".join(f" {character}a {character}1{character}\n" for character in some)


def _pieces(state: str) -> Iterator[str]:
    """Every piece of the vocabulary beside others: where merges compete for a character."""
    tokenizer = Tokenizer.from_str(state)
    vocabulary = sorted(tokenizer.get_vocab(with_added_tokens=False).values())
    pieces = tokenizer.decode_batch([[index] for index in vocabulary], skip_special_tokens=False)
    dice = random.Random(12)
    for separator in ("", "", " "):
        dice.shuffle(pieces)
        for at in range(0, len(pieces), 8):
            yield separator.join(pieces[at : at + 8])


def _long() -> Iterator[str]:
    dice = random.Random(13)
    yield "".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=LONG_WORD))
    for character in "a 中\n":
        yield character * (LONG_WORD // 8)
    yield "".join(chr(dice.randrange(0x4E00, 0x9FA5)) for _ in range(LONG_WORD // 16))
    yield "".join(dice.choices("0123456789", k=LONG_WORD // 16))


def _prompted(contents: Sequence[str]) -> Iterator[tuple[str, str]]:
    samples = [
        "wool of a llama?  Grass, wind",
        "问：草原在哪里？\n答：在高山。",
        " e\u0301 😀👩🏽\u200d🚀 \u2581▁ 1234567",
        *(f"{content} a {content}" for content in contents[:8]),
    ]
    for sample in samples:
        for cut in range(1, len(sample) + 1):
            yield sample[:cut], sample[cut:]
