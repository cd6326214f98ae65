"""The definition of deduplication, applied pair by pair to what signatures wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from infra.store import Artifact


def fates(
    inputs: Mapping[str, Any],
    verify: float,
    bands: int,
    rows: int,
    crawls: Sequence[Sequence[str]] = (),
) -> dict[str, tuple[str | None, float | None]]:
    """Document id -> (id of the document that represents it, similarity), (None, None) if it stays.

    The preference is `length`, longer is better.
    """
    crawl = {source: number for number, listed in enumerate(crawls) for source in listed}
    documents = []
    for artifact, signatures in zip(inputs["documents"], inputs["signatures"], strict=True):
        assert artifact.name == signatures.name
        for name in artifact.files("part-"):
            listed = pq.read_table(artifact.path(name), columns=["id"])["id"].to_pylist()
            signed = pq.read_table(signatures.path(name)).to_pylist()
            cut = pq.read_table(inputs["cut"].path(f"{artifact.name}/{name}"), columns=["reason"])[
                "reason"
            ].to_pylist()
            order = crawl.get(artifact.name, len(crawls))
            documents += [
                (order, -row["length"], id, row)
                for id, row, reason in zip(listed, signed, cut, strict=True)
                if reason is None
            ]
    documents.sort(key=lambda document: document[:3])
    elected: list[tuple[str, dict[str, Any]]] = []
    fate_of: dict[str, tuple[str | None, float | None]] = {}
    for _, _, id, row in documents:
        for other, elected_row in elected:
            if row["text_hash"] == elected_row["text_hash"]:
                fate_of[id] = (other, 1.0)
                break
            if shares_band(row["signature"], elected_row["signature"], bands, rows):
                set_, elected_set = set(row["shingle_set"]), set(elected_row["shingle_set"])
                similarity = len(set_ & elected_set) / len(set_ | elected_set)
                if similarity >= verify:
                    fate_of[id] = (other, similarity)
                    break
        else:
            elected.append((id, row))
            fate_of[id] = (None, None)
    return fate_of


def shares_band(
    one: Sequence[int] | None, two: Sequence[int] | None, bands: int, rows: int
) -> bool:
    """Whether two signatures agree in all rows of some band."""
    if one is None or two is None:
        return False
    return any(
        one[band * rows : (band + 1) * rows] == two[band * rows : (band + 1) * rows]
        for band in range(bands)
    )


def unjustified(dedup: Artifact, inputs: Mapping[str, Any], verify: float) -> list[str]:
    """Ids of removed documents similar to the kept one in neither text nor shingles."""
    rows: dict[str, dict[str, Any]] = {}
    gone: dict[str, str] = {}
    for artifact, signatures in zip(inputs["documents"], inputs["signatures"], strict=True):
        for name in artifact.files("part-"):
            listed = pq.read_table(artifact.path(name), columns=["id"])["id"].to_pylist()
            rows |= zip(listed, pq.read_table(signatures.path(name)).to_pylist(), strict=True)
            column = pq.read_table(dedup.path(f"{artifact.name}/{name}"), columns=["duplicate_of"])[
                "duplicate_of"
            ]
            gone |= {
                id: head
                for id, head in zip(listed, column.to_pylist(), strict=True)
                if head is not None
            }
    wrong = []
    for id, head in gone.items():
        removed_set, kept_set = set(rows[id]["shingle_set"]), set(rows[head]["shingle_set"])
        if (
            rows[id]["text_hash"] != rows[head]["text_hash"]
            and len(removed_set & kept_set) / max(len(removed_set | kept_set), 1) < verify
        ):
            wrong.append(id)
        if head in gone:
            wrong.append(head)
    return wrong
