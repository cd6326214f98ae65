"""Exact match: what of a generated answer is compared, and how texts are normalised before.

- `number` (GSM8K): by the strict rule, the first number after `####`; by the last-number rule, the
  last number of the text. Commas, dollar signs and a final full stop are removed.
- `boxed` (MATH): the content of the last \\boxed{}, else of the last $...$, without white space,
  dollar signs, \\left, \\right, \\!, spaces in TeX and a final full stop; \\dfrac and \\tfrac are
  \\frac.
- `letter`: the first capital letter A to Z that stands alone, also full-width or in brackets.
- `text` (TriviaQA): lower case, without ASCII punctuation, white space at both ends and repeated;
  `text-without-articles` (NaturalQuestions) also without "the", "a" and "an".

The rules of numbers and texts are those of lm-evaluation-harness 0.4.13.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable

_AFTER_HASHES = re.compile(r"#### (-?[0-9.,]+)")
_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_LETTER = re.compile(r"(?<![A-Za-z])([A-Z])(?![A-Za-z])")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def number_after_hashes(text: str) -> str | None:
    """The first number after `####`, plain; None without one."""
    found = _AFTER_HASHES.search(text)
    return plain_number(found[1]) if found else None


def last_number(text: str) -> str | None:
    """The last number, plain; None without one."""
    found = _NUMBER.findall(text)
    return plain_number(found[-1]) if found else None


def plain_number(text: str) -> str:
    """A number without commas, dollar signs and a final full stop."""
    return text.replace(",", "").replace("$", "").removesuffix(".").strip()


def first_letter(text: str) -> str | None:
    """The first capital letter that stands alone; None without one."""
    found = _LETTER.search(unicodedata.normalize("NFKC", text))
    return found[1] if found else None


def boxed(text: str) -> str | None:
    """The content of the last \\boxed{} (or \\fbox{}), normalised; None without one."""
    start = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    opening = text.find("{", start) if start >= 0 else -1
    depth = 0
    for index in range(opening, len(text)) if opening >= 0 else ():
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return plain_formula(text[opening + 1 : index])
    return None


def plain_formula(text: str) -> str:
    """A formula without white space and signs that do not change its value."""
    for old, new in (
        ("\\dfrac", "\\frac"),
        ("\\tfrac", "\\frac"),
        ("\\left", ""),
        ("\\right", ""),
        ("\\!", ""),
        ("\\ ", ""),
        ("\\$", ""),
        ("$", ""),
    ):
        text = text.replace(old, new)
    return re.sub(r"\s+", "", text).removesuffix(".")


def plain_text(text: str, *, articles: bool = True) -> str:
    """A text in lower case without punctuation; without articles too unless `articles`."""
    text = text.lower().translate(_PUNCTUATION)
    if not articles:
        text = re.sub(r"\b(?:the|a|an)\b", " ", text)
    return " ".join(text.split())


def compared(generated: str, extract: str) -> list[str | None]:
    """What of a generated answer is compared: one value, or two (strict, last) for numbers.

    None where the rule finds nothing, which is wrong.
    """
    if extract == "number":
        return [number_after_hashes(generated), last_number(generated)]
    if extract == "letter":
        return [first_letter(generated)]
    if extract == "boxed":
        found = boxed(generated)
        if found is None and (inline := re.findall(r"\$([^$]+)\$", generated)):
            found = plain_formula(inline[-1])
        return [found]
    return [plain_text(generated, articles=extract == "text")]


def accepted_values(accepted: tuple[str, ...], extract: str) -> set[str]:
    """The right answers in the form in which generated ones are compared."""
    rules: dict[str, Callable[[str], str]] = {
        "number": plain_number,
        "boxed": plain_formula,
        "letter": str.strip,
        "text": plain_text,
        "text-without-articles": lambda text: plain_text(text, articles=False),
    }
    return {rules[extract](text) for text in accepted} - {""}
