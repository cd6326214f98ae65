"""Quality rules beside datatrove's filters: the same decisions? how fast? (needs: make peers)

    python tests/benchmarks/bench_quality.py [--documents 2500] [--languages zh,ja] [--keep FOLDER]

Real documents (`quality_corpus.py`) go through our rules and datatrove's four filters with equal
limits: English with each publication's (C4's as datatrove has them: 5 sentences, lines of 3 words),
others with FineWeb-2's. Printed for each group of rules: a 2 x 2 table of decisions, over all
languages and by language, and for documents on which the two disagree which rule said so, ours and
theirs. C4's two rules on JavaScript and policies are off: C4 removes such lines from documents that
stay, which is no decision about a document.

Chinese and Japanese have two tables: ours counting characters, and the words of jieba and SudachiPy
as datatrove does.

Speed is processor time of one core for the same documents in the same run, by language, with
dictionaries loaded: ours and datatrove's with every rule measured, and datatrove's where, as in its
pipelines, dropped documents go no further.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tasks.quality.catalog import DEFAULTS, EVERY_LANGUAGE, STOP_WORDS, UNSPACED, expand  # noqa: E402
from tasks.quality.fineweb2 import FITTED  # noqa: E402
from tasks.quality.rules import Assessor  # noqa: E402
from tests.benchmarks.quality_corpus import LANGUAGES, RealDocument, real_documents  # noqa: E402

DATA = Path(os.environ.get("PUNA_REAL_DATA", ROOT.parent / "shared" / "data"))
PEERS = ROOT / "build" / "peers" / "bin" / "python"
GROUPS = {
    "gopher": lambda rule: rule.startswith("gopher.") and "repetition" not in rule,
    "gopher.repetition": lambda rule: rule.startswith("gopher.repetition"),
    "c4": lambda rule: rule.startswith("c4."),
    "fineweb": lambda rule: rule.startswith("fineweb."),
}
C4 = {"min": 5, "line_words": 3}
OVERRIDES: Mapping[str, Any] = {
    EVERY_LANGUAGE: {"c4.javascript": None, "c4.policy": None},
    "en": {"c4.sentences": C4},
}
SEGMENTED: Mapping[str, Any] = {"zh": {"words": "jieba"}, "ja": {"words": "sudachi"}}
PEER_CODES = {"zh": "cmn_Hani", "ja": "jpn_Jpan"}
"""What datatrove calls a language where it does not know the two letters, or means another."""

ROUNDS = 3
MOST_CHARACTERS = 30_000
"""Longer documents are left out: they add time and no decisions."""


def main() -> None:
    """Print the tables, then the speeds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=2_500)
    parser.add_argument("--keep", type=Path, help="folder for documents and decisions")
    parser.add_argument("--languages", help="only these, with commas between")
    given = parser.parse_args()
    languages = given.languages.split(",") if given.languages else LANGUAGES
    every = [document for document in real_documents(DATA) if document.language in languages]
    documents = sample(every, given.documents)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        theirs, seconds = peer(documents, folder)
    ours, spent = assess(documents, OVERRIDES)
    print(f"{len(documents):,} documents: {dict(Counter(d.kind for d in documents))}")
    for group, belongs in GROUPS.items():
        print_table(group, documents, [list(filter(belongs, rules)) for rules in ours], theirs)
    places = [place for place, d in enumerate(documents) if d.language in SEGMENTED]
    segmented = [documents[place] for place in places]
    ours, by_words = assess(segmented, {**OVERRIDES, **SEGMENTED})
    for group, belongs in GROUPS.items():
        rules = [list(filter(belongs, failed)) for failed in ours]
        title = f"{group}, words as datatrove has them"
        print_table(title, segmented, rules, [theirs[place] for place in places], group)
    print_speeds(documents, {"ours": spent, "ours, words": by_words, **seconds})


def print_speeds(
    documents: Sequence[RealDocument], seconds: Mapping[str, Mapping[str, float]]
) -> None:
    """Processor seconds by language, and how many times as fast ours is as each other."""
    print(f"\nlanguage  MB     {'  '.join(f'{name:>24}' for name in seconds)}")
    for language in sorted({document.language for document in documents}):
        size = sum(len(d.text.encode()) for d in documents if d.language == language) / 1e6
        cells = []
        for of_language in seconds.values():
            took = of_language.get(language)
            fast = f" ({took / seconds['ours'][language]:.1f} x ours)" if took else ""
            cells.append(f"{took:9.2f} s{fast:>13}" if took else "")
        print(f"{language:8} {size:5.2f}  {'  '.join(f'{cell:>24}' for cell in cells)}")
    for name, of_language in seconds.items():
        print(f"  {name:24} {sum(of_language.values()):7.2f} s")


def sample(documents: list[RealDocument], count: int) -> list[RealDocument]:
    """`count` documents, as many of each kind and language as there are, up to an equal share."""
    groups: dict[tuple[str, str], list[RealDocument]] = {}
    for document in documents:
        if len(document.text) <= MOST_CHARACTERS:
            groups.setdefault((document.kind, document.language), []).append(document)
    chance = random.Random(0)
    for members in groups.values():
        chance.shuffle(members)
    chosen: list[RealDocument] = []
    for left, members in enumerate(sorted(groups.values(), key=len)):
        share = (count - len(chosen)) // (len(groups) - left)
        chosen += members[:share]
    chance.shuffle(chosen)
    return chosen


def peer(
    documents: Sequence[RealDocument], folder: Path
) -> tuple[list[Any], dict[str, dict[str, float]]]:
    """datatrove's decisions, filter -> reason for each document; its seconds by language."""
    with (folder / "documents.jsonl").open("w", encoding="utf-8") as lines:
        for document in documents:
            lines.write(json.dumps({"language": document.language, "text": document.text}) + "\n")
    languages = {document.language for document in documents}
    arguments = {language: peer_arguments(language) for language in sorted(languages)}
    (folder / "filters.json").write_text(json.dumps(arguments), encoding="utf-8")
    script = ROOT / "tests" / "benchmarks" / "quality_peers.py"
    done = subprocess.run([PEERS, script, folder], check=True, capture_output=True, text=True)
    decisions = (folder / "decisions.jsonl").read_text(encoding="utf-8").splitlines()
    seconds = json.loads(done.stdout.splitlines()[-1])
    return list(map(json.loads, decisions)), {
        "datatrove, every rule": seconds["every"],
        "datatrove, until dropped": seconds["until_dropped"],
    }


def peer_arguments(language: str) -> dict[str, dict[str, Any]]:
    """datatrove's filters -> their arguments: its defaults for English, else FineWeb-2's."""
    stop_words = {"stop_words": STOP_WORDS[language].split()}
    if language == "en":
        arguments: dict[str, dict[str, Any]] = {
            "gopher": stop_words,
            "gopher.repetition": {},
            "c4": {},
            "fineweb": {},
        }
    else:
        fitted = FITTED[language]
        arguments = {
            "gopher": {
                **stop_words,
                "min_avg_word_length": fitted.word_length[0],
                "max_avg_word_length": fitted.word_length[1],
                "max_non_alpha_words_ratio": fitted.alphabetic_words,
            },
            "gopher.repetition": {
                "dup_line_frac": fitted.duplicate_lines,
                "dup_para_frac": 0,
                "dup_line_char_frac": 0,
                "dup_para_char_frac": 0,
                "top_n_grams": list(zip(range(2, 5), fitted.top_n_grams, strict=True)),
                "dup_n_grams": list(zip(range(5, 11), fitted.duplicate_n_grams, strict=True)),
            },
            "fineweb": {
                "line_punct_thr": fitted.line_punctuation,
                "short_line_thr": 999,
                "char_duplicates_ratio": 0.1,
                "new_line_ratio": fitted.newline_ratio,
            },
        }
    code = PEER_CODES.get(language, language)
    return {name: {**given, "language": code} for name, given in arguments.items()}


def assess(
    documents: Sequence[RealDocument], overrides: Mapping[str, Any]
) -> tuple[list[list[str]], dict[str, float]]:
    """The rules that each document fails, and the seconds by language, the best of some rounds."""
    failed: list[list[str]] = [[] for _ in documents]
    seconds: dict[str, float] = {}
    for language in {document.language for document in documents}:
        places = [place for place, d in enumerate(documents) if d.language == language]
        for _ in range(ROUNDS):
            assessor = Assessor(expand(["gopher", "c4", "fineweb"]), overrides, "fineweb2")
            assessor.failures("a", language)  # loads the dictionary before the clock starts
            started = time.process_time()
            failures = [assessor.failures(documents[place].text, language) for place in places]
            took = time.process_time() - started
            seconds[language] = min(took, seconds.get(language, took))
        for place, several in zip(places, failures, strict=True):
            failed[place] = [failure.rule for failure in several]
    assert set(DEFAULTS) >= {rule for rules in failed for rule in rules}
    return failed, seconds


def print_table(
    title: str,
    documents: Sequence[RealDocument],
    ours: Sequence[Sequence[str]],
    theirs: Sequence[Mapping[str, str]],
    group: str = "",
) -> None:
    """The decisions of one group: counts by language, then the reasons where they differ.

    `group`: which of datatrove's filters, where `title` says more.
    """
    group = group or title
    print(f"\n{title}\n  language  both keep  both drop  only ours drops  only theirs  agreement")
    counts: Counter[tuple[str, bool, bool]] = Counter()
    reasons: Counter[str] = Counter()
    for document, failed, decided in zip(documents, ours, theirs, strict=True):
        if group not in decided:
            continue
        here, there = bool(failed), bool(decided[group])
        script = "unspaced" if document.language in UNSPACED else "spaced"
        for language in (document.language, script, "all"):
            counts[language, here, there] += 1
        if here != there:
            side = f"only ours: {', '.join(failed)}" if here else f"only theirs: {decided[group]}"
            reasons[f"{document.language} {side}"] += 1
    if not counts:
        print("  no document of a language for which the group has limits")
        return
    rows = sorted({key[0] for key in counts}, key=lambda row: (len(row) == 2, row))
    for language in rows:  # all, spaced, unspaced, then languages
        cells = [counts[language, here, there] for here, there in CELLS]
        share = (cells[0] + cells[1]) / sum(cells)
        both_keep, both_drop, ours_drops, theirs_drops = cells
        print(
            f"  {language:8} {both_keep:10,} {both_drop:10,} {ours_drops:16,} {theirs_drops:12,} "
            f"{share:9.2%}"
        )
    for reason, count in reasons.most_common(12):
        print(f"    {count:4} {reason}")


CELLS = ((False, False), (True, True), (True, False), (False, True))
"""(ours drops, theirs drops), in the order of the table's columns."""


if __name__ == "__main__":
    main()
