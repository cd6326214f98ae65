"""Runs stage decontaminate: the benchmark items in every document, and edits of their passages."""

from __future__ import annotations

import functools
import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.context import Context
from infra.stage import Outcome
from infra.store import Shard
from tasks.benchmarks.read import read_items
from tasks.decontaminate.grams import ItemIndex, build_index
from tasks.decontaminate.passages import end_of_choices, passages
from tasks.decontaminate.stage import DecontaminateParameters
from tasks.documents import edits
from tasks.documents.annotate import AlignedPart, annotate_part, ledger_of, text_parts
from tasks.documents.records import record
from tasks.text.ngrams import Hit
from tasks.text.word_hashes import word_hashes, word_spans

OVERLAP_CHARACTERS = 200
"""The most of a run of common words that is written down."""

CHOICES_WITHIN = 200
"""Characters that may come between a question's last common word and its choices, in addition to
the choices themselves.
"""

MOST_HIT_ITEMS = 20

CONTAMINATED = pa.list_(
    pa.struct(
        [
            ("benchmark", pa.string()),
            ("item", pa.string()),
            ("overlap", pa.string()),  # the first run of common words, normalised
            ("words", pa.int32()),  # common words in all runs
            # Characters of the ingest text that hold the first run; null if it is in the prompt.
            ("start", pa.int64()),
            ("end", pa.int64()),
        ]
    )
)
SCHEMA = pa.schema(
    [("contaminated", CONTAMINATED), (edits.COLUMN, edits.EDITS), ("passage_share", pa.float64())]
)
"""Per document: every item found in it, in the order of the recipe's benchmarks and their files
(empty for none); the edits that remove its passages; the share of the text that they remove, 1.0 if
there are common words in the prompt, where no edit applies.
"""


INDEX_FILE = "index.pickle"


@dataclass(frozen=True)
class Search:
    """The file in which the run's own process put the index; the passages' margin in characters."""

    index: Path
    margin: int


def run(context: Context) -> Outcome:
    """Inputs: documents, line_dedup. Pins: `against.<benchmark>.paths`. Writes `SCHEMA`.

    Text is read after the edits of line deduplication, because that is what select writes, and a
    removed line may join the text before and after it. Offsets are those of the ingest text all the
    same. A document with a prompt is searched as one record, since a leaked item has its question
    in the prompt and its answer in the text; edits never apply to the prompt, so that common words
    in it mark the whole document.
    """
    parameters: DecontaminateParameters = context.parameters
    benchmarks = {
        name: read_items(name, files, context.files(f"against.{name}.paths"))
        for name, files in parameters.against.items()
    }
    # Seconds for a dozen benchmarks: built once, here, and read from a file by every worker.
    index = build_index(benchmarks, parameters)
    with context.exchange.create(INDEX_FILE) as path:
        path.write_bytes(pickle.dumps(index, pickle.HIGHEST_PROTOCOL))
    search = Search(context.exchange.path(INDEX_FILE), parameters.passage_margin)
    items = {Path(part.name).stem: part for part in text_parts(context, ("text", "prompt"))}
    results = context.map(functools.partial(decontaminate_part, search), items)
    return Outcome(_statistics(index, list(results.values())), ledger_of(results))


@functools.lru_cache(maxsize=1)
def read_index(path: Path) -> ItemIndex:
    """The index, read once per process."""
    index: ItemIndex = pickle.loads(path.read_bytes())
    return index


def decontaminate_part(search: Search, part: AlignedPart, shard: Shard) -> dict[str, Any]:
    """Annotate one part, and return counts besides the annotation's own result.

    `documents`: the number of documents that contain an item, by benchmark ("" for any);
    `items`: documents by item; `passages`: passages to remove.
    """
    index = read_index(search.index)
    documents: Counter[str] = Counter()
    items: Counter[int] = Counter()
    totals: Counter[str] = Counter()

    def annotate_table(table: pa.Table) -> pa.Table:
        texts, prompts = table["text"].to_pylist(), table["prompt"].to_pylist()
        hits_of = index.grams.find(
            [record(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        )
        rows = [row for row, hits in enumerate(hits_of) if hits]
        earlier: dict[int, list[edits.Edit]] = {row: [] for row in rows}
        if edits.COLUMN in table.column_names and rows:
            earlier = dict(
                zip(rows, edits.rows_of(table[edits.COLUMN].take(pa.array(rows))), strict=True)
            )
        contaminated: list[list[dict[str, Any]]] = [[] for _ in texts]
        taken: list[list[edits.Edit]] = [[] for _ in texts]
        shares = [0.0] * len(texts)
        for row in rows:
            hits = hits_of[row]
            choices = [index.items[hit.owner].choices for hit in hits]
            alignment = edits.Alignment(earlier[row])
            placed = PlacedHits(prompts[row], texts[row], hits, choices, search.margin, alignment)
            contaminated[row] = [
                {
                    "benchmark": (item := index.items[hit.owner]).benchmark,
                    "item": item.id,
                    "overlap": hit.text[:OVERLAP_CHARACTERS],
                    "words": hit.words,
                    **placed.first_run(number),
                }
                for number, hit in enumerate(hits)
            ]
            taken[row], shares[row] = placed.edits, placed.share
            items.update(hit.owner for hit in hits)
            documents.update({entry["benchmark"] for entry in contaminated[row]} | {""})
            totals.update(passages=len(taken[row]))
        return pa.table(
            [
                pa.array(contaminated, CONTAMINATED),
                edits.column_of(taken),
                pa.array(shares, pa.float64()),
            ],
            schema=SCHEMA,
        )

    result = annotate_part(annotate_table, part, shard)
    return {
        **result,
        "documents": documents,
        "items": {str(owner): count for owner, count in sorted(items.items())},
        "passages": totals["passages"],
    }


class PlacedHits:
    """A contaminated document's hits as characters of its text, and the passages to remove.

    `text` is the text after the edits of `alignment`, `choices` the choices of each hit's item.
    Spans in the prompt have negative positions.
    """

    def __init__(
        self,
        prompt: str,
        text: str,
        hits: Sequence[Hit],
        choices: Sequence[Sequence[str]],
        margin: int,
        alignment: edits.Alignment,
    ) -> None:
        searched = record(prompt, text)
        starts, ends = (column - (len(searched) - len(text)) for column in word_spans(searched))
        self._spans = [
            [(int(starts[first]), int(ends[end - 1])) for first, end in hit.runs] for hit in hits
        ]
        self._alignment = alignment
        marked = [
            span
            for spans, item_choices in zip(self._spans, choices, strict=True)
            for span in _with_choices(text, spans, item_choices)
        ]
        removed = passages(text, marked, margin)
        prompted = any(start < 0 for spans in self._spans for start, _ in spans)
        self.share = 1.0 if prompted else sum(edit.end - edit.start for edit in removed) / len(text)
        self.edits: list[edits.Edit] = []
        for edit in removed:
            start, end = alignment.span(edit.start, edit.end)
            self.edits.append(edit._replace(start=start, end=end))

    def first_run(self, hit: int) -> dict[str, int | None]:
        """Where the first run of a hit is in the ingest text; nulls if it is in the prompt."""
        start, end = self._spans[hit][0]
        if start < 0:
            return {"start": None, "end": None}
        return dict(zip(("start", "end"), self._alignment.span(start, end), strict=True))


def _with_choices(
    text: str, spans: Sequence[tuple[int, int]], choices: Sequence[str]
) -> Iterator[tuple[int, int]]:
    """An item's spans in the text (not the prompt), each extended over the choices after it."""
    hashes = word_hashes(choices)
    reach = CHOICES_WITHIN + 2 * sum(map(len, choices))
    for start, end in spans:
        if start >= 0:
            yield start, end_of_choices(text, end, hashes, reach) if choices else end


def _statistics(index: ItemIndex, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    documents: Counter[str] = Counter()
    hits: Counter[int] = Counter()
    for result in results:
        documents.update(result["documents"])
        hits.update({int(owner): count for owner, count in result["items"].items()})
    searched = Counter(item.benchmark for item in index.items)
    items_hit = Counter(index.items[owner].benchmark for owner in hits)
    most = sorted(hits.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_HIT_ITEMS]
    return {
        "documents": sum(result["rows"] for result in results),
        "documents_hit": documents[""],
        "passages": sum(result["passages"] for result in results),
        "benchmarks": {
            name: {
                "items": searched[name],
                "items_hit": items_hit[name],
                "items_unmatchable": index.unmatchable[name],
                "documents_hit": documents[name],
            }
            for name in index.unmatchable
        },
        "most_hit": [
            {
                "benchmark": index.items[owner].benchmark,
                "item": index.items[owner].id,
                "documents": count,
            }
            for owner, count in most
        ],
    }
