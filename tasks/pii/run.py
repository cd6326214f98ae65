"""Runs stage pii: finds what is to be masked in every part, and writes edits."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.context import Context
from infra.ledger import UNDETERMINED, Ledger
from infra.stage import Outcome
from infra.store import Shard
from tasks.documents import edits
from tasks.documents.annotate import AlignedPart, count_edited, ledger_of, text_parts, through_edits
from tasks.documents.hashes import parquet_options
from tasks.documents.records import PROMPT, record_bytes
from tasks.pii.find import Match, find
from tasks.pii.national import regions_of
from tasks.pii.stage import BY_LANGUAGE, PiiParameters, PiiReplacements

SCHEMA = pa.schema([(edits.COLUMN, edits.EDITS)])
REASON = "pii."


def run(context: Context) -> Outcome:
    """See `tasks.pii.stage`."""
    parameters: PiiParameters = context.parameters
    items = {
        Path(part.name).stem: part
        for part in text_parts(context, ("text", PROMPT), {"langid": ("language",)})
    }
    results = context.map(functools.partial(mask_part, parameters), items)
    return Outcome(statistics(parameters, results), ledger_of(results))


def mask_part(parameters: PiiParameters, part: AlignedPart, shard: Shard) -> dict[str, Any]:
    """Write one part's edits; returns its ledger and counts.

    `masked`: "LANGUAGE kind" -> [values, documents]; `in_prompts`: kind -> values left in prompts.
    """
    ledger = Ledger()
    values: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    prompts: Counter[str] = Counter()
    totals: Counter[str] = Counter(documents=0, documents_masked=0)
    with (
        shard.create(part.name) as path,
        pq.ParquetWriter(path, SCHEMA, **parquet_options(SCHEMA)) as writer,
    ):
        for plain in part.tables():
            table, taken_before = through_edits(plain)
            languages = _languages(table)
            regions = [_regions(parameters, language) for language in languages]
            matches = [
                find(text, parameters.kinds, known)
                for text, known in zip(table["text"].to_pylist(), regions, strict=True)
            ]
            for prompt, known in zip(table[PROMPT].to_pylist(), regions, strict=True):
                if prompt:
                    found = find(prompt, parameters.kinds, known)
                    prompts.update(match.kind for match in found)
            masks = [masked(one, parameters.replacements) for one in matches]
            for language, row in zip(languages, masks, strict=True):
                kinds = Counter(edit.reason.removeprefix(REASON) for edit in row)
                values.update({f"{language} {kind}": count for kind, count in kinds.items()})
                documents.update(f"{language} {kind}" for kind in kinds)
            totals.update(documents=len(masks), documents_masked=sum(map(bool, masks)))
            _write(writer, table, masks)
            _count(ledger, part.source, table, masks, taken_before)
    return {
        "ledger": ledger.to_json(),
        "totals": dict(totals),
        "masked": {key: [values[key], documents[key]] for key in sorted(values)},
        "in_prompts": dict(prompts),
    }


def masked(matches: list[Match], replacements: PiiReplacements) -> list[edits.Edit]:
    """Edits of one document's matches; those that already are a replacement stay as they are."""
    lists = {
        "email": replacements.email,
        "ip": replacements.ip,
        "ipv6": replacements.ipv6,
        "phone": replacements.phone,
    }
    given: dict[str, dict[str, str]] = {name: {} for name in lists}
    found = []
    for match in matches:
        name = "ipv6" if match.ipv6 else match.kind
        choices, known = lists[name], given[name]
        if match.value in choices:
            continue
        replacement = known.setdefault(match.value, choices[len(known) % len(choices)])
        found.append(edits.Edit(match.start, match.end, replacement, f"{REASON}{match.kind}"))
    return found


def _regions(parameters: PiiParameters, language: str) -> tuple[str, ...]:
    """The regions whose numbers are looked for without a country code."""
    if parameters.phone_regions == BY_LANGUAGE:
        return regions_of(language)
    return tuple(parameters.phone_regions)


def _languages(table: pa.Table) -> list[str]:
    if "language" not in table.column_names:
        return [UNDETERMINED] * table.num_rows
    return [language or UNDETERMINED for language in table["language"].to_pylist()]


def _write(writer: pq.ParquetWriter, table: pa.Table, masks: list[list[edits.Edit]]) -> None:
    """Write the edits, found in the text after earlier edits, as spans of the ingest text."""
    if edits.COLUMN in table.column_names:
        rows = [row for row, edited in enumerate(masks) if edited]
        earlier = edits.rows_of(table[edits.COLUMN].take(pa.array(rows, pa.int64())))
        masks = list(masks)
        for row, before in zip(rows, earlier, strict=True):
            place = edits.Alignment(before)
            masks[row] = [
                edit._replace(start=start, end=end)
                for edit in masks[row]
                for start, end in [place.span(edit.start, edit.end)]
            ]
    writer.write_table(pa.table([edits.column_of(masks)], schema=SCHEMA))


def _count(
    ledger: Ledger,
    source: str,
    table: pa.Table,
    masks: list[list[edits.Edit]],
    taken_before: pa.Table,
) -> None:
    """Count the documents as kept with their bytes after all edits, and the bytes by reason."""
    rows = [row for row, edited in enumerate(masks) if edited]
    texts = table["text"].take(pa.array(rows, pa.int64())).to_pylist()
    counted = [
        (row, reason, size)
        for row, text in zip(rows, texts, strict=True)
        for reason, size in sorted(edits.bytes_taken(text, masks[row]).items())
    ]
    taken = pa.table(
        [
            pa.array([entry[index] for entry in counted], field.type)
            for index, field in enumerate(taken_before.schema)
        ],
        schema=taken_before.schema,
    )
    shorter = np.zeros(table.num_rows, np.int64)
    for row, _, size in counted:
        shorter[row] += size
    language = (
        table["language"]
        if "language" in table.column_names
        else pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    )
    sizes = pc.subtract(record_bytes(table), pa.array(shorter))
    count_edited(ledger, source, language, sizes, pa.concat_tables([taken_before, taken]))


def statistics(
    parameters: PiiParameters, results: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Documents, how many have a mask, and language -> kind -> values and documents."""
    totals: Counter[str] = Counter()
    prompts: Counter[str] = Counter()
    counts: Counter[tuple[str, str, str]] = Counter()
    for result in results.values():
        totals.update(result["totals"])
        prompts.update(result["in_prompts"])
        for key, (values, documents) in result["masked"].items():
            language, _, kind = key.rpartition(" ")
            counts[language, kind, "values"] += values
            counts[language, kind, "documents"] += documents
    masked_by_language: dict[str, dict[str, dict[str, int]]] = {}
    for (language, kind, unit), count in sorted(counts.items()):
        masked_by_language.setdefault(language, {}).setdefault(kind, {})[unit] = count
    return {
        "kinds": list(parameters.kinds),
        "documents": totals["documents"],
        "documents_masked": totals["documents_masked"],
        "masked": masked_by_language,
        "in_prompts": {kind: prompts[kind] for kind in parameters.kinds},
    }
