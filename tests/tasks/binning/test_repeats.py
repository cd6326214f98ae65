"""Repeats drawn by a curve: copies in the bins, passes over a document, and `max_epochs` agree."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from infra.stage import StageError
from tasks.binning.token_store import bin_of, bins_of
from tasks.documents.bins import most_repeated
from tasks.documents.rows import Rows
from tasks.training.planning.ramps import mixture_ramps
from tasks.training.planning.sampler import DataExhausted, Sampler
from tests.tasks.binning.inputs import line, train
from tests.tasks.binning.test_binning import bins, build, texts

REPEATS = (1, 2, 4, 7)


def repeated(number: int, text: str, repeats: Any) -> str:
    return json.dumps({**json.loads(line(number, text)), "repeats": repeats}) + "\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    given = texts(200)
    lines = [repeated(n, text, REPEATS[n % 4]) for n, text in enumerate(given)]
    return build(
        tmp_path_factory.mktemp("repeats"), train(given), {"web/part-00000.jsonl": "".join(lines)}
    )


def test_copies_lie_as_far_apart_as_the_bins_allow() -> None:
    assert bins_of("x", 10, 1) == [bin_of("x", 10)]
    first = bin_of("x", 10)
    assert bins_of("x", 10, 4) == [(first + step) % 10 for step in (0, 2, 5, 7)]
    assert sorted(Counter(bins_of("x", 3, 7)).values()) == [2, 2, 3]


def test_an_epoch_reads_every_document_as_often_as_stated_and_each_token_of_it(made: Any) -> None:
    folders = bins(made)
    rows = Rows(folders)
    sampler = Sampler(
        {"web": rows.lengths},
        mixture_ramps({"web": "rest"}, 64 * len(rows)),
        sequence_length=64,
        seed=3,
        max_epochs=7,
        repeats={"web": most_repeated(made.statistics)},
    )
    read: Counter[str] = Counter()
    began: Counter[str] = Counter()
    for row in sampler.draw(len(rows)):
        for span in rows.provenance(row.number):
            read[span.id] += span.length
            began[span.id] += span.offset == 0
    assert began == {f"{n:032x}": REPEATS[n % 4] for n in range(200)}
    assert all(read[id_] % began[id_] == 0 for id_ in read)
    assert sampler.epochs == {"web": 1.0}
    assert sampler.readings == {"web": 7.0}
    with pytest.raises(
        DataExhausted, match=r"are there 7 times are read 7\.0\d times.*max_epochs is 7"
    ):
        sampler.draw(1)


def test_statistics_count_documents_once_and_copies_apart(made: Any) -> None:
    statistics = made.statistics
    assert statistics["documents"] == 200 == made.ledger.documents("kept")
    assert statistics["copies"] == 50 * sum(REPEATS)
    assert statistics["copies"] == sum(bin_["documents"] for bin_ in statistics["bins"])
    assert statistics["repeats"] == {"1": 50, "2": 50, "4": 50, "7": 50}
    assert most_repeated(statistics) == 7 and most_repeated({}) == 1


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", True])
def test_a_wrong_number_of_repeats_is_refused(tmp_path: Path, wrong: Any) -> None:
    files = {"web/part-00000.jsonl": repeated(1, "pasture", wrong)}
    with pytest.raises(StageError, match="repeats is"):
        build(tmp_path, train(["pasture"]), files)
