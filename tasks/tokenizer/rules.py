"""What a sentencepiece base allows in one piece: its `trainer_spec`, applied as by its trainer.

The fast tokenizer segments whole lines; that a piece holds a single script, or a digit only alone,
is stated in the `.model` file only. New pieces follow the same rules
(github.com/google/sentencepiece, `TrainerInterface::IsValidSentencePiece`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache, cached_property

import regex  # type: ignore[import-untyped]

from tasks.checkpoints.fast_tokenizers import WHITESPACE
from tasks.checkpoints.sentencepiece_model import TrainerSpec
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
"""In no piece: line breaks end training sentences; tab, NUL and U+2585 have meanings of their own.
"""


@cache
def script_of(character: str) -> str:
    """sentencepiece's script of a character; unknown characters are `Common`, as there."""
    return next((name for name, pattern in _SCRIPTS if pattern.match(character)), "Other")


def written_in(text: str, scripts: Collection[str]) -> bool:
    """Whether a text is written in `scripts` only (punctuation and combining marks excepted)."""
    used = {script_of(character) for character in text} - {COMMON, INHERITED}
    return bool(used) and used <= set(scripts)


def is_digit(character: str) -> bool:
    """Whether sentencepiece takes the character for a number."""
    return "0" <= character <= "9" or "\uff10" <= character <= "\uff19"


@dataclass(frozen=True)
class SplittingRules:
    """The rules of one base."""

    spec: TrainerSpec = LLAMA_2

    def allows(self, piece: str) -> bool:
        """Whether the trainer would take `piece` (spaces as U+2581); its length is not checked."""
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
            own: str | None = script_of(character)
            if own == INHERITED:  # combining marks take the script of what they follow
                own = script
            if digit and not spec.split_by_number:  # then a digit may stand beside any script
                own = None
            if spec.split_by_unicode_script and None not in (own, script) and own != script:
                return False
            script = own
        return True

    def words(self, text: str) -> list[str]:
        """Parts of a normalized text that no piece crosses, without forbidden characters."""
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
                # all rarer scripts in one run: `allows` separates them
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
