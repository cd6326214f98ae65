"""Which domains a crawl's documents are from; read from columns, never from text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.store import Artifact, Shard
from tasks.documents.annotate import AlignedPart, parts

FILE = "domains.parquet"
SHOWN = 20
"""Domains listed of those that are new, and of those that have gone."""

_SCHEMA = pa.schema([("domain", pa.string()), ("documents", pa.int64())])
_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?:www\.)?(?P<host>[^/:?#]+)"


def selected_parts(
    documents: Artifact, cut: Artifact | None, dedup: Artifact | None
) -> dict[str, AlignedPart]:
    """Key -> part of a source, with the columns that say which of its documents are selected."""
    found = {}
    for part in parts(documents, ("url",), {}):
        files = list(part.files)
        for artifact, column in ((cut, "reason"), (dedup, "duplicate_of")):
            if artifact is not None:
                files.append((artifact.path(f"{documents.name}/{part.name}"), (column,)))
        found[f"{documents.name}.{Path(part.name).stem}"] = AlignedPart(
            part.name, part.source, tuple(files)
        )
    return found


def count_part(part: AlignedPart, shard: Shard) -> dict[str, Any]:
    """Write a Parquet file of the part's domains; returns its name. Runs in a worker."""
    tables = [_counted(table) for table in part.tables()]
    name = f"parts/{shard.key}.parquet"
    with shard.create(name) as path:
        pq.write_table(_summed(tables), path)
    return {"file": name}


def _counted(table: pa.Table) -> pa.Table:
    for column in ("reason", "duplicate_of"):
        if column in table.column_names:
            table = table.filter(pc.is_null(table[column]))
    hosts = pc.struct_field(pc.extract_regex(table["url"], _HOST), "host")
    named = pa.table({"domain": pc.utf8_lower(hosts)})
    named = named.filter(pc.is_valid(named["domain"]))
    return named.append_column("documents", pa.array([1] * len(named), pa.int64()))


def _summed(tables: list[pa.Table]) -> pa.Table:
    """The sums by domain, most documents first, then by name."""
    table = pa.concat_tables([_SCHEMA.empty_table(), *(t.cast(_SCHEMA) for t in tables)])
    summed = table.group_by("domain").aggregate([("documents", "sum")])
    found = pa.table([summed["domain"], summed["documents_sum"]], schema=_SCHEMA)
    return found.sort_by([("documents", "descending"), ("domain", "ascending")])


def merged(files: list[Path]) -> pa.Table:
    """All parts' domains."""
    return _summed([pq.read_table(file) for file in files])


def compared(now: pa.Table, last: pa.Table | None) -> dict[str, Any]:
    """Domains and documents of both; the largest that are new and that have gone; the share of this
    crawl's documents that new domains have.
    """
    found: dict[str, Any] = {
        "domains": len(now),
        "documents": pc.sum(now["documents"]).as_py() or 0,
        "largest": now.slice(0, SHOWN).to_pylist(),
    }
    if last is None:
        return found
    new = now.filter(pc.invert(pc.is_in(now["domain"], last["domain"].combine_chunks())))
    gone = last.filter(pc.invert(pc.is_in(last["domain"], now["domain"].combine_chunks())))
    return found | {
        "last_domains": len(last),
        "new": _side(new, found["documents"]),
        "vanished": _side(gone, pc.sum(last["documents"]).as_py() or 0),
    }


def _side(table: pa.Table, of: int) -> Mapping[str, Any]:
    documents = pc.sum(table["documents"]).as_py() or 0
    return {
        "domains": len(table),
        "documents": documents,
        "share": documents / of if of else 0.0,
        "largest": table.slice(0, SHOWN).to_pylist(),
    }
