"""Which encoder a category's bins are made with: asked for, or shown to be equal."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.context import WARNING, Context
from infra.remote.held import place_of
from infra.stage import StageError
from infra.store import Shard
from tasks.binning.lines import Lines
from tasks.binning.probe import compare_documents, compare_texts, sample
from tasks.binning.stage import BinningParameters
from tasks.binning.verdicts import Verdict, folder_of
from tasks.documents.tokenize import DocumentTokenizer

SMALL_BYTES = 16 << 20
"""Below this, `auto` takes the reference: the comparison alone would take longer."""

_SHARD_DOCUMENTS = 4_096


@dataclass(frozen=True)
class Choice:
    """`backend`: gigatoken or tokenizers. `reason`, `example`: see `probe.Verdict`. `digests`:
    sorted.
    """

    backend: str
    reason: str = ""
    example: dict[str, Any] | None = None
    digests: tuple[tuple[str, int, str], ...] = ()

    def within(self, group: Sequence[Lines]) -> dict[tuple[str, int], str]:
        """Digests of documents in these lines, by place and byte."""
        found: dict[tuple[str, int], str] = {}
        for lines in group:
            first, last = (
                bisect.bisect_left(self.digests, (place_of(lines.path), at))
                for at in (lines.begin, lines.end)
            )
            found |= {(path, at): digest for path, at, digest in self.digests[first:last]}
        return found

    def summary(self) -> dict[str, Any]:
        """For the statistics."""
        example = {"example": self.example} if self.example else {}
        return {
            "backend": self.backend,
            "compared": len(self.digests),
            "reason": self.reason,
            **example,
        }


def choose(
    context: Context,
    folder: Path,
    tokenizer: DocumentTokenizer,
    files: Sequence[tuple[Path, int, str]],
) -> Choice:
    """The encoder for documents in these files, given as (path, bytes, source), with the tokenizer
    of a folder.

    Raises:
        StageError: gigatoken is asked for, and its ids differ.
    """
    parameters: BinningParameters = context.parameters
    if parameters.tokenize == "tokenizers":
        return Choice("tokenizers", "the recipe says so")
    if parameters.tokenize == "auto" and sum(size for _, size, _ in files) < SMALL_BYTES:
        return Choice("tokenizers", f"less than {SMALL_BYTES >> 20} MiB of documents")
    verdict = compare_texts(folder, tokenizer, folder_of(context.access))
    digests: list[tuple[str, int, str]] = []
    if not verdict.reason:
        places = sample(files)
        shards = {
            f"probe-{at:08d}": (folder, places[at : at + _SHARD_DOCUMENTS])
            for at in range(0, len(places), _SHARD_DOCUMENTS)
        }
        for verdict in _compared(context, compare_documents_there, shards):
            digests += verdict.digests
            if verdict.reason:
                break
    if not verdict.reason:
        return Choice("gigatoken", digests=tuple(sorted(digests)))
    shown = f"{verdict.reason} {verdict.example or ''}".strip()
    if parameters.tokenize == "gigatoken":
        raise StageError(
            f"binning.tokenize: gigatoken, but {shown}; set `tokenize: auto` or `tokenizers`"
        )
    context.progress(0, 1, f"{WARNING}: the slow tokenizer is used, because {shown}")
    return Choice("tokenizers", verdict.reason, verdict.example, tuple(sorted(digests)))


def compare_documents_there(item: tuple[Path, list[Lines]], shard: Shard) -> dict[str, Any]:
    """`compare_documents` as a shard's function."""
    return compare_documents(*item)._asdict()


def _compared(context: Context, function: Any, items: Any) -> list[Verdict]:
    return [
        Verdict(
            result["reason"],
            result["example"],
            tuple((path, at, digest) for path, at, digest in result["digests"]),
        )
        for result in context.map(function, items).values()
    ]
