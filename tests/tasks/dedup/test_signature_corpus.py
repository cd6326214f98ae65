"""The generated signatures of tests/benchmarks/signature_corpus.py are what they say they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.dedup.stage import STAGE as DEDUP
from tasks.dedup.stage import DedupParameters
from tests.benchmarks.dedup_corpus import BLOCK, PLANTED
from tests.benchmarks.signature_corpus import (
    BANDS,
    MOST,
    ROWS,
    CorpusParameters,
    SigningParameters,
    copies,
    hashes,
    parts,
    similarity,
    stages,
)
from tests.stage_harness import run_stage


def test_copies_share_as_many_shingles_as_is_said_and_others_none() -> None:
    edits = copies(0, BLOCK)
    found = hashes(0, edits)
    assert int((edits >= 0).sum()) == PLANTED
    sets = [set(row.tolist()) for row in found.sets]
    for number in range(0, 2 * PLANTED, 2):
        one, other = sets[number], sets[number + 1]
        share = len(one & other) / len(one | other)
        assert share == pytest.approx(similarity(edits[number + 1 : number + 2])[0])
        equal = (found.texts[number] == found.texts[number + 1]).all()
        assert equal == (edits[number + 1] == 0)
    assert not sets[0] & sets[2] and not sets[1] & sets[2 * PLANTED + 1]
    assert all((np.diff(row.astype(np.int64)) > 0).all() for row in found.sets)


def test_bands_agree_with_the_probability_of_a_pairs_similarity() -> None:
    edits = np.concatenate([copies(BLOCK * block, BLOCK) for block in range(20)])
    found = hashes(0, edits)
    bands = found.signatures.reshape(-1, BANDS, ROWS)
    agree = (bands[1:] == bands[:-1]).all(axis=2)[edits[1:] >= 0]
    expected = similarity(edits[edits >= 0]) ** ROWS
    assert abs(agree.mean() - expected.mean()) < 0.01
    assert not (bands[1:] == bands[:-1]).all(axis=2)[edits[1:] < 0].any()


def test_dedup_removes_the_similar_pairs_that_meet(tmp_path: Path) -> None:
    documents = 2 * BLOCK
    ingest, signatures, cut = stages()
    corpus = CorpusParameters(documents=documents)
    given = {
        "documents": run_stage(ingest, corpus, {}, "web", tmp_path=tmp_path),
        "signatures": run_stage(
            signatures, SigningParameters(documents=documents), {}, "web", tmp_path=tmp_path
        ),
        "cut": run_stage(cut, corpus, {}, "main", tmp_path=tmp_path),
    }
    made = run_stage(DEDUP, DedupParameters(prefer=("length",)), given, tmp_path=tmp_path)
    edits = copies(0, documents)
    exact = int((edits == 0).sum())
    found = hashes(0, edits[:BLOCK]).signatures, hashes(BLOCK, edits[BLOCK:]).signatures
    bands = np.concatenate(found).reshape(-1, BANDS, ROWS)
    meet = np.concatenate(([False], (bands[1:] == bands[:-1]).all(axis=2).any(axis=1)))
    near = int((meet & (edits > 0) & (similarity(np.maximum(edits, 0)) >= 0.8)).sum())
    assert made.statistics["exact"] == exact
    assert abs(made.statistics["near"] - near) < 0.05 * near  # drawn by row groups, not blocks
    assert made.statistics["clusters"] == made.statistics["exact"] + made.statistics["near"]


def test_more_documents_than_hashes_are_refused() -> None:
    assert len(parts(100_001)) == 3
    with pytest.raises(ValueError, match="distinct"):
        parts(MOST + 1)
