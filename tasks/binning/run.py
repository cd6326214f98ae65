"""Bins from selected documents: tokenize, deal, pack and write, one range of lines per shard.

The lines of all inputs are divided into ranges of about equal size in bytes, which may span files.
A shard tokenizes its range once and writes one file into every bin, so with N ranges a bin has the
files data-00000-of-N and so on. Memory is bounded: packing holds the tokens of one range (about
300 MB for 256 MiB of text).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from infra.context import Context
from infra.ledger import Ledger
from infra.stage import Outcome, StageError
from infra.store import Artifact, Shard
from tasks.binning.pack import pack
from tasks.binning.stage import BinningParameters
from tasks.binning.write import write_layout, write_rows
from tasks.documents.bins import category_of
from tasks.documents.tokenize import DocumentTokenizer, Tokens

MIN_RANGE_BYTES = 64 << 20
MAX_RANGE_BYTES = 256 << 20
RANGES = 64
"""Target number of ranges, within the limits above: each range leaves a partly filled last row in
every bin.
"""

_BATCH_CHARACTERS = 1 << 20
_BATCH_DOCUMENTS = 2_048


class Lines(NamedTuple):
    """The lines of a file that start at bytes [begin, end), and the source they come from."""

    path: Path
    begin: int
    end: int
    source: str


@dataclass(frozen=True)
class Range:
    """The work of one shard: range `number` of `total`."""

    number: int
    total: int
    lines: tuple[Lines, ...]
    tokenizer: Path
    parameters: BinningParameters


class SelectedDocument(NamedTuple):
    """One selected document."""

    id: str
    prompt: str
    text: str
    language: str
    source: str


def run(context: Context) -> Outcome:
    """Pack the category that this node is named after."""
    parameters: BinningParameters = context.parameters
    category = category_of(context.name)
    selected = list(_files(context.many("select"), category))
    if not sum(size for _, size, _ in selected):
        raise StageError(nothing_left(category, context.many("select")))
    tokenizer = context.input("tokenizer").folder("tokenizer")
    groups = ranges(selected)
    items = {
        f"range-{number:05d}": Range(number, len(groups), group, tokenizer, parameters)
        for number, group in enumerate(groups)
    }
    results = list(context.map(bin_range, items).values())
    context.map(_write_layouts, {"layout": (context.version, len(groups), parameters)}, here=True)
    ledger = Ledger.merged(result["ledger"] for result in results)
    return Outcome(_statistics(results, parameters), ledger.to_json())


def nothing_left(category: str, selected: Sequence[Artifact]) -> str:
    """Why a category has no documents: what the sources that feed it dropped."""
    sources = []
    for artifact in selected:
        went = Counter[str]()
        for entry in artifact.ledger.entries("dropped"):
            went[entry.reason] += entry.documents
        shown = ", ".join(f"{reason} {count:,}" for reason, count in went.most_common(5) if count)
        sources.append(f"source {artifact.name} dropped {shown or 'nothing, it has no document'}")
    return (
        f"category {category!r} has no documents to train on: "
        f"{'; '.join(sources) or 'no source feeds it'}. Widen the `keep` that dropped them, add "
        "text, or remove the category from every mixture"
    )


def _files(selected: Sequence[Artifact], category: str) -> Iterator[tuple[Path, int, str]]:
    """(path, bytes, source) of the category's JSONL files, in plan order."""
    for artifact in selected:
        for name in artifact.files(f"{category}/"):
            path = artifact.path(name)
            yield path, path.stat().st_size, artifact.name


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
    tokenizer = DocumentTokenizer(item.tokenizer)
    ledger = Ledger()
    counts = Counter[str]()
    dealt: list[tuple[list[str], list[Tokens]]] = [([], []) for _ in range(parameters.bins)]
    for batch in _batches(item.lines):
        for document, tokens in zip(
            batch, tokenizer.encode([(d.prompt, d.text) for d in batch]), strict=True
        ):
            ids, documents = dealt[bin_of(document.id, parameters.bins)]
            ids.append(document.id)
            documents.append(tokens)
            size = len(document.text.encode()) + len(document.prompt.encode())
            for side in ("read", "kept"):
                ledger.add(document.source, document.language, side, bytes=size)
            counts["bytes"] += size
            counts["characters"] += len(document.text) + len(document.prompt)
            counts["text_tokens"] += len(tokens.ids) - len(tokenizer.begin) - len(tokenizer.end)
    bins = []
    for number, (ids, documents) in enumerate(dealt):
        lengths = np.array([len(tokens.ids) for tokens in documents], np.int64)
        rows = pack(lengths, parameters.sequence_length)
        packed = sum(piece.length for row in rows for piece in row)
        if packed != lengths.sum():
            raise StageError(
                f"{shard.key}: packed rows hold {packed} of {lengths.sum()} tokens; this is a "
                "defect of the stage, please report it"
            )
        with shard.create(f"{folder_name(number)}/{file_name(item.number, item.total)}") as path:
            counts["loss_tokens"] += write_rows(
                path,
                ids,
                documents,
                rows,
                sequence_length=parameters.sequence_length,
                padding=tokenizer.padding,
                loss_on_source=parameters.loss_on_source,
            )
        pieces = Counter(piece.document for row in rows for piece in row)
        counts["split_documents"] += sum(count > 1 for count in pieces.values())
        bins.append({"documents": len(ids), "tokens": int(lengths.sum()), "rows": len(rows)})
        dealt[number] = ([], [])
    return {"counts": dict(sorted(counts.items())), "bins": bins, "ledger": ledger.to_json()}


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


def read(lines: Lines) -> Iterator[SelectedDocument]:
    """The documents of the lines that start at bytes [begin, end).

    Raises:
        StageError: a line is not a document; it names the byte.
    """
    with lines.path.open("rb") as stream:
        if lines.begin:
            stream.seek(lines.begin - 1)
            stream.readline()  # the rest of a line that belongs to the range before
        while (at := stream.tell()) < lines.end:
            line = stream.readline()
            try:
                row = json.loads(line)
                yield SelectedDocument(
                    row["id"],
                    row.get("source", ""),
                    row["target"],
                    row.get("language", ""),
                    lines.source,
                )
            except (ValueError, KeyError, TypeError) as error:
                raise StageError(
                    f"{lines.path}, byte {at}: not a line that select writes ({error}); rerun "
                    "select"
                ) from error


def bin_of(document_id: str, bins: int) -> int:
    """The bin a document is dealt to, uniform by a keyed hash of its id.

    The key (`person`) makes it independent of other choices by id, such as held-out text.
    """
    digest = hashlib.blake2b(document_id.encode(), digest_size=8, person=b"puna-bin").digest()
    return int.from_bytes(digest, "little") % bins


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
    counts = Counter[str]()
    for result in results:
        counts.update(result["counts"])
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
    documents, tokens, rows = (
        sum(bin_[name] for bin_ in bins) for name in ("documents", "tokens", "rows")
    )
    row_tokens = rows * parameters.sequence_length
    return {
        "sequence_length": parameters.sequence_length,
        "documents": documents,
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
