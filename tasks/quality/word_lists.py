"""Word lists for the rule `fineweb2.listed_words`: which words belong to one language alone.

FineWeb-2 kept languages with few documents apart by lists of words that occur in one language in
85 or 95 of 100 cases; a document without any word of its language's list was dropped
(huggingface/fineweb-2, misc/precision_filtering). A list is a text file, a word a line, named after
its language: `deu_Latn.txt` or `deu.txt` (ISO 639-3, script), or `de.txt`, as langid has it.
"""

from __future__ import annotations

import functools
from pathlib import Path

from infra.stage import Pin, StageError
from tasks.quality.catalog import LISTED_WORDS, WordLists

ISO_639_1 = {
    "ara": "ar",
    "arb": "ar",
    "ben": "bn",
    "bul": "bg",
    "cat": "ca",
    "ces": "cs",
    "cmn": "zh",
    "dan": "da",
    "deu": "de",
    "ell": "el",
    "eng": "en",
    "fas": "fa",
    "fin": "fi",
    "fra": "fr",
    "heb": "he",
    "hin": "hi",
    "hrv": "hr",
    "hun": "hu",
    "ind": "id",
    "ita": "it",
    "jpn": "ja",
    "kor": "ko",
    "nld": "nl",
    "nob": "no",
    "pol": "pl",
    "por": "pt",
    "ron": "ro",
    "rus": "ru",
    "slk": "sk",
    "spa": "es",
    "srp": "sr",
    "swe": "sv",
    "swh": "sw",
    "tam": "ta",
    "tel": "te",
    "tha": "th",
    "tur": "tr",
    "ukr": "uk",
    "urd": "ur",
    "vie": "vi",
    "zho": "zh",
}
"""ISO 639-3 -> the two letters that langid has; other languages keep their three."""


@functools.lru_cache(maxsize=1)
def read_word_lists(pins: tuple[Pin, ...], rules: tuple[str, ...]) -> WordLists:
    """Language -> its words, from every `.txt` file; read once per process.

    Several lists of a language are joined.

    Raises StageError for a file that is not UTF-8 or has no word, and if there is no list.
    """
    if LISTED_WORDS not in rules:
        return {}
    lists: dict[str, frozenset[str]] = {}
    for pin in pins:
        if not pin.name.endswith(".txt"):
            continue
        code = Path(pin.name).stem.partition("_")[0]
        language = ISO_639_1.get(code, code)
        try:
            lines = Path(pin.path).read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise StageError(f"word list {pin.name} is not UTF-8 ({error}); convert it") from error
        words = frozenset(filter(None, map(str.strip, lines)))
        if not words:
            raise StageError(f"word list {pin.name} has no word; remove it from word_lists")
        lists[language] = lists.get(language, frozenset()) | words
    if not lists:
        raise StageError(
            "word_lists has no file that ends in .txt; name lists after their language, such as "
            "deu_Latn.txt or de.txt"
        )
    return lists
