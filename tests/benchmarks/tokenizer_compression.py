"""Compression of Llama-2 grown on Chinese, against Llama-2 and the published Chinese-LLaMA-2 of
55,296 tokens.

Run: python tests/benchmarks/tokenizer_compression.py [RESULTS.json]. Reads PUNA_REAL_DATA or
../shared/data; takes 9 minutes of one core and 2 GB; with a results file it goes on where it was
stopped. Learns on the Chinese files but those held out below, measures on these. Texts are what a
reader sees of a page: Markdown's links, images, code and formulas are taken out, as extraction from
HTML does. Held-out lines that stand word for word in a file learned from are left out. Runs of Han
characters are measured without the space that sentencepiece puts before a text.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import regex
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer, normalizers

from infra.stage import StageError
from tasks.checkpoints.fast_tokenizers import WHITESPACE
from tasks.checkpoints.foreign_tokenizers import read_model_file
from tasks.tokenizer.curve import knee, tokens_by_size
from tasks.tokenizer.expand import GrownTokenizer, grow
from tasks.tokenizer.measure import parts_of, plain_ids

DATA = Path(
    os.environ.get("PUNA_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
PROSE = DATA / "prose_zh"
BASE_SIZE, SIZES = 32_000, (55_296, 69_104)
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
BOOKS, WEB = ("books and poems",), ("ruanyf-weekly", "d2l-zh")
HAN = ", Han runs"
HAN_ONLY = ", scripts: [Han]"
BALANCED = "balanced"

HELD_OUT_ISSUES = range(5, 100, 5)
HELD_OUT_CHAPTERS = ("chapter_computer-vision", "chapter_recurrent-modern")

_MARKUP = (
    (r"(?s)```.*?```", ""),
    (r"!\[[^\]]*\]\([^)]*\)", ""),
    (r"\[([^\]]*)\]\([^)]*\)", r"\1"),
    (r"<[^>]*>|https?://\S+|\$[^$\n]*\$|:(?:label|numref|eqref|cite)?:?`[^`]*`|\{[^{}\n]*\}", ""),
    (r"(?m)^[#>*\-\s]+|[*`_]{1,3}", ""),
)


def visible(markdown: str) -> str:
    """What a reader sees of a Markdown file, roughly."""
    for pattern, by in _MARKUP:
        markdown = regex.sub(pattern, by, markdown)
    return markdown


def texts() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """To learn from, and held out: name -> lines."""
    weekly = {
        int(path.stem.split("-")[1]): visible(path.read_text())
        for path in PROSE.glob("ruanyf-weekly/docs/*.md")
    }
    chapters = [
        (path.parent.name, visible(path.read_text()))
        for path in sorted(PROSE.glob("d2l-zh/chapter_*/*.md"))
        if not path.stem.endswith("_origin")
    ]
    passages = [
        row["context_text"]
        for row in json.loads((PROSE / "cmrc2018/data/cmrc2018_trial.json").read_text())
    ]
    books = [
        path.read_text()
        for folder in ("niutrans-modern", "four-novels")
        for path in _texts_of(folder)
    ]
    poems = [
        "\n".join(poem["paragraphs"])
        for path in sorted(PROSE.glob("chinese-poetry/*/*.json"))
        for poem in json.loads(path.read_text())
    ]
    learn = {
        "ruanyf-weekly": [
            weekly[issue] for issue in sorted(weekly) if issue not in HELD_OUT_ISSUES
        ],
        "d2l-zh": [text for chapter, text in chapters if chapter not in HELD_OUT_CHAPTERS],
        "books and poems": [*books, *poems],
    }
    held = {
        "ruanyf-weekly": [weekly[issue] for issue in HELD_OUT_ISSUES],
        "d2l-zh": [text for chapter, text in chapters if chapter in HELD_OUT_CHAPTERS],
        "cmrc2018": passages,
    }
    learned = {name: _lines(found) for name, found in learn.items()}
    seen = {line for lines in learned.values() for line in lines}
    return learned, {
        name: [line for line in _lines(found) if line not in seen] for name, found in held.items()
    }


def _texts_of(folder: str) -> list[Path]:
    return sorted((PROSE / folder).glob("*.txt"))


def _lines(found: Iterable[str]) -> list[str]:
    return [line for text in found for line in text.split("\n") if line.strip()]


def held_out_sets(held: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Each named set, all together, and the runs of Han characters of each."""
    whole = dict(held) | {"all three": [line for lines in held.values() for line in lines]}
    return whole | {
        name + HAN: regex.findall(r"\p{Han}+", "\n".join(lines)) for name, lines in whole.items()
    }


Mixture = dict[int, list[str]]
"""Weight -> lines to learn from, as `tokenizer.expand.from` weighs sources."""


def grown_far(base: Tokenizer, mixture: Mixture, scripts: Sequence[str] = ()) -> GrownTokenizer:
    """The largest of `SIZES` that the text has pieces for."""
    small, large = SIZES
    try:
        return grow(base, mixture, large, scripts=scripts)
    except StageError:
        return grow(base, mixture, small, scripts=scripts)


Counts = dict[str, dict[str, int]]
"""Size -> name of a held-out set -> tokens."""


def counts(grown: GrownTokenizer, sets: Mapping[str, list[str]]) -> Counts:
    """Tokens at every size of `SIZES`: the smaller ones are the same run cut off earlier
    (tasks.tokenizer.curve).
    """
    parts = parts_of(grown.tokenizer, grown.tokens)
    if parts is None:
        raise ValueError("a token that several merges reach has no place in a curve")
    sizes = [size for size in SIZES if size - BASE_SIZE <= len(grown.tokens)]
    found: Counts = {str(size): {} for size in sizes}
    for name, lines in sets.items():
        by_size = tokens_by_size(
            Counter(i for ids in encoded(grown.tokenizer, name, lines) for i in ids), parts
        )
        for size in sizes:
            found[str(size)][name] = by_size[size - BASE_SIZE]
    return found


_NO_DUMMY_PREFIX = b"\x1a\x02\x18\x00"
"""`normalizer_spec {add_dummy_prefix: false}`; behind a model, protocol buffers merge it with what
stands there.
"""


def official(model: Path, sets: Mapping[str, list[str]]) -> dict[str, int]:
    """Tokens of each set by sentencepiece itself, which alone takes pieces of equal score from left
    to right.
    """
    blob = model.read_bytes()
    plain, bare = (
        SentencePieceProcessor(model_proto=proto) for proto in (blob, blob + _NO_DUMMY_PREFIX)
    )
    return {
        name: sum(map(len, (bare if name.endswith(HAN) else plain).encode(lines)))
        for name, lines in sets.items()
    }


def encoded(tokenizer: Tokenizer, name: str, lines: list[str]) -> list[list[int]]:
    """Ids of each line; runs of Han characters without a space in front."""
    if name.endswith(HAN):
        tokenizer = Tokenizer.from_str(tokenizer.to_str())
        tokenizer.normalizer = normalizers.Replace(" ", WHITESPACE)
    return plain_ids(tokenizer, lines)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print Markdown."""
    print(f"| {' | '.join(head)} |\n|---|{'---:|' * (len(head) - 1)}")
    for row in rows:
        print(f"| {' | '.join(map(_cell, row))} |")
    print()


def _cell(value: object) -> str:
    return (
        f"{value:.3f}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )


def every(lines: Sequence[str], share: float) -> list[str]:
    """An even share of lines."""
    return [line for n, line in enumerate(lines) if int((n + 1) * share) > int(n * share)]


def characters_counted(mixture: Mixture) -> int:
    """Characters, each as often as its weight says."""
    return sum(weight * sum(map(len, lines)) for weight, lines in mixture.items())


def balanced(kinds: Sequence[list[str]]) -> Mixture:
    """Each kind of text as often as it takes to come up to the largest: the rule of
    docs/recipes.md, made of the training text's sizes alone.
    """
    sizes = [sum(map(len, lines)) for lines in kinds]
    mixture: Mixture = {}
    for lines, size in zip(kinds, sizes, strict=True):
        mixture.setdefault(round(max(sizes) / size), []).extend(lines)
    return mixture


def corpora(learned: Mapping[str, list[str]]) -> dict[str, Mixture]:
    """Name -> what to learn from; `BALANCED` is the one of the first table."""
    books, web = ([line for name in names for line in learned[name]] for names in (BOOKS, WEB))
    found: dict[str, Mixture] = {BALANCED: balanced([web, books]), "all": {1: web + books}}
    found |= {f"{share:g} of all": {1: every(web, share) + every(books, share)} for share in SHARES}
    found |= {
        f"all books, {share:g} of the web text": {1: every(web, share) + books}
        for share in (0.0, 1 / 4, 1 / 2)
    }
    found["the web text alone"] = {1: web}
    found["all, web text counted 4 times"] = {4: web, 1: books}
    found |= {name + HAN_ONLY: found[name] for name in ("all", "the web text alone")}
    return found


def main(kept: Path | None = None) -> None:
    """Print the tables of docs/benchmarks/tokenizer.md; runs that are in `kept` already are not
    done again.
    """
    learned, held = texts()
    sets = held_out_sets(held)
    llama, _ = read_model_file(DATA / "tokenizers/llama2-32000/tokenizer.model")
    base, theirs = (
        official(DATA / "tokenizers" / name / "tokenizer.model", sets)
        for name in ("llama2-32000", "chinese-llama2-55296")
    )
    table(
        ("learned from", "characters"),
        [(name, sum(map(len, lines))) for name, lines in learned.items()],
    )
    weights = {
        weight: f"{sum(map(len, lines)):,}" for weight, lines in corpora(learned)[BALANCED].items()
    }
    print(f"{BALANCED}: weight -> characters: {weights}\n")
    runs: dict[str, Counts] = json.loads(kept.read_text()) if kept and kept.exists() else {}
    for name, mixture in corpora(learned).items():
        label = f"{name} ({characters_counted(mixture) / 1e6:.1f} M characters)"
        if label in runs:
            continue
        started = time.process_time()
        grown = grown_far(llama, mixture, ("Han",) if name.endswith(HAN_ONLY) else ())
        seconds = time.process_time() - started
        runs[label] = counts(grown, sets)
        runs[label]["knee"] = {
            "size": BASE_SIZE + knee(grown.steps, grown.tokens_before),
            "seconds": round(seconds),
        }
        if kept:
            kept.write_text(json.dumps(runs, ensure_ascii=False))

    table(
        ("learned from", "knee", "processor seconds to learn"),
        [(name, found["knee"]["size"], found["knee"]["seconds"]) for name, found in runs.items()],
    )
    ours = next(found for name, found in runs.items() if name.startswith(f"{BALANCED} ("))
    small, large = map(str, SIZES)
    head = ("characters", "Llama-2 per character", "published / Llama-2")
    table(
        (
            "held out",
            *head,
            *(f"{size:,} / {peer}" for peer in ("Llama-2", "published") for size in SIZES),
        ),
        [
            (
                name,
                characters,
                base[name] / characters,
                theirs[name] / base[name],
                *(ours[str(size)][name] / peer[name] for peer in (base, theirs) for size in SIZES),
            )
            for name, lines in sets.items()
            if (characters := sum(map(len, lines)))
        ],
    )
    for size, peer, peer_name in (
        (small, theirs, "the published tokenizer"),
        (large, base, "Llama-2"),
    ):
        print(f"{int(size):,} tokens, relative to {peer_name}\n")
        rows = [
            (name, *(found[size][each] / peer[each] for each in sets))
            for name, found in runs.items()
            if size in found
        ]
        table(("learned from", *sets), rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
