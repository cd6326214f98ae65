"""Applies block lists to the URLs of documents.

1. `compile_lists` reads every list once, in the run's own process, and writes its sorted hashes
   (`block_lists`) to files.
2. Workers map the files into memory, so that all workers of a machine share one copy.
3. `block_reasons` looks up, for every document, its host and all parent domains, and its page and
   all folders above it. The first list of the recipe that has one of them is in the reason.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.context import Context
from infra.stage import StageError
from tasks.cut.addresses import domains_of, page_of, prefixes_of
from tasks.cut.block_lists import Kind, Reading, hash_of, read_list
from tasks.cut.stage import CutParameters

KINDS: tuple[Kind, ...] = ("domains", "urls")
_REASON = {"domains": "block.domain", "urls": "block.url"}
_WORD = {"domains": "domain", "urls": "URL"}
_CACHED_HOSTS = 100_000


@dataclass(frozen=True)
class CompiledList:
    """One list's entries of one kind: sorted uint64 hashes in a .npy file."""

    name: str
    kind: Kind
    file: Path

    @property
    def reason(self) -> str:
        """What the ledger counts, such as "block.domain.adult"."""
        return f"{_REASON[self.kind]}.{self.name}"


Compiled = dict[str, tuple[CompiledList, ...]]
"""Source -> its lists in the order in which they apply: domains, then URLs."""


def compile_lists(context: Context) -> tuple[Compiled, dict[str, dict[str, Any]]]:
    """The lists of every source, and statistics by list: entries and malformed lines by kind."""
    parameters: CutParameters = context.parameters
    written: dict[tuple[Kind, tuple[str, ...]], tuple[Path, Reading]] = {}
    statistics: dict[str, dict[str, Any]] = {}
    compiled: Compiled = {}
    for source in parameters.sources:
        lists: list[CompiledList] = []
        for kind in KINDS:
            for name, path in lists_of(parameters, source).items():
                pins = context.pins.get(f"{path}.{kind}")
                if not pins:
                    continue
                key = (kind, tuple(pin.sha256 or pin.identity for pin in pins))
                if key not in written:
                    reading = _read(name, kind, context.files(f"{path}.{kind}"))
                    block = f"block-{len(written)}.npy"
                    with context.exchange.create(block) as target, target.open("wb") as stream:
                        np.save(stream, reading.hashes)
                    written[key] = (context.exchange.path(block), reading)
                file, reading = written[key]
                lists.append(CompiledList(name, kind, file))
                statistics.setdefault(name, {})[kind] = {
                    "entries": len(reading.hashes),
                    "malformed": reading.malformed,
                    "examples": reading.examples,
                }
        compiled[source] = tuple(lists)
    return compiled, statistics


def lists_of(parameters: CutParameters, source: str) -> dict[str, str]:
    """Name of each list that applies to a source -> its parameter path; a source's own list stands
    in for one of the same name for all sources.
    """
    paths = {name: f"block.{name}" for name in parameters.block}
    for name, own in parameters.sources[source].block.items():
        if own is None:
            paths.pop(name, None)
        else:
            paths[name] = f"sources.{source}.block.{name}"
    return paths


def _read(name: str, kind: Kind, files: Sequence[Path]) -> Reading:
    """Read a list; StageError if most of its lines are no entries."""
    reading = read_list(files, kind)
    if reading.malformed > len(reading.hashes):
        raise StageError(
            f"block.{name}.{kind}: {reading.malformed:,} lines are no {_WORD[kind]}, "
            f"{len(reading.hashes):,} are "
            f"({'; '.join(reading.examples)}); name a list of {kind}, one per line"
        )
    return reading


def block_reasons(urls: pa.Array, lists: Sequence[CompiledList]) -> pa.Array:
    """N URLs -> N reasons, null where no list has the URL."""
    pages = [page_of(url) if url else None for url in urls.to_pylist()]
    keys = {
        "domains": [_host_hashes(page) if page else () for page in pages],
        "urls": [tuple(map(hash_of, prefixes_of(page))) if page else () for page in pages]
        if any(list_.kind == "urls" for list_ in lists)
        else [],
    }
    reasons: list[str | None] = [None] * len(pages)
    for kind in KINDS:
        flat = np.fromiter((key for row in keys[kind] for key in row), np.uint64)
        rows = np.repeat(np.arange(len(keys[kind])), [len(row) for row in keys[kind]])
        for list_ in lists:
            if list_.kind == kind:
                for row in np.unique(rows[_is_in(flat, list_.file)]).tolist():
                    reasons[row] = reasons[row] or list_.reason
    return pa.array(reasons, pa.string())


def _host_hashes(page: str) -> tuple[int, ...]:
    return _domain_hashes(page.partition("/")[0].partition("?")[0])


@functools.lru_cache(maxsize=_CACHED_HOSTS)
def _domain_hashes(host: str) -> tuple[int, ...]:
    return tuple(map(hash_of, domains_of(host)))


def _is_in(keys: npt.NDArray[np.uint64], file: Path) -> npt.NDArray[np.bool_]:
    entries = _entries(file)
    if not len(entries):
        return np.zeros(len(keys), np.bool_)
    places = np.minimum(np.searchsorted(entries, keys), len(entries) - 1)
    return np.asarray(entries[places] == keys)


@functools.lru_cache(maxsize=256)
def _entries(file: Path) -> npt.NDArray[np.uint64]:
    entries: npt.NDArray[np.uint64] = np.load(file, mmap_mode="r")
    return entries


def notes_on(
    statistics: Mapping[str, Mapping[str, Any]],
    compiled: Compiled,
    rows: Iterable[Mapping[str, Any]],
) -> list[str]:
    """Sentences on lists with malformed lines, lists that block nothing, and sources of which one
    list blocks everything; `rows` are those of the ledger.
    """
    notes = []
    for name, kinds in statistics.items():
        for kind, counts in kinds.items():
            if counts["malformed"]:
                notes.append(
                    f"block.{name}.{kind}: {counts['malformed']:,} lines were skipped, as they are "
                    f"no {_WORD[kind]} ({'; '.join(counts['examples'])})"
                )
            if not counts["entries"]:
                notes.append(f"block.{name}.{kind} has no entries")
    blocked: dict[str, dict[str, int]] = {}
    read: dict[str, int] = {}
    for row in rows:
        source = row["source"]
        read[source] = read.get(source, 0) + row["totals"]["documents"]["read"]
        for entry in row["reasons"]:
            counts = blocked.setdefault(entry["reason"], {})
            counts[source] = counts.get(source, 0) + entry["documents"]
    for list_ in dict.fromkeys(list_ for lists in compiled.values() for list_ in lists):
        place = f"block.{list_.name}.{list_.kind}"
        by_source = blocked.get(list_.reason, {})
        if not by_source and statistics[list_.name][list_.kind]["entries"]:
            notes.append(f"{place} blocks no document; do the documents have URLs?")
        notes += [
            f"{place} blocks all {documents:,} documents of source {source}"
            for source, documents in by_source.items()
            if documents == read[source]
        ]
    return notes
