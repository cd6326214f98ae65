"""Chooses the documents to show among any number of them, in bounded memory and always the same.

1. A pass over the verdicts (`tasks.documents.verdicts`) of every row group counts fates and reasons
   of the documents that the request is about (language).
2. Those that match (fate, rule, percentile) are dropped, edited or kept ones; kept ones without the
   rule's reason are a kind of their own, with which to compare the others. Of each kind the
   `sample` with the smallest rank is held: a hash of the id and the seed, or the distance to the
   limit.
3. The kinds share the sample equally; what one does not fill, the others get.

A range of percentiles needs the scores first: another pass holds at most `MOST_SCORES` of them,
those with the smallest hashes, so that percentiles of more are estimates.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.documents.keep import covers
from tasks.documents.verdicts import FATES, KEPT

MOST_SCORES = 1_000_000

KINDS = range(len(FATES) + 1)
"""Positions in FATES, and one more: kept documents without the reason that was asked for."""

Group = tuple[Any, pa.Table]
"""(what tells where the row group is, its verdicts with the documents' column `id`)."""


@dataclass(frozen=True)
class Request:
    """Which documents to show; empty and None mean any.

    `rules`: reasons or groups of reasons. `percentile`: (low, high) of the score, in percent.
    """

    fates: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    percentile: tuple[float, float] | None = None
    sample: int = 6
    seed: int = 0
    near_limit: bool = False


class Row(NamedTuple):
    """A chosen document. `place`: of its row group; `row`: its number in there."""

    rank: float
    id: str
    place: Any
    row: int
    fate: str
    reasons: list[str]
    score: float | None
    language: str


@dataclass
class Choice:
    """The chosen rows, and counts of all documents of the languages that were asked for.

    `matching`: documents that match the whole request. `scores`: the scores at both ends of the
    percentiles.
    """

    rows: list[Row] = field(default_factory=list)
    fates: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    matching: int = 0
    scores: tuple[float, float] | None = None


def choose(groups: Callable[[], Iterator[Group]], request: Request) -> Choice:
    """The documents to show; `groups` is called once per pass."""
    choice = Choice()
    if request.percentile is not None:
        choice.scores = _percentiles(groups(), request)
    held: dict[int, list[tuple[float, int, Row]]] = {kind: [] for kind in KINDS}
    number = 0
    for place, table in groups():
        table = _of_languages(table, request)
        choice.fates.update(_counted(table["fate"]))
        choice.reasons.update(_counted(pc.list_flatten(table["reasons"])))
        matching = _matching(table, request, choice.scores)
        choice.matching += matching.num_rows
        ranks = _ranks(matching, request)
        kinds = _kinds(matching)
        for kind in KINDS:
            rows = np.flatnonzero(kinds == kind)
            for row in rows[np.argsort(ranks[rows], kind="stable")][: request.sample].tolist():
                number += 1
                entry = (-float(ranks[row]), -number, _row(matching, row, place, ranks[row]))
                if len(held[kind]) < request.sample:
                    heapq.heappush(held[kind], entry)
                elif entry[:2] > held[kind][0][:2]:
                    heapq.heapreplace(held[kind], entry)
    by_kind = [sorted(row for *_, row in held[kind]) for kind in KINDS]
    choice.rows = _shared(by_kind, request.sample)
    return choice


def _kinds(matching: pa.Table) -> npt.NDArray[np.int64]:
    """The kind of each matching document: its fate, or `len(FATES)` if it is there to compare."""
    fates = pc.index_in(matching["fate"], value_set=pa.array(FATES)).to_numpy().astype(np.int64)
    return np.where(matching["named"].to_numpy(), fates, len(FATES))


def _of_languages(table: pa.Table, request: Request) -> pa.Table:
    table = table.append_column("row", pa.array(np.arange(table.num_rows)))
    if not request.languages:
        return table
    return table.filter(pc.is_in(table["language"], value_set=pa.array(request.languages)))


def _matching(table: pa.Table, request: Request, scores: tuple[float, float] | None) -> pa.Table:
    if request.fates:
        table = table.filter(pc.is_in(table["fate"], value_set=pa.array(request.fates)))
    named = [
        not request.rules
        or any(is_named(rule, reason) for rule in request.rules for reason in reasons)
        for reasons in table["reasons"].to_pylist()
    ]
    table = table.append_column("named", pa.array(named, pa.bool_()))
    table = table.filter(pc.or_(table["named"], pc.equal(table["fate"], KEPT)))
    if scores is not None:
        low, high = scores
        inside = pc.and_(pc.greater_equal(table["score"], low), pc.less_equal(table["score"], high))
        table = table.filter(pc.fill_null(inside, False))
    if request.near_limit:
        table = table.filter(pc.is_valid(table["distance"]))
    return table


def is_named(rule: str, reason: str) -> bool:
    """Whether a rule names a reason, with or without its stage: "gopher" and "quality.gopher"."""
    return covers(rule, reason) or covers(rule, reason.partition(".")[2])


def _ranks(table: pa.Table, request: Request) -> npt.NDArray[np.float64]:
    if request.near_limit:
        distances: npt.NDArray[np.float64] = table["distance"].to_numpy()
        return distances
    return hashes_of(table["id"].to_pylist(), request.seed).astype(np.float64)


def hashes_of(ids: list[str], seed: int) -> npt.NDArray[np.uint64]:
    """Ids of 32 hex digits, which are hashes already, mixed with the seed (splitmix64)."""
    if not ids:
        return np.zeros(0, np.uint64)
    halves = np.frombuffer(bytes.fromhex("".join(ids)), ">u8").reshape(-1, 2)[:, 0]
    mixed = halves.astype(np.uint64) + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _percentiles(groups: Iterator[Group], request: Request) -> tuple[float, float] | None:
    """Scores at the request's percentiles, None where no document has a score."""
    scores, hashes = np.zeros(0, np.float64), np.zeros(0, np.uint64)
    for _, table in groups:
        table = _of_languages(table, request)
        table = table.filter(pc.is_valid(table["score"]))
        scores = np.concatenate([scores, table["score"].to_numpy()])
        hashes = np.concatenate([hashes, hashes_of(table["id"].to_pylist(), 0)])
        if len(scores) > 2 * MOST_SCORES:
            scores, hashes = _smallest(scores, hashes)
    scores, _ = _smallest(scores, hashes)  # else the last groups would have too much weight
    if request.percentile is None or not len(scores):
        return None
    low, high = np.percentile(scores, request.percentile)
    return float(low), float(high)


def _smallest(
    scores: npt.NDArray[np.float64], hashes: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint64]]:
    """The `MOST_SCORES` scores with the smallest hashes."""
    if len(scores) <= MOST_SCORES:
        return scores, hashes
    smallest = np.argpartition(hashes, MOST_SCORES)[:MOST_SCORES]
    return scores[smallest], hashes[smallest]


def _counted(column: pa.ChunkedArray) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in column.value_counts().to_pylist()}


def _row(table: pa.Table, index: int, place: Any, rank: float) -> Row:
    values = {name: table[name][index].as_py() for name in table.column_names}
    return Row(
        float(rank),
        values["id"],
        place,
        values["row"],
        values["fate"],
        values["reasons"],
        values["score"],
        values["language"],
    )


def _shared(by_kind: list[list[Row]], sample: int) -> list[Row]:
    """The first rows of each kind in turn, up to `sample`, ordered by kind."""
    turns = ((turn, kind) for turn in range(sample) for kind in range(len(by_kind)))
    filled = [(turn, kind) for turn, kind in turns if turn < len(by_kind[kind])][:sample]
    taken = Counter(kind for _, kind in filled)
    return [row for kind, rows in enumerate(by_kind) for row in rows[: taken[kind]]]
