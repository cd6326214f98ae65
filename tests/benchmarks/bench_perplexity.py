"""Perplexity of 2.5 KB documents on one core: ours, from a table of raw text to a column of scores,
and its ceilings, SentencePiece and KenLM alone on text that is normalised already.

The raw loop is what one writes: strings from SentencePiece, lines of them to KenLM; joining pieces
to lines is left out too. `with bytes` is the same loop where both speak UTF-8, which is faster.

Run: python tests/benchmarks/bench_perplexity.py. Reads PUNA_REAL_DATA or ../shared/data; trains
small models first.
"""

from __future__ import annotations

import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import kenlm
import pyarrow as pa
import sentencepiece

from tasks.language_model import pieces
from tasks.language_model.kneser_ney import estimate
from tasks.language_model.ngram_counts import Corpus
from tasks.perplexity.score import ModelFiles, annotate_perplexity
from tasks.text.normalise import normalise

DATA = Path(
    os.environ.get("PUNA_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
DOCUMENT_BYTES = 2_500
DOCUMENTS = 700
ROUNDS = 7
TEXTS = {
    "zh": ("prose_zh/four-novels/西游记.txt", 3),
    "en": ("web_en/fineweb-sample/fineweb_sample.txt", 1),
}


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call: all three run on one thread, and other processes do not count."""
    started = time.process_time()
    work()
    return time.process_time() - started


def measure(language: str, texts: list[str], folder: Path) -> None:
    """Print one line."""
    ready = [normalise(each) for each in texts]
    files = ModelFiles(folder / "sp.model", folder / "lm.arpa")
    Path(files.sentencepiece).write_bytes(pieces.train(ready[:300], 8_000, 0.9995))
    model = sentencepiece.SentencePieceProcessor(model_file=files.sentencepiece)
    corpus = Corpus()
    corpus.add(pieces.encode(model, ready))
    estimate(corpus, 5).write_arpa(Path(files.lm))
    lm = kenlm.Model(files.lm)
    lines = [" ".join(each) for each in model.encode(ready, out_type=str)]
    encoded = [line.encode() for line in lines]
    table = pa.table({"text": texts, "language": [language] * len(texts)})

    def ours() -> None:
        annotate_perplexity({language: files}, 1_000_000, table)

    def bare_pieces(kind: type) -> None:
        model.encode(ready, out_type=kind, num_threads=1)

    def bare_lm(ready_lines: Sequence[str | bytes]) -> None:
        for line in ready_lines:
            lm.score(line)

    works = [
        ours,
        functools.partial(bare_pieces, str),
        functools.partial(bare_lm, lines),
        functools.partial(bare_pieces, bytes),
        functools.partial(bare_lm, encoded),
    ]
    ours()
    rounds = [[seconds(work) for work in works] for _ in range(ROUNDS)]
    mine, first, second, *_ = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(
        f"{language}: ours {len(texts) / mine:,.0f} documents/s; raw loop "
        f"{len(texts) / (first + second):,.0f} (SentencePiece {len(texts) / first:,.0f}, KenLM "
        f"{len(texts) / second:,.0f}); ratio "
        f"{statistics.median((row[1] + row[2]) / row[0] for row in rounds):.3f}; to the loop with "
        f"bytes {statistics.median((row[3] + row[4]) / row[0] for row in rounds):.3f}"
    )


def main() -> None:
    """Print one line per language."""
    for language, (file, bytes_per_character) in TEXTS.items():
        text = (DATA / file).read_text(encoding="utf-8")
        size = DOCUMENT_BYTES // bytes_per_character
        texts = [text[start : start + size] for start in range(0, len(text), size)][:DOCUMENTS]
        with tempfile.TemporaryDirectory() as folder:
            measure(language, texts, Path(folder))


if __name__ == "__main__":
    main()
