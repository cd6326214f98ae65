"""Tokenize, pack and write: binning beside the reference, gigatoken alone and Colossal-LLaMA's way.

    python tests/benchmarks/bench_binning.py DATA [--mb 64] [--peer-mb 8] [--pairs 2]
        [--tokenizers llama3-128k llama2-32000] [--languages en zh]
    python tests/benchmarks/bench_binning.py DATA --memory 100 500 1500

Not a test; run it by hand (DATA: the folder of real corpora and tokenizers). Text is distinct
(`binning_corpus`), and every measurement has an encoder of its own: first pass. MB/s of processor
time, UTF-8 bytes of text, one thread, tokenizers loaded before. Pairs are interleaved on different
parts of the text; the median counts, ratios are of a pair. `encode_batch_fast` and Colossal's way
read a part of `--peer-mb`. Not in it:
loading, the comparison of a sample and the probe, which `--probe` times (once on a machine).

`--memory`: peak memory of one process that bins so many MB with Llama-3's tokenizer, children of
their own, ranges as in a run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tasks.binning import run as binning
from tasks.binning.fast import Fast, accepted
from tasks.binning.lines import Lines, read
from tasks.binning.pack import pack
from tasks.binning.probe import compare_texts
from tasks.binning.stage import BinningParameters
from tasks.checkpoints.base import open_base
from tasks.documents.tokenize import DocumentTokenizer
from tests.benchmarks.binning_corpus import distinct, write_selected

LENGTHS = (2_048, 4_096, 8_192)


class OneShard:
    """Stands for a shard of a run: files are written below `folder`."""

    key = "range-00000"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[Path]:
        """As `Shard.create`."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
        path.unlink()  # or the disk fills


class Subject:
    """A tokenizer, as binning and its peers read it."""

    def __init__(self, source: Path, scratch: Path) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self.folder = open_base(source, scratch)
        self.tokenizer = DocumentTokenizer(self.folder)
        self.json = scratch / "gigatoken.json"
        self.json.write_bytes(accepted(self.tokenizer))
        begin, end = tuple(self.tokenizer.begin), tuple(self.tokenizer.end)
        self.around = binning.Around(begin, end, self.tokenizer.padding)

    def range_of(self, lines: Lines, length: int = 4_096, number: int = 0) -> binning.Range:
        """The work of one shard."""
        parameters = BinningParameters(sequence_length=length)
        return binning.Range(
            number, number + 1, (lines,), self.folder, self.around, parameters, self.json, {}
        )


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of this process, all its threads, and what `work` returned."""
    before = time.process_time()
    result = work()
    return time.process_time() - before, result


def ours(subject: Subject, lines: Lines, scratch: Path) -> tuple[float, int]:
    """A range, read from JSONL and written to ten bins: (seconds, bytes of text)."""
    binning._fast.cache_clear()
    binning._fast(subject.json, subject.folder)
    item = subject.range_of(lines)
    taken, found = seconds(lambda: binning.bin_range(item, OneShard(scratch)))  # type: ignore[arg-type]
    return taken, found["counts"]["bytes"]


def encode_batch_fast(subject: Subject, texts: Sequence[str]) -> float:
    """The reference: batches to arrays of ids, nothing read, packed or written."""
    tokenizer = Tokenizer.from_file(str(subject.folder / "tokenizer.json"))

    def work() -> None:
        for at in range(0, len(texts), 256):
            for one in tokenizer.encode_batch_fast(texts[at : at + 256], add_special_tokens=False):
                np.array(one.ids, np.uint32)

    return seconds(work)[0]


def gigatoken_bare(subject: Subject, texts: Sequence[str]) -> float:
    """gigatoken's own call on bytes that are in memory."""
    fast = Fast(subject.json.read_bytes(), lambda: None)  # type: ignore[arg-type,return-value]
    contents = [text.encode() for text in texts]

    def work() -> None:
        for at in range(0, len(contents), 256):
            fast._backend.encode_batch(contents[at : at + 256], parallel=False)

    return seconds(work)[0]


def colossal(subject: Subject, texts: Sequence[str], folder: Path) -> float:
    """Colossal-LLaMA's prepare_pretrain_dataset for one bin: tokenize source and whole text, sort,
    splice, JSONL, load that again, save as Arrow.
    """
    import datasets

    datasets.disable_progress_bars()
    tokenizer = Tokenizer.from_file(str(subject.folder / "tokenizer.json"))

    def work() -> None:
        rows, start = [], subject.around.begin
        for text in texts:
            source = [*start, *tokenizer.encode("", add_special_tokens=False).ids]
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            ids = [*start, *ids, *subject.around.end][:4_096]
            rows.append({"ids": ids, "labels": [-100] * len(source) + ids[len(source) :]})
        rows.sort(key=lambda row: len(row["ids"]))
        lengths = np.array([len(row["ids"]) for row in rows], np.int64)
        import json

        with (folder / "part.jsonl").open("w") as sink:
            for members in spliced(lengths, 4_096)[0]:
                joined = {
                    "input_ids": [i for m in members for i in rows[m]["ids"]],
                    "labels": [i for m in members for i in rows[m]["labels"]],
                }
                sink.write(json.dumps(joined) + "\n")
        made = datasets.load_dataset(
            "json", data_files=str(folder / "part.jsonl"), split="train",
            cache_dir=str(folder / "cache"),
        )  # fmt: skip
        made.save_to_disk(str(folder / "part"))

    return seconds(work)[0]


def spliced(lengths: np.ndarray, row: int) -> tuple[list[list[int]], int]:
    """Colossal's splicing of documents of these lengths (at most `row`), in order: rows as lists of
    documents, and tokens lost with the last row of every buffer but the last.
    """
    rows: list[list[int]] = []
    lost = at = 0
    while at < len(lengths):
        first, size = at, 0
        while at < len(lengths) and size < 8 * row:
            size += int(lengths[at])
            at += 1
        open_: list[int] = []
        room = row
        for number in range(first, at):
            if lengths[number] > room:
                rows.append(open_)
                open_, room = [], row
            open_.append(number)
            room -= int(lengths[number])
        if at < len(lengths):
            lost += row - room
        elif open_:
            rows.append(open_)
    return rows, lost


def packings(lengths: np.ndarray) -> Iterator[str]:
    """Fill of ten bins at each length beside Colossal's fill and loss, over all documents."""
    total = int(lengths.sum())
    bins = np.random.default_rng(1).integers(0, 10, len(lengths))
    for row in LENGTHS:
        made = sum(pack(lengths[bins == number], row).rows for number in range(10))
        cut = np.sort(np.minimum(lengths, row))
        rows, lost = spliced(cut, row)
        kept = int(cut.sum()) - lost
        yield (
            f"    rows of {row:,}: fill {total / (made * row):.4f}, tokens lost 0; Colossal's fill "
            f"{kept / (len(rows) * row):.4f}, tokens lost {1 - kept / total:.1%}"
        )


def compare(subject: Subject, path: Path, arguments: argparse.Namespace, scratch: Path) -> None:
    """One tokenizer and one language."""
    size, peer = path.stat().st_size, arguments.peer_mb << 20
    ours(subject, Lines(path, 0, 1 << 20, "a"), scratch)  # compiled loops are loaded
    speeds: dict[str, list[float]] = {}
    for pair in range(arguments.pairs):
        taken, text_bytes = ours(subject, Lines(path, 0, size, "a"), scratch)
        speeds.setdefault("binning", []).append(text_bytes / taken / 1e6)
        begin = (size - peer) * pair // max(arguments.pairs, 1)
        texts = [one.text for one in read(Lines(path, begin, begin + peer, "a"))]
        some = sum(len(text.encode()) for text in texts)
        everything = [one.text for one in read(Lines(path, 0, size, "a"))]
        speeds.setdefault("gigatoken bare", []).append(
            text_bytes / gigatoken_bare(subject, everything) / 1e6
        )
        del everything
        speeds.setdefault("encode_batch_fast", []).append(
            some / encode_batch_fast(subject, texts) / 1e6
        )
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            speeds.setdefault("Colossal's way", []).append(
                some / colossal(subject, texts, Path(folder)) / 1e6
            )
    first = speeds["binning"]
    for name, found in speeds.items():
        ratios = [a / b for a, b in zip(first, found, strict=True)]
        print(
            f"    {name:18} {statistics.median(found):6.1f} MB/s   binning is "
            f"{statistics.median(ratios):5.2f} times as fast",
            flush=True,
        )
    store = binning._tokenized(subject.range_of(Lines(path, 0, size, "a")))
    for line in packings(np.concatenate(store._lengths)):
        print(line, flush=True)


def memory(data: Path, megabytes: int, scratch: Path) -> None:
    """In a process of its own: bin so many MB, range by range, and print the peak."""
    subject = Subject(data / "tokenizers" / "llama3-128k", scratch / "tokenizer")
    path = scratch / "text.jsonl"
    write_selected(path, distinct(data, "en", megabytes * 10**6), "en")
    groups = binning.ranges([(path, path.stat().st_size, "a")])
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for number, (lines,) in enumerate(groups):
        binning.bin_range(subject.range_of(lines, number=number), OneShard(scratch))  # type: ignore[arg-type]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{megabytes:,} MB in {len(groups)} ranges of at most "
        f"{max(lines.end - lines.begin for (lines,) in groups) >> 20} MiB: peak {peak:,.0f} MiB "
        f"({loaded:,.0f} before)",
        flush=True,
    )


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--mb", type=int, default=64)
    parser.add_argument("--peer-mb", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--tokenizers", nargs="+", default=["llama3-128k", "llama2-32000"])
    parser.add_argument("--languages", nargs="+", default=["en", "zh"])
    parser.add_argument("--memory", nargs="*", type=int)
    parser.add_argument("--probe", action="store_true", help="time the probe of made texts too")
    arguments = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if arguments.memory is not None:
            if len(arguments.memory) == 1:
                memory(arguments.data, arguments.memory[0], scratch)
                return
            for megabytes in arguments.memory:
                subprocess.run(
                    [sys.executable, __file__, arguments.data, "--memory", str(megabytes)],
                    check=True,
                )
            return
        subjects = {
            one: Subject(arguments.data / "tokenizers" / one, scratch / one)
            for one in arguments.tokenizers
        }
        for language in arguments.languages:
            path = scratch / f"{language}.jsonl"
            count, size = write_selected(
                path, distinct(arguments.data, language, arguments.mb << 20), language
            )
            for one, subject in subjects.items():
                print(f"{one}, {language}: {count:,} documents, {size / 1e6:.1f} MB", flush=True)
                compare(subject, path, arguments, scratch)
        if arguments.probe:
            for one, subject in subjects.items():
                taken, verdict = seconds(
                    lambda subject=subject: compare_texts(
                        subject.folder, subject.tokenizer, scratch / "kept"
                    )
                )
                print(f"{one}: probe {taken:.1f} s, {verdict.reason or 'equal'}", flush=True)


if __name__ == "__main__":
    main()
