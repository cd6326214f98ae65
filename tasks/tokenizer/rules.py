"""What a sentencepiece base allows inside one piece: its `trainer_spec`, as sentencepiece's trainer
applies it.

The fast tokenizer segments whole lines, so nothing in it says that a piece holds one script, or no
digit beside anything else; only the `.model` file does. New pieces follow the same rules
(github.com/google/sentencepiece, `TrainerInterface::IsValidSentencePiece`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache, cached_property

import regex  # type: ignore[import-untyped]

from tasks.checkpoints.sentencepiece_model import TrainerSpec
from tasks.checkpoints.tokenizer_files import WHITESPACE
from tasks.tokenizer.scripts import HAN, OTHER_SCRIPTS

LLAMA_2 = TrainerSpec(model_type=2, split_digits=True, allow_whitespace_only_pieces=True)
"""Assumed where a base has no `.model`: Llama-2's, which most of its family kept."""

COMMON = "Common"
INHERITED = "Inherited"
_HAN_LIKE = r"\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\u30FC"
"""sentencepiece counts Hiragana, Katakana and the long vowel mark as Han."""
_SCRIPTS = [
    (HAN, regex.compile(rf"[{_HAN_LIKE}]")),
    (COMMON, regex.compile(r"[\p{Script=Common}\p{Script=Unknown}]")),
    (INHERITED, regex.compile(r"\p{Script=Inherited}")),
    *((name, regex.compile(rf"\p{{Script={name}}}")) for name in OTHER_SCRIPTS),
]
_DIGITS = "0-9\uff10-\uff19"
"""What sentencepiece calls a number: ASCII and full-width digits."""
_NEVER = r"\p{Cc}\u2585"
"""In no piece: line breaks end sentencepiece's training sentences, tab, NUL and its unknown mark
are its own.
"""


@cache
def script_of(character: str) -> str:
    """sentencepiece's script of a character; one it does not know is `Common` there."""
    return next((name for name, pattern in _SCRIPTS if pattern.match(character)), "Other")


def written_in(text: str, scripts: Collection[str]) -> bool:
    """Whether a text has a character of one of `scripts`, and of no other ones (signs and marks
    apart).
    """
    found = {script_of(character) for character in text} - {COMMON, INHERITED}
    return bool(found) and found <= set(scripts)


def is_digit(character: str) -> bool:
    """Whether sentencepiece takes it for a number."""
    return "0" <= character <= "9" or "\uff10" <= character <= "\uff19"


@dataclass(frozen=True)
class SplittingRules:
    """The rules of one base."""

    spec: TrainerSpec = LLAMA_2

    def allows(self, piece: str) -> bool:
        """Whether sentencepiece's trainer would take `piece` (spaces written as U+2581), length
        apart.
        """
        spec = self.spec
        blank = spec.allow_whitespace_only_pieces and not piece.strip(WHITESPACE)
        last = len(piece) - 1
        script = None
        for place, character in enumerate(piece):
            if character == WHITESPACE:
                inside = place > 0 if spec.split_by_whitespace else 0 < place == last
                if inside and not blank:
                    return False
                continue
            digit = is_digit(character)
            if digit and spec.split_digits and last:
                return False
            found: str | None = script_of(character)
            if found == INHERITED:
                found = script
            if digit and not spec.split_by_number:
                found = None
            if spec.split_by_unicode_script and None not in (found, script) and found != script:
                return False
            script = found
        return True

    def words(self, text: str) -> list[str]:
        """Parts of a normalized text that no allowed piece reaches beyond, without what no piece
        may hold.
        """
        return self._pattern.findall(text)  # type: ignore[no-any-return]

    @cached_property
    def _pattern(self) -> regex.Pattern[str]:
        spec = self.spec
        never = _NEVER + (_DIGITS if spec.split_digits else "")
        digits = [rf"[{_DIGITS}]"] if spec.split_digits else []
        if not spec.split_by_whitespace:
            return _compiled([rf"[^{never}]+", *digits])
        if spec.split_by_unicode_script and (spec.split_by_number or spec.split_digits):
            common = r"\p{Script=Common}\p{Script=Unknown}"
            marks = r"\p{Script=Inherited}"
            runs = [
                rf"[{_HAN_LIKE}{marks}]+",
                rf"[\p{{Script=Latin}}{marks}]+",
                rf"[[{common}{marks}]--[{never}{WHITESPACE}\u30FC]]+",
                # the rarer scripts together: `allows` parts them
                rf"[^{_HAN_LIKE}\p{{Script=Latin}}{common}]+",
            ]
        else:
            runs = [rf"[^{never}{WHITESPACE}]+"]
        if not spec.allow_whitespace_only_pieces:
            return _compiled([*(rf"{WHITESPACE}?{run}" for run in runs), *digits])
        return _compiled(
            [*(rf"{WHITESPACE}*{run}" for run in runs), rf"{WHITESPACE}{{2,}}", *digits]
        )


def _compiled(alternatives: list[str]) -> regex.Pattern[str]:
    return regex.compile("|".join(alternatives), regex.V1)
