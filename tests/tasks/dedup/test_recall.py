"""Precision and recall against true Jaccard similarities, compared with the LSH curve."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tasks.dedup.stage import STAGE, DedupParameters
from tasks.signatures.stage import SignaturesParameters
from tasks.text.lsh import probability
from tasks.text.shingles import normalise, words
from tests.stage_harness import run_stage
from tests.tasks.dedup.corpus import dedup_inputs, document, edited, outcomes, prose
from tests.tasks.dedup.oracle import unjustified

OPEN = {"largest_cluster": None, "removal_rate": None, "saturated_band": None}


def shingles(text: str, size: int = 5) -> set[str]:
    """Shingles as strings rather than hashes."""
    listed = words(normalise(text))
    return {
        "\0".join(listed[start : start + size]) for start in range(max(1, len(listed) - size + 1))
    }


def similar_pairs(texts: Mapping[str, str]) -> dict[tuple[str, str], float]:
    """All pairs of ids with a common shingle -> their true Jaccard similarity."""
    sets = {id: shingles(text) for id, text in texts.items()}
    holders: dict[str, list[str]] = defaultdict(list)
    for id, set_ in sorted(sets.items()):
        for shingle in set_:
            holders[shingle].append(id)
    common = Counter(pair for ids in holders.values() for pair in combinations(ids, 2))
    return {
        pair: count / (len(sets[pair[0]]) + len(sets[pair[1]]) - count)
        for pair, count in common.items()
    }


def removed(
    rows: Sequence[dict[str, Any]],
    tmp_path: Path,
    verify: float,
    bands: int = 14,
    band_rows: int = 8,
) -> dict[str, str]:
    """Id of a removed document -> id of the kept one; all of them justified."""
    inputs = dedup_inputs(
        {"web": rows}, tmp_path, signatures=SignaturesParameters(bands=bands, rows=band_rows)
    )
    parameters = DedupParameters(prefer=(), verify=verify, bands=bands, rows=band_rows, gates=OPEN)
    artifact = run_stage(STAGE, parameters, inputs, tmp_path=tmp_path)
    assert unjustified(artifact, inputs, verify) == []
    return {
        id: row["duplicate_of"]
        for id, row in outcomes(artifact, inputs).items()
        if row["duplicate_of"]
    }


@pytest.mark.parametrize(("verify", "bands", "rows"), [(0.8, 14, 8), (0.6, 14, 8), (0.6, 30, 5)])
def test_recall_on_known_edits_follows_the_curve_and_precision_is_one(
    tmp_path: Path,
    verify: float,
    bands: int,
    rows: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Pairs of a text and its edited copy; pairs below the threshold that share a band."""
    rng = random.Random(21)
    given = []
    for number in range(600):
        original = prose(rng, 150)
        copy = edited(rng, original, rng.choice([1, 2, 3, 4, 5, 6, 8]))
        given += [
            document(" ".join(original), id=f"{number:03d}a"),
            document(" ".join(copy), id=f"{number:03d}b"),
        ]
    true = similar_pairs({row["id"]: row["text"] for row in given})
    pairs = {(head, id) for id, head in removed(given, tmp_path, verify, bands, rows).items()}
    wanted = {pair: similarity for pair, similarity in true.items() if similarity >= verify}
    assert pairs <= set(wanted)  # precision 1
    chances = [probability(similarity, bands, rows) for similarity in wanted.values()]
    expected, deviation = sum(chances), sum(chance * (1 - chance) for chance in chances) ** 0.5
    assert abs(len(pairs) - expected) <= 4 * deviation + 1
    assert len(wanted) > 200
    record_property("pairs", f"{len(pairs)} of {len(wanted)} found, {expected:.1f} expected")


@pytest.mark.real
@pytest.mark.parametrize("articles", [100, 1000])
def test_every_pair_of_real_articles_above_the_threshold_is_found(
    tmp_path: Path, real_data: Path, articles: int
) -> None:
    file = real_data / "dedup" / "mccormick-minhash" / f"articles_{articles}.train"
    texts = {
        name: text
        for name, _, text in (line.partition(" ") for line in file.read_text("utf-8").splitlines())
    }
    rows = [document(text, "web", name) for name, text in texts.items()]
    true = similar_pairs(texts)
    planted = {
        tuple(sorted(line.split())) for line in file.with_suffix(".truth").read_text().splitlines()
    }
    assert {pair for pair, similarity in true.items() if similarity >= 0.8} == planted
    assert {tuple(sorted(pair)) for pair in removed(rows, tmp_path, 0.8).items()} == planted
