"""What deduplication needs beyond processor time: its division of work, after `tasks.dedup.run`.

These are the rules of `tasks.dedup.run.Layout` and of docs/dedup.md, in numbers alone, so that a
plan need not import the stage; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_DOCUMENTS = 2**32 - 2
MOST_PARTITIONS = 2**14
PARTITION_RECORDS = 2**20
GROUPING_BYTES = 48
UNION_BYTES = 8
PART_ROW_BYTES = 200
SMALLEST_BATCH, WANTED_BATCHES = 2**14, 16


@dataclass(frozen=True)
class Grouping:
    """`memory`: bytes that `dedup.memory` must have at least. `opens`: how often
    segments are opened for a slice of a partition or batch (for where it is, then for itself), by
    all workers together.
    """

    partitions: int
    batches: int
    memory: float
    opens: float


def needed_memory(
    documents: float, largest_part: float, workers: int, bands: int, rows: int
) -> float:
    """The least `dedup.memory`, bytes."""
    row = bands * (2 * 12 + 3 * 8 * rows) + 100
    records = documents * (bands + 1)
    return max(
        UNION_BYTES * documents,
        workers * row * min(1000, documents),
        workers * PART_ROW_BYTES * largest_part,
        workers * 2 * GROUPING_BYTES * records / MOST_PARTITIONS,
    )


def grouping(
    documents: float,
    parts: int,
    meeting: float,
    memory: float,
    workers: int,
    bands: int,
    rows: int,
    prefer: int,
) -> Grouping:
    """The division of `documents` rows in `parts` parts, `meeting` of which are in groups, by
    `workers` workers with `memory` bytes (raised to what is needed).
    """
    needed = needed_memory(documents, documents / max(parts, 1), workers, bands, rows)
    each = max(memory, needed) / workers
    records = documents * (bands + 1)
    fitting = max(min(each // (2 * GROUPING_BYTES), PARTITION_RECORDS), 1)
    partitions = 1
    while partitions * fitting < records and partitions < MOST_PARTITIONS:
        partitions *= 2
    per_document = 3 * (24 + 8 * prefer + 32) + 120 + 28 * bands
    size = max(1.0, min(max(SMALLEST_BATCH, meeting / WANTED_BATCHES), each / per_document))
    batches = max(1, round(meeting / size))
    # keys by part and partition; candidates and fates by part and batch; groups of texts and groups
    # of bands by partition and batch, and once for the union
    opens = 2 * parts * partitions + 3 * parts * batches + 4 * partitions * (batches + 1)
    return Grouping(partitions, batches, needed, opens)
