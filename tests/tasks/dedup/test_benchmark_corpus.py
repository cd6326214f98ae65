"""The benchmark's corpus is deterministic, and its planted pairs have the stated similarity."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tasks.text.shingles import shingle
from tests.benchmarks.bench_dedup import planted
from tests.benchmarks.dedup_corpus import BLOCK, PLANTED, Corpus, write_jsonl
from tests.tasks.dedup.corpus import jaccard


def sets(texts: list[str]) -> list[np.ndarray]:
    values, offsets = shingle(texts, 5).sets()
    return np.split(values, offsets[1:-1])


def test_planted_pairs_have_the_stated_similarity(tmp_path: Path) -> None:
    texts = Corpus().texts(0)
    assert texts == Corpus().texts(0) and texts != Corpus().texts(1)
    assert 2_300 < np.mean([len(text.encode()) for text in texts]) < 2_700
    pairs = list(planted(BLOCK))
    assert len(pairs) == PLANTED
    for original, copy, similarity in pairs[:30]:
        original_set, copy_set = sets([texts[original], texts[copy]])
        assert abs(jaccard(original_set, copy_set) - similarity) < 1e-9
    rest = texts[2 * PLANTED : 2 * PLANTED + 40]
    first, *others = sets(rest)
    assert max(jaccard(first, copy_set) for copy_set in others) < 0.1
    paths = write_jsonl(tmp_path, 30, 2)
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    assert [line["text"] for line in lines] == texts[:30] and [
        line["id"] for line in lines[:3]
    ] == ["0", "1", "2"]
