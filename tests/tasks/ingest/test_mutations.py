"""Damaged inputs of every format raise nothing, and every record of them is counted.

`make fuzz` reads 10,000 with real pages; here is a slice of them.
"""

import tracemalloc
from pathlib import Path

import pytest

from tests.tasks.ingest.archives import page
from tests.tasks.ingest.mutations import MAX_PAGE_BYTES, ingested, mutated

INPUTS = 420
STEP = 60


@pytest.mark.parametrize("first", range(0, INPUTS, STEP))
def test_damage_raises_nothing_and_counts_add_up(tmp_path: Path, first: int) -> None:
    results = [
        ingested(mutated(number, (page(1),)), tmp_path) for number in range(first, first + STEP)
    ]
    assert all(result == {} or result["ledger"]["rows"] for result in results)
    assert any(result.get("statistics", {}).get("documents") for result in results)


def test_memory_stays_at_a_few_pages(tmp_path: Path) -> None:
    for number in range(7):
        ingested(mutated(number, (page(1),)), tmp_path)  # imports
    tracemalloc.start()
    for number in range(7, 77):
        ingested(mutated(number, (page(1),)), tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * MAX_PAGE_BYTES


def test_inputs_are_the_same_each_time() -> None:
    assert [mutated(number, (page(1),)) for number in range(14)] == [
        mutated(number, (page(1),)) for number in range(14)
    ]
