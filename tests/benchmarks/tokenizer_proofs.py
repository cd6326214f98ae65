"""Prove growth of real tokenizers on real text, and time it: prints the tables of docs/benchmarks.

    python -m tests.benchmarks.tokenizer_proofs [llama2] [llama3] [any-script] [pieces] [million]

llama2 and llama3 grow by pieces in Han characters; any-script grows Llama-2 by whatever Chinese
prose holds; pieces and million add given ones (Chinese-LLaMA's 20,000; a million made up).

Needs the real data (`PUNA_REAL_DATA`, or shared/data beside the checkout). One thread; minutes in
all.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

import sentencepiece
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from tasks.checkpoints.base import MODEL_FILE, BaseTokenizer, open_base, read_base_tokenizer
from tasks.checkpoints.sentencepiece_model import is_model
from tasks.checkpoints.tokenizer_files import size_of, write_tokenizer
from tasks.checkpoints.tokenizer_settings import read_settings
from tasks.tokenizer.append import NewToken, undone, unreachable, without_whole_words
from tasks.tokenizer.expand import grow
from tasks.tokenizer.given_pieces import GivenPiece, read_pieces
from tasks.tokenizer.measure import plain_ids
from tasks.tokenizer.model_file import grown_model
from tasks.tokenizer.pieces import add_pieces
from tasks.tokenizer.rules import SplittingRules

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("PUNA_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
SAMPLE_LINES = 100_000


def strings(value: Any) -> Iterator[str]:
    """All strings of a JSON value."""
    if isinstance(value, str):
        yield value
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from strings(item)


def chinese() -> list[str]:
    """All Chinese prose of the real data, in file order."""
    texts: list[str] = []
    for path in sorted(path for path in (DATA / "prose_zh").rglob("*") if path.is_file()):
        if path.suffix in (".txt", ".md"):
            texts.append(path.read_text(encoding="utf-8"))
        elif path.suffix == ".json":
            texts += strings(json.loads(path.read_text(encoding="utf-8")))
    return texts


def lines_of(paths: Sequence[Path]) -> list[str]:
    """Lines that hold something, their spaces kept."""
    return [line for path in paths for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_text() -> dict[str, list[str]]:
    """Kind -> lines."""
    rng = random.Random(0)
    alphabet = [*[" "] * 6, *"ab中国\t😀{é1\u00a0　ー①"]
    noise = ["".join(rng.choices(alphabet, k=rng.randint(1, 60))) for _ in range(5_000)]
    spaces = [" " * left + "x" + " " * right for left in range(40) for right in range(40)]
    with zipfile.ZipFile(DATA / "lid" / "udhr" / "udhr2.zip") as archive:
        rights = [archive.read(name).decode(errors="ignore") for name in sorted(archive.namelist())]
    sentences = lines_of(sorted((DATA / "lid").rglob("*.txt")))
    planes = [
        chr(code)
        for code in range(0x21, 0x2FFFF, 3)
        if not 0xD800 <= code < 0xE000 and code != 0x2581
    ]
    return {
        "Chinese": [line for text in chinese() for line in text.split("\n") if line][:80_000],
        "wikitext-2": lines_of([DATA / "prose_en" / "wikitext-2" / "valid.txt"]),
        "English books": lines_of(sorted((DATA / "prose_en" / "classic-books").rglob("*.md")))[
            :40_000
        ],
        "code, indentation": lines_of(sorted((REPOSITORY / "tasks").rglob("*.py"))) * 2,
        "leading and double spaces": spaces,
        "sentences in 75 languages": sentences[::5],
        "human rights in 390 languages": [
            line for text in rights for line in text.split("\n") if line
        ][:60_000:2],
        "noise, emoji": noise,
        "all planes": ["".join(planes[at : at + 50]) for at in range(0, len(planes), 50)],
    }


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a Markdown table."""
    print(f"\n### {title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(
            "| "
            + " | ".join(f"{value:,}" if isinstance(value, int) else str(value) for value in row)
            + " |",
            flush=True,
        )


def against_sentencepiece(
    title: str, blob: bytes, fast: Tokenizer, folder: Path, texts: dict[str, list[str]]
) -> None:
    """Differences on every kind of text, for the tokenizer in memory and for the saved one that
    AutoTokenizer loads.
    """
    reference = sentencepiece.SentencePieceProcessor(model_proto=blob)
    loaded = AutoTokenizer.from_pretrained(folder)
    rows = []
    for kind, lines in texts.items():
        expected = reference.encode(lines)
        again = loaded(lines, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        ours = plain_ids(fast, lines)
        differ = [
            sum(a != b for a, b in zip(expected, found, strict=True)) for found in (ours, again)
        ]
        backs = fast.decode_batch(ours, skip_special_tokens=False)
        unlike = sum(
            reference.decode(ids) != back for ids, back in zip(expected, backs, strict=True)
        )
        rows.append((kind, len(lines), *differ, unlike))
    table(title, ("text", "lines", "differ", "differ after reload", "decode differs"), rows)


def growth(
    title: str,
    base: Tokenizer,
    grown: Tokenizer,
    tokens: Sequence[NewToken],
    texts: dict[str, list[str]],
) -> None:
    """Base ids, reachability, coarsening, round trips, English segmentation."""
    old, new = base.get_vocab(), grown.get_vocab()
    moved = sum(new.get(token) != index for token, index in old.items())
    alone = without_whole_words(grown)
    missed = sum(
        [found.id for found in alone.model.tokenize(token.token)] != [token.id]
        for token in tokens
        if token.text
    )
    print(
        f"\n### {title}\n\nsize {size_of(grown):,}; base ids changed: {moved}; new pieces: "
        f"{len(tokens):,}"
    )
    print(
        f"new pieces that are text and do not encode to [id]: {missed}; of all: "
        f"{len(unreachable(grown, tokens))}"
    )
    spelled = {token.id: token.base_ids for token in tokens}
    rows, size = [], 0
    for kind, lines in texts.items():
        before, after = plain_ids(base, lines), plain_ids(grown, lines)
        unlike = sum(
            undone(ids, spelled) != given for ids, given in zip(after, before, strict=True)
        )
        lossy = sum(
            a != b
            for a, b in zip(
                grown.decode_batch(after, skip_special_tokens=False), lines, strict=True
            )
        )
        same = sum(a == b for a, b in zip(before, after, strict=True))
        size += sum(len(line.encode()) for line in lines)
        cost = sum(map(len, after)) / sum(map(len, before))
        rows.append((kind, len(lines), unlike, lossy, f"{same / len(lines):.4f}", f"{cost:.4f}"))
    head = (
        "text",
        "lines",
        "not coarser",
        "lossy",
        "segmented as before (share)",
        "tokens after / before",
    )
    table(f"{title}: {size / 1e6:.1f} MB of text", head, rows)


def opened(name: str, scratch: Path) -> tuple[BaseTokenizer, Path]:
    """A base of the real data, and its folder."""
    folder = open_base(DATA / "tokenizers" / name, scratch / name)
    return read_base_tokenizer(folder), folder


def grown_on_chinese(
    name: str,
    more: int,
    texts: dict[str, list[str]],
    scratch: Path,
    scripts: Sequence[str] = ("Han",),
) -> None:
    """Grow by `more` tokens, time it, and prove it."""
    start = time.perf_counter()
    base, folder = opened(name, scratch)
    if base.model is not None:
        against_sentencepiece(
            f"{name} against sentencepiece", base.model.blob, base.tokenizer, folder, texts
        )
    learn_on = chinese()
    rules = SplittingRules(base.model.trainer) if base.model is not None else None
    start = time.perf_counter()
    made = grow(
        base.tokenizer, learn_on, size_of(base.tokenizer) + more, 16, rules, scripts=scripts
    )
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    characters = sum(map(len, learn_on))
    print(
        f"\n{name} + {more:,} on {characters:,} characters: {seconds:.1f} s, one thread; peak "
        f"memory {memory:.2f} GB"
    )
    growth(f"{name} + {more:,}", base.tokenizer, made.tokenizer, made.tokens, texts)
    target = scratch / f"{name}-grown"
    write_tokenizer(made.tokenizer, target, read_settings(folder))
    if base.model is not None:
        blob = grown_model(base.model, made.tokenizer)
        (target / MODEL_FILE).write_bytes(blob)
        against_sentencepiece(
            f"{name} + {more:,} against sentencepiece", blob, made.tokenizer, target, texts
        )


def with_pieces(texts: dict[str, list[str]], scratch: Path) -> None:
    """Chinese-LLaMA's 20,000 pieces in Llama-2."""
    source = next(
        path
        for path in (DATA / "tokenizers" / "chinese-sp-20000").glob("*.model")
        if is_model(path)
    )
    base, folder = opened("llama2-32000", scratch / "pieces")
    assert base.model is not None
    start = time.perf_counter()
    grown, tokens, account = add_pieces(
        base.tokenizer, read_pieces(source, 16), SplittingRules(base.model.trainer)
    )
    print(f"\npieces: {time.perf_counter() - start:.1f} s; {account.summary()}")
    growth("Llama-2 with the 20,000 pieces", base.tokenizer, grown, tokens, texts)
    target = scratch / "pieces-grown"
    write_tokenizer(grown, target, read_settings(folder))
    mixed = [*texts["Chinese"], *texts["English books"], *texts["wikitext-2"]]
    some = {**texts, f"{SAMPLE_LINES:,} lines, Chinese and English": mixed[:SAMPLE_LINES]}
    against_sentencepiece(
        "Llama-2 with the 20,000 pieces against sentencepiece",
        grown_model(base.model, grown),
        grown,
        target,
        some,
    )


def a_million(scratch: Path) -> None:
    """10^6 given pieces of two to four of 3,000 characters, of which Llama-2 spells most in
    bytes.
    """
    base, _ = opened("llama2-32000", scratch / "million")
    rng = random.Random(0)
    letters = [chr(code) for code in range(0x4E00, 0x4E00 + 3_000)]
    texts = sorted(
        {"".join(rng.choices(letters, k=rng.choice((2, 2, 3, 4)))) for _ in range(1_050_000)}
    )[:1_000_000]
    given = [GivenPiece(text, str(at)) for at, text in enumerate(texts)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    start = time.perf_counter(), time.process_time()
    grown, tokens, account = add_pieces(base.tokenizer, given)
    seconds, busy = time.perf_counter() - start[0], time.process_time() - start[1]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    vocabulary = grown.get_vocab()
    moved = sum(
        vocabulary.get(token) != index for token, index in base.tokenizer.get_vocab().items()
    )
    absent = (
        len(given)
        - len({token.text for token in tokens}.intersection(texts))
        - account.skipped.total()
    )
    print(f"\na million pieces: {seconds:.1f} s ({busy:.1f} s of processor time), one thread")
    print(f"peak memory {memory:.2f} GB ({before:.2f} GB of it before the first piece)")
    print({key: value for key, value in account.summary().items() if key != "examples"})
    print(f"base ids changed: {moved}; given pieces neither there nor skipped: {absent}")
    print(
        f"new tokens that do not encode to [id]: {len(unreachable(grown, tokens)):,} of "
        f"{len(tokens):,}"
    )


def main(wanted: Sequence[str]) -> None:
    """Run the parts named, or all."""
    texts = {} if list(wanted) == ["million"] else test_text()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if not wanted or "llama2" in wanted:
            grown_on_chinese("llama2-32000", 37_104, texts, scratch)
        if not wanted or "llama3" in wanted:
            grown_on_chinese("llama3-128k", 30_000, texts, scratch)
        if not wanted or "any-script" in wanted:
            grown_on_chinese("llama2-32000", 37_104, texts, scratch / "any", scripts=())
        if not wanted or "pieces" in wanted:
            with_pieces(texts, scratch)
        if not wanted or "million" in wanted:
            a_million(scratch)


if __name__ == "__main__":
    main(sys.argv[1:])
