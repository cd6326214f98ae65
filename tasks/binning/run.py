"""Bins from selected documents: tokenize, deal, pack and write, one range of lines per shard.

The lines of all inputs are divided into ranges of about equal size in bytes, which may span files.
A shard tokenizes its range once and writes one file into every bin, so with N ranges a bin has the
files data-00000-of-N and so on. Memory is bounded: packing holds the tokens of one range (about
300 MB for 256 MiB of text).
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from infra.context import Context
from infra.ledger import Ledger
from infra.stage import Outcome, StageError
from infra.store import Shard
from tasks.binning.category import files_of, refuse_nothing
from tasks.binning.choose import choose
from tasks.binning.encode import Encoder, Reference
from tasks.binning.fast import Fast, accepted
from tasks.binning.lines import Lines, SelectedDocument, read
from tasks.binning.pack import pack
from tasks.binning.probe import digests_of
from tasks.binning.stage import BinningParameters
from tasks.binning.token_store import TokenStore
from tasks.binning.write import write_layout, write_rows
from tasks.documents.bins import category_of
from tasks.documents.tokenize import DocumentTokenizer

MIN_RANGE_BYTES = 64 << 20
MAX_RANGE_BYTES = 256 << 20
RANGES = 64
"""Target number of ranges, within the limits above: each range leaves a partly filled last row in
every bin.
"""

GIGATOKEN = "gigatoken.json"

_BATCH_CHARACTERS = 1 << 20
_BATCH_DOCUMENTS = 2_048


class Around(NamedTuple):
    """Ids before and after every document, and the one that fills rows."""

    begin: tuple[int, ...]
    end: tuple[int, ...]
    padding: int


@dataclass(frozen=True)
class Range:
    """The work of one shard: range `number` of `total`."""

    number: int
    total: int
    lines: tuple[Lines, ...]
    tokenizer: Path
    around: Around
    parameters: BinningParameters
    fast: Path | None
    """What gigatoken reads of the tokenizer, where it encodes."""
    digests: Mapping[tuple[str, int], str]
    """Of the reference's ids, for some of its documents: (place, byte) -> digest."""


def run(context: Context) -> Outcome:
    """Pack the category that this node is named after."""
    parameters: BinningParameters = context.parameters
    category = category_of(context.name)
    refuse_nothing(context.name, context.many("select"))
    selected = list(files_of(context.many("select"), category))
    folder = context.input("tokenizer").folder("tokenizer")
    tokenizer = DocumentTokenizer(folder)
    around = Around(tuple(tokenizer.begin), tuple(tokenizer.end), tokenizer.padding)
    groups = ranges(selected)
    choice = choose(context, folder, tokenizer, selected)
    fast = None
    if choice.backend == "gigatoken":
        with context.exchange.create(GIGATOKEN) as path:
            path.write_bytes(accepted(tokenizer))
        fast = context.exchange.path(GIGATOKEN)
    items = {
        f"range-{number:05d}": Range(
            number, len(groups), group, folder, around, parameters, fast, choice.within(group)
        )
        for number, group in enumerate(groups)
    }
    results = list(context.map(bin_range, items).values())
    context.map(_write_layouts, {"layout": (context.version, len(groups), parameters)}, here=True)
    ledger = Ledger.merged(result["ledger"] for result in results)
    return Outcome(
        {**_statistics(results, parameters), "tokenize": choice.summary()}, ledger.to_json()
    )


def ranges(files: Sequence[tuple[Path, int, str]]) -> list[tuple[Lines, ...]]:
    """Divide the bytes of all files into ranges of equal size (the last may be smaller)."""
    total = sum(size for _, size, _ in files)
    range_bytes = min(max(-(-total // RANGES), MIN_RANGE_BYTES), MAX_RANGE_BYTES)
    groups: list[list[Lines]] = [[] for _ in range(-(-total // range_bytes))]
    before = 0
    for path, size, source in files:
        for number in range(before // range_bytes, -(-(before + size) // range_bytes)):
            begin = max(number * range_bytes - before, 0)
            groups[number].append(
                Lines(path, begin, min((number + 1) * range_bytes - before, size), source)
            )
        before += size
    return [tuple(group) for group in groups]


def bin_range(item: Range, shard: Shard) -> dict[str, Any]:
    """Tokenize one range and write its file in every bin; runs in a worker."""
    parameters = item.parameters
    found = _tokenized(item)
    counts = Counter(found.counts)
    bins = []
    for number in range(parameters.bins):
        documents = found.of_bin(number)
        pieces = pack(documents.lengths, parameters.sequence_length, parameters.packing)
        if pieces.length.sum() != documents.lengths.sum():
            raise StageError(
                f"{shard.key}: packed rows hold {pieces.length.sum()} of "
                f"{documents.lengths.sum()} tokens; this is a defect of the stage, please report it"
            )
        with shard.create(f"{folder_name(number)}/{file_name(item.number, item.total)}") as path:
            counts["loss_tokens"] += write_rows(
                path,
                documents,
                pieces,
                sequence_length=parameters.sequence_length,
                padding=item.around.padding,
                loss_on_source=parameters.loss_on_source,
            )
        counts["split_documents"] += int(np.count_nonzero(np.bincount(pieces.document) > 1))
        bins.append(
            {
                "documents": len(documents.lengths),
                "tokens": int(documents.lengths.sum()),
                "rows": pieces.rows,
            }
        )
    return {
        "counts": dict(sorted(counts.items())),
        "bins": bins,
        "repeats": {str(times): found.repeats[times] for times in sorted(found.repeats)},
        "ledger": found.ledger.to_json(),
    }


@functools.lru_cache(maxsize=1)
def _reference(folder: Path) -> Reference:
    """Kept by a worker for its next range, as loading takes up to a second."""
    return Reference(DocumentTokenizer(folder))


@functools.lru_cache(maxsize=1)
def _fast(json: Path, folder: Path) -> Fast:
    """See `_reference`, which is loaded only where a document needs it."""
    return Fast(json.read_bytes(), lambda: _reference(folder))


def _tokenized(item: Range) -> TokenStore:
    """The documents of a range as tokens.

    Raises:
        StageError: a document that was compared before has other ids among others.
    """
    encoder: Encoder = _fast(item.fast, item.tokenizer) if item.fast else _reference(item.tokenizer)
    size = sum(lines.end - lines.begin for lines in item.lines)
    store = TokenStore(size, item.around.begin, item.around.end, item.parameters.bins)
    for batch in _batches(item.lines):
        encoded = encoder.encode([(document.prompt, document.text) for document in batch])
        store.add(batch, encoded)
        known = [item.digests.get((document.place, document.at)) for document in batch]
        if any(known):
            for document, expected, digest in zip(batch, known, digests_of(encoded), strict=True):
                if expected is not None and digest != expected:
                    raise StageError(
                        f"document {document.id} has other ids among others than alone, encoded by "
                        f"{'gigatoken' if item.fast else 'tokenizers'}; "
                        "set `binning.tokenize: tokenizers` and run again"
                    )
    return store


def _batches(group: Sequence[Lines]) -> Iterator[list[SelectedDocument]]:
    batch: list[SelectedDocument] = []
    characters = 0
    for document in (document for lines in group for document in read(lines)):
        batch.append(document)
        characters += len(document.text) + len(document.prompt)
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def folder_name(number: int) -> str:
    """The folder of a bin."""
    return f"bin-{number:02d}"


def file_name(number: int, total: int) -> str:
    """The file of a range in a bin."""
    return f"data-{number:05d}-of-{total:05d}.arrow"


def _write_layouts(item: tuple[str, int, BinningParameters], shard: Shard) -> dict[str, Any]:
    version, total, parameters = item
    files = [file_name(number, total) for number in range(total)]
    for number in range(parameters.bins):
        fingerprint = hashlib.blake2b(f"{version}/{number}".encode(), digest_size=8).hexdigest()
        with tempfile.TemporaryDirectory() as name:
            write_layout(Path(name), files, parameters.sequence_length, fingerprint)
            shard.publish(Path(name), folder_name(number))
    return {}


def _statistics(results: Sequence[dict[str, Any]], parameters: BinningParameters) -> dict[str, Any]:
    counts, repeats = Counter[str](), Counter[int]()
    for result in results:
        counts.update(result["counts"])
        repeats.update({int(times): number for times, number in result["repeats"].items()})
    bins = []
    for number in range(parameters.bins):
        documents, tokens, rows = (
            sum(result["bins"][number][name] for result in results)
            for name in ("documents", "tokens", "rows")
        )
        fill = tokens / (rows * parameters.sequence_length) if rows else 0.0
        bins.append(
            {
                "name": folder_name(number),
                "documents": documents,
                "tokens": tokens,
                "rows": rows,
                "fill": fill,
            }
        )
    copies, tokens, rows = (
        sum(bin_[name] for bin_ in bins) for name in ("documents", "tokens", "rows")
    )
    row_tokens = rows * parameters.sequence_length
    return {
        "sequence_length": parameters.sequence_length,
        "documents": repeats.total(),
        "copies": copies,
        "repeats": {str(times): repeats[times] for times in sorted(repeats)},
        "tokens": tokens,
        "text_tokens": counts["text_tokens"],
        "characters": counts["characters"],
        "bytes": counts["bytes"],
        "tokens_per_character": counts["text_tokens"] / max(counts["characters"], 1),
        "tokens_per_byte": counts["text_tokens"] / max(counts["bytes"], 1),
        "rows": rows,
        "row_tokens": row_tokens,
        "padding": row_tokens - tokens,
        "fill": tokens / row_tokens if rows else 0.0,
        "loss_tokens": counts["loss_tokens"],
        "split_documents": counts["split_documents"],
        "bins": bins,
    }
