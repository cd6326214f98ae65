"""Write, beside every document, the benchmark items it contains and the words that show it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.context import Context
from infra.stage import Outcome
from infra.store import Shard
from tasks.benchmarks.read import read_items
from tasks.decontaminate.grams import ItemIndex, build_index
from tasks.decontaminate.stage import DecontaminateParameters
from tasks.documents.annotate import Part, annotate_part, ledger_of, parts

OVERLAP_CHARACTERS = 200
"""How much of a run of common words is written down."""

MOST_HIT_ITEMS = 20

CONTAMINATED = pa.schema(
    [
        (
            "contaminated",
            pa.list_(pa.struct([("benchmark", pa.string()), ("item", pa.string()), ("overlap", pa.string())])),
        )
    ]
)
"""Per document: every item found in it, in the order of the recipe's benchmarks and their files; empty for none."""


@dataclass(frozen=True)
class Search:
    """What to look for: parameters (as JSON, to be hashable) and each benchmark's local files."""

    parameters: str
    files: tuple[tuple[str, tuple[str, ...]], ...]


def run(context: Context) -> Outcome:
    """Inputs: documents. Pins: `against.<benchmark>.paths`. Writes `contaminated`, row-aligned."""
    parameters: DecontaminateParameters = context.parameters
    search = Search(
        parameters.model_dump_json(),
        tuple(
            (name, tuple(pin.path for pin in context.pins.get(f"against.{name}.paths", ())))
            for name in parameters.against
        ),
    )
    index = item_index(search)  # before any worker starts, so that an unreadable benchmark fails at once
    items = {Path(part.name).stem: part for part in parts(context.input("documents"), ("text", "prompt"), {})}
    results = context.map(functools.partial(decontaminate_part, search), items)
    return Outcome(_statistics(index, list(results.values())), ledger_of(results))


@functools.lru_cache(maxsize=1)
def item_index(search: Search) -> ItemIndex:
    """The index, built once per process."""
    parameters = DecontaminateParameters.model_validate_json(search.parameters)
    benchmarks = {
        name: read_items(name, parameters.against[name], [Path(path) for path in paths]) for name, paths in search.files
    }
    return build_index(benchmarks, parameters)


def decontaminate_part(search: Search, part: Part, shard: Shard) -> dict[str, Any]:
    """Annotate one part; also returns how many documents each benchmark and each item was found in."""
    index = item_index(search)
    documents: Counter[str] = Counter()
    items: Counter[int] = Counter()

    def annotate_table(table: pa.Table) -> pa.Table:
        texts = [
            f"{prompt}\n{text}" if prompt else text
            for prompt, text in zip(table["prompt"].to_pylist(), table["text"].to_pylist(), strict=True)
        ]
        rows: list[list[dict[str, str]]] = []
        for hits in index.grams.find(texts):
            found = [index.items[hit.owner] for hit in hits]
            items.update(hit.owner for hit in hits)
            documents.update({item.benchmark for item in found} | ({""} if found else set()))
            rows.append(
                [
                    {"benchmark": item.benchmark, "item": item.id, "overlap": hit.text[:OVERLAP_CHARACTERS]}
                    for item, hit in zip(found, hits, strict=True)
                ]
            )
        return pa.table({"contaminated": pa.array(rows, CONTAMINATED.field("contaminated").type)})

    result = annotate_part(annotate_table, part, shard)
    return {**result, "documents": documents, "items": {str(owner): count for owner, count in sorted(items.items())}}


def _statistics(index: ItemIndex, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    documents: Counter[str] = Counter()
    hits: Counter[int] = Counter()
    for result in results:
        documents.update(result["documents"])
        hits.update({int(owner): count for owner, count in result["items"].items()})
    asked = Counter(item.benchmark for item in index.items)
    found = Counter(index.items[owner].benchmark for owner in hits)
    most = sorted(hits.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_HIT_ITEMS]
    return {
        "documents": sum(result["rows"] for result in results),
        "documents_hit": documents[""],
        "benchmarks": {
            name: {
                "items": asked[name],
                "items_hit": found[name],
                "items_unmatchable": index.unmatchable[name],
                "documents_hit": documents[name],
            }
            for name in index.unmatchable
        },
        "most_hit": [
            {"benchmark": index.items[owner].benchmark, "item": index.items[owner].id, "documents": count}
            for owner, count in most
        ],
    }
