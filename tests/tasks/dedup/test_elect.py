"""Election against a brute-force reading of its definition; chains, copies, hot buckets."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dedup.elect import Election, Ranks, band_keys, bucket, elect, first_copies
from tasks.dedup.similar import ShingleSets, first_similar
from tasks.signatures.minhash import coefficients, minhash
from tasks.text.shingles import jaccard, shingle
from tests.tasks.dedup.corpus import edited, prose


class Documents:
    """Texts in order of preference, as arrays."""

    def __init__(self, texts: list[str], bands: int = 14, rows: int = 8, words: int = 5) -> None:
        batch = shingle(texts, words)
        a, b = coefficients(bands * rows, seed=1)
        self.hashes = np.frombuffer(b"".join(batch.text_hashes(texts)), np.uint64).reshape(-1, 2)
        self.keys = band_keys(minhash(batch.hashes, batch.offsets, a, b), bands, rows)
        self.shingled = np.diff(batch.offsets) > 0
        self.sets = batch.sets()
        self.loaded = 0

    def load(self, ranks: Ranks) -> ShingleSets:
        self.loaded = len(ranks)
        sizes = np.zeros(len(self.sets), np.int64)
        sizes[ranks] = [len(self.sets[rank]) for rank in ranks]
        values = [np.empty(0, np.uint64)] + [self.sets[rank] for rank in np.sort(ranks)]
        return ShingleSets(np.concatenate(values), np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)

    def elect(self, verify: float) -> Election:
        return elect(self.hashes, self.keys, self.shingled, verify, self.load)

    def brute(self, verify: float) -> tuple[list[int], list[float]]:
        """The definition, pair by pair."""
        elected: list[int] = []
        representative, similarity = [], []
        for rank in range(len(self.hashes)):
            for other in elected:
                copy = (self.hashes[rank] == self.hashes[other]).all()
                candidate = self.shingled[rank] and self.shingled[other] and (self.keys[rank] == self.keys[other]).any()
                value = jaccard(self.sets[rank], self.sets[other])
                if copy or (candidate and value >= verify):
                    representative.append(other)
                    similarity.append(1.0 if copy else value)
                    break
            else:
                elected.append(rank)
                representative.append(rank)
                similarity.append(1.0)
        return representative, similarity


WORDS = st.lists(st.sampled_from("abc"), max_size=9).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, max_size=25), st.sampled_from([0.3, 0.5, 2 / 3, 0.8, 1.0]), st.integers(1, 3), st.integers(1, 4))
def test_elects_what_brute_force_elects(texts: list[str], verify: float, rows: int, words: int) -> None:
    documents = Documents(texts, bands=4, rows=rows, words=words)
    found = documents.elect(verify)
    representative, similarity = documents.brute(verify)
    assert found.representative.tolist() == representative
    assert found.similarity.tolist() == np.array(similarity, np.float32).tolist()


def test_elects_what_brute_force_elects_on_long_edited_texts() -> None:
    rng = random.Random(3)
    base = [prose(rng, 120) for _ in range(8)]
    texts = [" ".join(edited(rng, rng.choice(base), rng.randint(0, 12))) for _ in range(200)]
    documents = Documents(texts)
    for verify in (0.5, 0.8):
        found = documents.elect(verify)
        assert found.representative.tolist() == documents.brute(verify)[0]
        gone = np.flatnonzero(found.representative != np.arange(200))
        assert all(jaccard(documents.sets[r], documents.sets[found.representative[r]]) >= verify for r in gone)
        assert (found.representative[found.representative] == found.representative).all()


def test_a_chain_does_not_collapse() -> None:
    """A~B~C~...: each link is similar enough, the ends have nothing in common."""
    rng = random.Random(4)
    words = prose(rng, 5000)
    texts = [" ".join(words[start : start + 400]) for start in range(0, 1200, 30)]
    documents = Documents(texts)
    links = [jaccard(one, two) for one, two in zip(documents.sets, documents.sets[1:], strict=False)]
    assert min(links) > 0.8
    assert jaccard(documents.sets[0], documents.sets[-1]) == 0
    found = documents.elect(0.8)
    kept = np.flatnonzero(found.representative == np.arange(len(texts)))
    assert len(kept) >= len(texts) / 3
    assert all(
        jaccard(documents.sets[rank], documents.sets[head]) >= 0.8 for rank, head in enumerate(found.representative)
    )


def test_unrelated_documents_with_shared_boilerplate_survive() -> None:
    """marin lost whole sources to template text: band hits are not similarity."""
    rng = random.Random(5)
    template = prose(rng, 250)
    texts = [" ".join([*template, *prose(rng, 150)]) for _ in range(1_000)]
    found = Documents(texts).elect(0.8)
    assert found.largest_bucket > 20
    assert (found.representative == np.arange(1_000)).all()


def test_ten_thousand_copies_cost_a_sort() -> None:
    documents = Documents(["the very same text again and again"] * 10_000)
    started = time.perf_counter()
    found = documents.elect(0.8)
    assert time.perf_counter() - started < 1.0
    assert (found.representative == 0).all()
    assert (documents.loaded, found.compared, found.largest_bucket) == (0, 0, 0)


def test_ten_thousand_near_copies_cost_one_comparison_each() -> None:
    rng = random.Random(6)
    words = prose(rng, 300)
    documents = Documents([" ".join([*words, f"visit {number}"]) for number in range(10_000)])
    started = time.perf_counter()
    found = documents.elect(0.8)
    assert time.perf_counter() - started < 10.0
    assert (found.representative == 0).all()
    assert found.compared == 9_999


def test_copies_of_a_removed_document_stand_behind_the_one_that_stays() -> None:
    rng = random.Random(7)
    words = prose(rng, 200)
    near = " ".join([*words, "more"])
    found = Documents([" ".join(words), near, near.upper(), "other", "Other!"]).elect(0.8)
    assert found.representative.tolist() == [0, 0, 0, 3, 3]
    assert 0.8 <= found.similarity[1] == found.similarity[2] < 1
    assert found.similarity[4] == 1


def test_texts_without_words_go_only_as_copies() -> None:
    found = Documents(["", "...", "", "?!", "👍", "..."]).elect(0.8)
    assert found.representative.tolist() == [0, 1, 0, 3, 4, 1]


def test_no_documents() -> None:
    found = Documents([]).elect(0.8)
    assert len(found.representative) == 0 and found.candidates == 0


def test_band_keys_differ_where_any_row_does() -> None:
    signatures = np.random.default_rng(0).integers(0, 2**64, (500, 6), dtype=np.uint64)
    signatures[1] = signatures[0]
    signatures[1, 5] += np.uint64(1)
    keys = band_keys(signatures, 2, 3)
    assert keys[0, 0] == keys[1, 0] and keys[0, 1] != keys[1, 1]
    assert len(np.unique(keys)) == 999
    swapped = band_keys(signatures[:, [1, 0, 2, 3, 4, 5]], 2, 3)
    assert (swapped[:, 0] != keys[:, 0]).all()


def test_buckets_hold_all_pairs_that_share_a_key_and_no_others() -> None:
    rng = np.random.default_rng(1)
    keys = rng.integers(0, 30, (60, 3)).astype(np.uint64)
    ranks = np.flatnonzero(rng.random(60) < 0.7)
    found = bucket(keys, ranks)
    of = {rank: set(found.buckets[found.starts[i] : found.starts[i + 1]]) for i, rank in enumerate(found.members)}
    for one in ranks:
        for two in ranks[ranks > one]:
            assert bool(of.get(one, set()) & of.get(two, set())) == bool((keys[one] == keys[two]).any())


def test_first_copies() -> None:
    hashes = np.array([[1, 2], [2, 1], [1, 2], [1, 1], [2, 1]], np.uint64)
    assert first_copies(hashes).tolist() == [0, 1, 0, 3, 1]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 15), min_size=1), min_size=2, max_size=6),
    st.fractions(min_value="1/20", max_value=1, max_denominator=20),
)
def test_first_similar_takes_the_exact_threshold(sets: list[set[int]], threshold: object) -> None:
    verify = float(threshold)  # type: ignore[arg-type]
    arrays = [np.array(sorted(values), np.uint64) for values in sets]
    sizes = np.array([len(values) for values in arrays])
    loaded = ShingleSets(np.concatenate(arrays), np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
    values = [jaccard(arrays[0], other) for other in arrays[1:]]
    expected = next(((at, value) for at, value in enumerate(values) if value >= verify), (-1, 0.0))
    assert first_similar(loaded, 0, np.arange(1, len(sets)), verify) == pytest.approx(expected, abs=0)
