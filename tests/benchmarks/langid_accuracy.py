"""Accuracy of a language-ID model by language, on labelled sentences and on the UDHR, as Markdown.

    python tests/benchmarks/langid_accuracy.py [MODEL [PREPROCESSING]]

MODEL is lid.176 or a fastText model's path, PREPROCESSING `openlid` for OpenLID-v3.

Reads PUNA_REAL_DATA or ../shared/data. Labels are compared after the stage's own mapping, so models
of other label sets compare too. `docs/benchmarks/langid.md` is this for lid.176.
"""

from __future__ import annotations

import os
import random
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.langid.codes import CODES, meaning
from tasks.langid.identify import identify, load
from tasks.langid.model import locate_model

DATA = Path(
    os.environ.get("PUNA_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
PREPROCESSING: Any = sys.argv[2] if len(sys.argv) > 2 else "none"
JOINED = 5
THRESHOLD = 0.65
MINIMUM_CHARACTERS = 20
"""Shorter lines of the UDHR are headings and numbers."""

LINGUA = {"nb": "no"}
"""Names of files that are no code of ours."""


@dataclass(frozen=True)
class Row:
    """What became of the texts of one language."""

    language: str
    texts: int
    right: float
    kept: float
    confused: str


def measured(model: object, language: str, texts: Sequence[str]) -> Row:
    """`right`: share with the right label; `kept`: with it and THRESHOLD; `confused`: the most
    frequent wrong label with its share.
    """
    found, scores, _ = identify(model, texts, PREPROCESSING)
    right = [label == language for label in found]
    kept = sum(good and score >= THRESHOLD for good, score in zip(right, scores, strict=True))
    wrong = Counter(label for label in found if label != language).most_common(1)
    confused = f"{wrong[0][0]} {wrong[0][1] / len(texts):.1%}" if wrong else ""
    return Row(language, len(texts), sum(right) / len(texts), kept / len(texts), confused)


def sentences() -> dict[str, list[str]]:
    """Language -> labelled sentences, shuffled."""
    found = {}
    for file in sorted((DATA / "lid" / "lingua-sentences-first-half").glob("*.txt")):
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        random.Random(0).shuffle(lines)
        found[LINGUA.get(file.stem, file.stem)] = lines
    return found


def declarations() -> dict[str, list[str]]:
    """Language -> paragraphs of the UDHR in all its scripts and spellings."""
    found: dict[str, list[str]] = {}
    with zipfile.ZipFile(DATA / "lid" / "udhr" / "udhr2.zip") as archive:
        for name in sorted(archive.namelist()):
            stem = Path(name).stem.partition("_")[0]
            if not name.endswith(".txt") or not stem.isalpha():  # numbers are unknown languages
                continue
            lines = archive.read(name).decode("utf-8").splitlines()
            paragraphs = [line.strip() for line in lines if len(line.strip()) >= MINIMUM_CHARACTERS]
            found.setdefault(CODES.get(stem, stem), []).extend(paragraphs)
    return {language: texts for language, texts in sorted(found.items()) if texts}


def mean(values: Iterable[float]) -> float:
    """The arithmetic mean; languages count alike."""
    numbers = list(values)
    return sum(numbers) / len(numbers)


def main() -> None:
    """Print Markdown."""
    name = sys.argv[1] if len(sys.argv) > 1 else "lid.176"
    model = load(str(locate_model(name)))
    known = {meaning(label).language for label in model.getLabels("strict")[0]}
    print(
        f"Model: `{Path(name).name}`, {len(known)} languages. Below, *right* is the share of texts"
    )
    print(
        "with the right label, *kept* that with it and a score of at least 0.65. Means count every"
    )
    print("language alike.\n")
    _print_sentences(model, known)
    _print_declarations(model, known)


def _print_sentences(model: object, known: set[str]) -> None:
    single, joined, absent = [], [], []
    for language, texts in sentences().items():
        if language not in known:
            absent.append((language, texts))
            continue
        groups = ["\n".join(texts[at : at + JOINED]) for at in range(0, len(texts), JOINED)]
        single.append(measured(model, language, texts))
        joined.append(measured(model, language, groups))
    print(f"## Sentences of {len(single)} languages\n")
    print("| | right | kept |\n|---|---|---|")
    for what, rows in (("one sentence", single), (f"{JOINED} joined", joined)):
        print(f"| {what} | {mean(r.right for r in rows):.4f} | {mean(r.kept for r in rows):.4f} |")
    _print_absent(model, absent)
    print(f"\n| language | sentences | right | kept | {JOINED} joined: right | kept | taken for |")
    print("|---|---|---|---|---|---|---|")
    for one, five in sorted(zip(single, joined, strict=True), key=lambda pair: pair[0].right):
        print(
            f"| {one.language} | {one.texts} | {one.right:.3f} | {one.kept:.3f} | "
            f"{five.right:.3f} | {five.kept:.3f} | {one.confused} |"
        )


def _print_declarations(model: object, known: set[str]) -> None:
    texts = declarations()
    rows = [measured(model, name, lines) for name, lines in texts.items() if name in known]
    print(f"\n## Paragraphs of the UDHR in {len(rows)} languages\n")
    print(
        f"Right {mean(row.right for row in rows):.4f}, kept {mean(row.kept for row in rows):.4f}."
    )
    _print_absent(model, [(name, lines) for name, lines in texts.items() if name not in known])
    worst = [row for row in sorted(rows, key=lambda row: row.right) if row.right < 0.95]
    print(f"\nThe {len(worst)} languages below 0.95:\n")
    print("| language | paragraphs | right | kept | taken for |\n|---|---|---|---|---|")
    for row in worst:
        print(
            f"| {row.language} | {row.texts} | {row.right:.3f} | {row.kept:.3f} | {row.confused} |"
        )


def _print_absent(model: object, absent: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Languages without a label: all of their texts that a threshold lets pass are pollution."""
    if not absent:
        return
    passed: Counter[str] = Counter()
    texts = 0
    for _, lines in absent:
        found, scores, _ = identify(model, lines, PREPROCESSING)
        texts += len(lines)
        passed.update(
            label for label, score in zip(found, scores, strict=True) if score >= THRESHOLD
        )
    most = ", ".join(f"{label} {count}" for label, count in passed.most_common(8))
    print(
        f"\nOf {len(absent)} languages without a label ({texts:,} texts) "
        f"{passed.total() / texts:.1%} get another's with a score of {THRESHOLD} or more: {most}."
    )


if __name__ == "__main__":
    main()
