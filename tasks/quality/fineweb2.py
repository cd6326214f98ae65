"""FineWeb-2's limits by language, as published in its repository.

Source: huggingface/fineweb-2, configs/LANG_Script.yml and fineweb-2-pipeline.py at commit d0defb2
(Penedo et al. 2025, arXiv 2506.20920). The authors fitted them to each language's Wikipedia and
web text. For every language they leave out C4's rules, Gopher's three repetition rules on
paragraphs and on characters of lines, and FineWeb's rule on short lines, and allow 0.1 of the
characters in repeated lines where FineWeb allows 0.01. Stop words are `catalog.STOP_WORDS`.

Chinese and Japanese limits are for words as jieba and SudachiPy find them; they hold as they are
where the recipe chooses these (`words`), and are converted where characters are counted
(`tasks.quality.catalog`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Fitted(NamedTuple):
    """What differs by language; shares of characters for n-grams, of lines or words otherwise."""

    duplicate_lines: float
    top_n_grams: tuple[float, ...]  # of 2 to 4 words
    duplicate_n_grams: tuple[float, ...]  # of 5 to 10 words
    line_punctuation: float
    newline_ratio: float
    alphabetic_words: float
    word_length: tuple[int, int]


_TABLE = """
    lines  top n-grams        repeated n-grams                         punct newln letters length
           2     3     4      5     6     7     8     9     10                            min max
ar  0.304  0.197 0.172 0.146  0.165 0.153 0.142 0.131 0.120 0.109  0.143 0.189 0.787   2   9
de  0.263  0.169 0.153 0.137  0.141 0.134 0.126 0.117 0.108 0.098  0.000 0.152 0.774   0  15
es  0.252  0.156 0.140 0.125  0.145 0.136 0.127 0.117 0.108 0.099  0.182 0.138 0.825   3  14
fr  0.264  0.161 0.149 0.134  0.150 0.141 0.131 0.121 0.111 0.100  0.100 0.185 0.812   2  11
ja  0.328  0.239 0.196 0.172  0.243 0.225 0.207 0.190 0.175 0.159  0.096 0.130 0.759   1   6
ru  0.322  0.184 0.164 0.146  0.168 0.156 0.145 0.133 0.121 0.109  0.231 0.139 0.713   3  11
zh  0.287  0.256 0.201 0.171  0.198 0.182 0.167 0.154 0.140 0.127  0.106 0.178 0.735   1   5
"""


def _fitted(row: str) -> tuple[str, Fitted]:
    language, lines, *cells = row.split()
    shares = tuple(map(float, cells[:12]))
    punctuation, newlines, letters = shares[9:]
    length = int(cells[12]), int(cells[13])
    return language, Fitted(
        float(lines), shares[:3], shares[3:9], punctuation, newlines, letters, length
    )


FITTED: Mapping[str, Fitted] = dict(map(_fitted, _TABLE.strip().splitlines()[2:]))
"""Language -> what FineWeb-2 fitted to it."""

OFF = (
    "gopher.repetition.duplicate_paragraphs",
    "gopher.repetition.duplicate_line_characters",
    "gopher.repetition.duplicate_paragraph_characters",
    "c4.curly_bracket",
    "c4.lorem_ipsum",
    "c4.javascript",
    "c4.policy",
    "c4.sentences",
    "fineweb.short_lines",
)
"""Rules that FineWeb-2 does not apply."""


def limits(language: str) -> dict[str, dict[str, Any] | None]:
    """Rule -> changed limits, None for a rule that is off; empty for a language not in FITTED."""
    fitted = FITTED.get(language)
    if fitted is None:
        return {}
    low, high = fitted.word_length
    return {
        **dict.fromkeys(OFF),
        "gopher.repetition.duplicate_lines": {"max": fitted.duplicate_lines},
        **{
            f"gopher.repetition.top_{n}_gram": {"max": share}
            for n, share in zip((2, 3, 4), fitted.top_n_grams, strict=True)
        },
        **{
            f"gopher.repetition.duplicate_{n}_grams": {"max": share}
            for n, share in zip(range(5, 11), fitted.duplicate_n_grams, strict=True)
        },
        "gopher.mean_word_length": {"min": low, "max": high},
        "gopher.alphabetic_words": {"min": fitted.alphabetic_words},
        "fineweb.line_punctuation": {"min": fitted.line_punctuation},
        "fineweb.duplicate_characters": {"max": 0.1},
        "fineweb.newline_ratio": {"max": fitted.newline_ratio},
    }
