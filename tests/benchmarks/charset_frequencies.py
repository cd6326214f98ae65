"""Counts how frequent letters are, and prints what `tasks/ingest/charset/frequent.py` has by
language.

    python tests/benchmarks/charset_frequencies.py [--data ../shared/data]

From the Universal Declaration of Human Rights, the first half of each language's sentences and, for
Chinese, cmrc2018 and ruanyf-weekly. Traditional Chinese is the same text converted, which wants
`pip install zhconv`; Vietnamese was taken apart as windows-1258 writes it. By hand: letters of an
alphabet that the sample hardly has were added at 8 to 14 bits (French œ, Estonian š, Romanian ș),
letters that no encoding of the language has were left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import unicodedata
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

UDHR = {
    "zh": "cmn_hans", "zh_hant": "cmn_hant", "ja": "jpn", "ko": "kor", "ru": "rus", "uk": "ukr",
    "bg": "bul",
    "sr": "srp_cyrl", "be": "bel", "el": "ell_monotonic", "he": "heb", "ar": "arb", "fa": "pes",
    "th": "tha",
    "tr": "tur", "vi": "vie", "pl": "pol", "cs": "ces", "hu": "hun", "ro": "ron", "hr": "hrv",
    "lt": "lit",
    "lv": "lav", "et": "est", "de": "deu", "fr": "fra", "es": "spa", "pt": "por", "sv": "swe",
    "sq": "als",
    "eo": "epo", "cy": "cym", "ga": "gle", "mi": "mri", "af": "afr", "da": "dan", "nb": "nob",
    "fi": "fin",
    "it": "ita", "nl": "nld", "ca": "cat", "is": "isl", "sk": "slk", "sl": "slv", "mk": "mkd",
}  # fmt: skip
MOST = {"zh": 1_600, "zh_hant": 1_600, "ja": 900, "ko": 900}
"""How many characters are listed; of alphabets all."""


def main() -> None:
    """Print a line for each language."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data"
    )
    data = parser.parse_args().data
    for language in UDHR if importlib.util.find_spec("zhconv") else UDHR.keys() - {"zh_hant"}:
        print(f"{language}: {groups(sample(data, language), MOST.get(language, 200))}")


def sample(data: Path, language: str) -> str:
    """The text that is counted."""
    text = _declaration(data, language)
    sentences = (
        data / "lid" / "lingua-sentences-first-half" / f"{language.removesuffix('_hant')}.txt"
    )
    if sentences.is_file():
        found = sentences.read_text(encoding="utf-8")
        text += found[: len(found) // 2]
    if language.startswith("zh"):
        prose = data / "prose_zh"
        files = [
            *(prose / "cmrc2018" / "data").glob("*.json"),
            *(prose / "ruanyf-weekly" / "docs").glob("*.md"),
        ]
        text = text * 4 + "".join(path.read_text(encoding="utf-8") for path in sorted(files))
    if language == "zh_hant":
        import zhconv

        text = zhconv.convert(text, "zh-hant")
    return unicodedata.normalize("NFC", text).lower()


def _declaration(data: Path, language: str) -> str:
    with zipfile.ZipFile(data / "lid" / "udhr" / "udhr2.zip") as archive:
        names = sorted(
            name for name in archive.namelist() if name.startswith(f"udhr2/{UDHR[language]}")
        )
        return archive.read(names[0]).decode("utf-8-sig") if names else ""


def groups(text: str, most: int) -> str:
    """Letters above ASCII by their price in bits, as `frequent` writes them."""
    counts = Counter(
        letter
        for letter in text
        if letter > "\x7f" and (letter.isalpha() or unicodedata.combining(letter))
    )
    by_price: defaultdict[int, list[str]] = defaultdict(list)
    for letter, count in counts.most_common(most):
        price = round(-math.log2(count / len(text)))
        if price <= 15 and (most > 200 or count > 2):
            by_price[price].append(letter)
    return " ".join(f"{price}{''.join(sorted(by_price[price]))}" for price in sorted(by_price))


if __name__ == "__main__":
    main()
