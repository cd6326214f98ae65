"""Perplexity of 2.5 KB documents on one core: ours, and its ceiling (SentencePiece and KenLM alone,
on ready text).

Run: python tests/benchmarks/bench_perplexity.py. Reads PUNA_REAL_DATA or ../shared/data; trains
small models first.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
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
    files = ModelFiles(str(folder / "sp.model"), str(folder / "lm.arpa"))
    Path(files.sentencepiece).write_bytes(pieces.train(ready[:300], 8_000, 0.9995))
    model = sentencepiece.SentencePieceProcessor(model_file=files.sentencepiece)
    corpus = Corpus()
    corpus.add(pieces.encode(model, ready))
    estimate(corpus, 5).write_arpa(Path(files.lm))
    lm = kenlm.Model(files.lm)
    lines = [" ".join(each) for each in model.encode(ready, out_type=str)]
    table = pa.table({"text": texts, "language": [language] * len(texts)})

    def ours() -> None:
        annotate_perplexity({language: files}, 1_000_000, table)

    def bare_pieces() -> None:
        model.encode(ready, out_type=str, num_threads=1)

    def bare_lm() -> None:
        for line in lines:
            lm.score(line)

    ours()
    rounds = [(seconds(ours), seconds(bare_pieces), seconds(bare_lm)) for _ in range(ROUNDS)]
    mine, first, second = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(
        f"{language}: ours {len(texts) / mine:,.0f} documents/s; ceiling "
        f"{len(texts) / (first + second):,.0f} (SentencePiece {len(texts) / first:,.0f}, KenLM "
        f"{len(texts) / second:,.0f}); ratio "
        f"{statistics.median((row[1] + row[2]) / row[0] for row in rounds):.3f}"
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
