"""Election compared with brute force by its definition; chains, copies, hot groups."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.stage import StageError
from tasks.dedup import elect as election
from tasks.dedup import prefixes
from tasks.dedup.batch import by_document, first_copies, memberships
from tasks.dedup.elect import Candidates, elect
from tasks.dedup.keys import GROUP_RECORD, band_keys, groups_of, text_keys
from tasks.dedup.similarity import Sets, fill_bitmap, within
from tests.tasks.dedup.corpus import jaccard

Given = list[set[int]]
ANY = 1 << 62


def candidates(sets: Given, groups: list[set[int]], settled: int = 0) -> Candidates:
    """Documents with given shingle sets and groups (sets of ranks); the first ones settled."""
    values = [np.array(sorted(values), np.uint32) for values in sets]
    sizes = np.array([len(values) for values in sets], np.int64)
    pairs = sorted((rank, number) for number, group in enumerate(groups) for rank in group)
    ranks, numbers = (np.array([pair[column] for pair in pairs], np.int32) for column in (0, 1))
    return Candidates(
        Sets(np.concatenate([np.empty(0, np.uint32), *values]), np.cumsum(sizes) - sizes, sizes),
        *by_document(ranks, numbers, len(sets)),
        np.arange(len(sets)) < settled,
    )


def brute(sets: Given, groups: list[set[int]], verify: float, settled: int = 0) -> list[int]:
    """The definition, applied pair by pair."""
    representative: list[int] = []
    for rank, values in enumerate(sets):
        similar = (
            other
            for other in range(rank)
            if representative[other] == other
            and any(rank in group and other in group for group in groups)
            and jaccard(values, sets[other]) >= verify
        )
        representative.append(rank if rank < settled else next(similar, rank))
    return representative


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 11), min_size=1), min_size=1, max_size=14),
    st.data(),
    st.fractions(min_value="1/20", max_value=1, max_denominator=20),
    st.sampled_from([0, 1, 2, 64]),
)
def test_elects_what_brute_force_elects(
    sets: Given, data: st.DataObject, threshold: object, hot: int
) -> None:
    """Both with groups searched one by one and, beyond `hot`, with the index."""
    verify = float(threshold)  # type: ignore[arg-type]
    ranks = st.integers(0, len(sets) - 1)
    groups = data.draw(st.lists(st.sets(ranks, min_size=1), max_size=5))
    settled = data.draw(st.integers(0, len(sets)))
    expected = brute(sets, groups, verify, settled)
    election_result = elect(candidates(sets, groups, settled), verify, hot=hot)
    assert election_result.representative.tolist() == expected
    values = [
        jaccard(sets[rank], sets[other]) if rank != other else 1.0
        for rank, other in enumerate(expected)
    ]
    assert election_result.similarity.tolist() == np.array(values, np.float32).tolist()


@pytest.mark.parametrize("hot", [3, 64])
def test_elects_what_brute_force_elects_among_larger_sets(
    hot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes over two orders of magnitude, an index that grows, and released pages."""
    monkeypatch.setattr(prefixes, "_FIRST_CAPACITY", 64)
    monkeypatch.setattr(prefixes, "_FIRST_BITMAPS", 2)
    monkeypatch.setattr(election, "TOUCHED_BYTES", 4_000)
    rng = random.Random(1)
    template = [rng.getrandbits(32) for _ in range(200)]
    sets: Given = []
    for _ in range(150):
        if sets and rng.random() < 0.3:
            base = sorted(rng.choice(sets))
            sets.append(
                set(base[: len(base) - rng.randint(0, max(1, len(base) // 4))])
                | {rng.getrandbits(32)}
            )
        else:
            own = {rng.getrandbits(32) for _ in range(rng.choice([3, 30, 60, 300]))}
            sets.append(own | set(rng.sample(template, rng.choice([0, 100, 200]))))
    groups = [set(range(150)), set(range(0, 150, 2)), set(range(100))]
    for verify in (0.3, 0.5, 0.8, 0.95):
        result = elect(candidates(sets, groups), verify, hot=hot)
        assert result.representative.tolist() == brute(sets, groups, verify)
        assert result.indexed > 0 or hot == 64


def test_a_hot_group_of_unrelated_documents_costs_no_comparisons() -> None:
    """Two thirds of every document are one template: similarity 0.5, all in one group."""
    rng = random.Random(2)
    template = {rng.getrandbits(32) for _ in range(250)}
    sets = [
        template | {rng.getrandbits(32) for _ in range(rng.randint(100, 150))} for _ in range(5_000)
    ]
    sets += [set(sorted(sets[number])[:-5]) for number in range(0, 5_000, 50)]
    given_ = candidates(sets, [set(range(len(sets)))])
    result = elect(given_, 0.8)
    assert result.representative.tolist() == [*range(5_000), *range(0, 5_000, 50)]
    assert result.compared < 6_000  # of 13 million pairs
    with pytest.raises(
        StageError,
        match=r"dedup\.memory leaves 1 MB to index documents that share a template",
    ):
        elect(given_, 0.8, memory=1_000_000)


def test_an_index_with_too_many_entries_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The alternative would be to search it only in part."""
    rng = random.Random(9)
    sets = [{rng.getrandbits(32) for _ in range(50)} for _ in range(500)]
    given_ = candidates(sets, [set(range(500))])
    monkeypatch.setattr(prefixes, "_FIRST_CAPACITY", 64)
    entries = 11 * 499  # the first 50 - 40 + 1 of each set that another one is compared with
    monkeypatch.setattr(prefixes, "_MOST_ENTRIES", entries + 50)
    assert elect(given_, 0.8).indexed == 499
    monkeypatch.setattr(prefixes, "_MOST_ENTRIES", entries - 50)
    with pytest.raises(
        StageError,
        match=r"need more than [0-9,]+ index entries, the most there can be; raise dedup\.rows",
    ):
        elect(given_, 0.8)


def test_bitmaps_rule_out_nearly_similar_documents_of_a_hot_group() -> None:
    """Each lacks a random tenth of the template: pairs are 0.44 similar; prefixes do not help."""
    rng = random.Random(8)
    template = [rng.getrandbits(32) for _ in range(210)]
    sets = [
        {*rng.sample(template, 189), *(rng.getrandbits(32) for _ in range(90))}
        for _ in range(1_000)
    ]
    result = elect(candidates(sets, [set(range(1_000))]), 0.5)
    assert (result.representative == np.arange(1_000)).all()
    assert result.compared < 20_000  # of 499,500 pairs


SHINGLES = st.sets(st.integers(0, 2**32 - 1) | st.integers(0, 9), min_size=1, max_size=60)


@given(SHINGLES, SHINGLES, st.sets(st.integers(0, 99), max_size=90), st.sampled_from([1, 2, 64]))
def test_bitmaps_never_rule_out_similar_sets(
    one: set[int], two: set[int], both: set[int], words: int
) -> None:
    left, right = one | both, two | both
    sets = candidates([left, right], []).sets
    sets.values.flags.writeable = False
    bitmaps = np.empty((2, words), np.uint64)
    for rank, bitmap in enumerate(bitmaps):
        fill_bitmap(sets, rank, bitmap)
    differing = sum(int(bits).bit_count() for bits in bitmaps[0] ^ bitmaps[1])
    assert differing <= len(left ^ right)
    assert within(*bitmaps, differing) and not within(*bitmaps, differing - 1)


def test_near_copies_cost_one_comparison_each() -> None:
    rng = random.Random(6)
    words = {rng.getrandbits(32) for _ in range(300)}
    sets = [words | {number} for number in range(10_000)]
    result = elect(candidates(sets, [set(range(10_000)), set(range(5_000))]), 0.8)
    assert (result.representative == 0).all()
    assert result.compared == result.verified == 9_999


def test_no_documents() -> None:
    assert len(elect(candidates([], []), 0.8).representative) == 0


def test_band_keys_differ_where_any_row_or_the_band_does() -> None:
    signatures = np.random.default_rng(0).integers(0, 2**64, (500, 6), dtype=np.uint64)
    signatures[1] = signatures[0]
    signatures[1, 5] += np.uint64(1)
    signatures[2, 3:] = signatures[2, :3]
    keys = band_keys(signatures, 2, 3)
    assert keys[0, 0] == keys[1, 0] and keys[0, 1] != keys[1, 1] and keys[2, 0] != keys[2, 1]
    assert len(np.unique(keys)) == 999
    swapped = band_keys(signatures[:, [1, 0, 2, 3, 4, 5]], 2, 3)
    assert (swapped[:, 0] != keys[:, 0]).all()
    assert (keys & np.uint64(1) == 0).all() and (
        text_keys(signatures[:, :2]) & np.uint64(1) == 1
    ).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 7)), max_size=40), st.integers(0, 8))
def test_a_group_is_all_numbers_with_the_same_key(
    pairs: list[tuple[int, int]], first_new: int
) -> None:
    pairs = sorted(set(pairs))
    keys, numbers = (
        np.array([k for k, _ in pairs], np.uint64),
        np.array([n for _, n in pairs], np.uint32),
    )
    sizes, members = groups_of(keys, numbers, first_new)
    ends = np.cumsum(sizes["size"])
    groups = {
        frozenset(members[end - size : end].tolist())
        for size, end in zip(sizes["size"], ends, strict=True)
    }
    expected = [frozenset(n for k, n in pairs if k == key) for key in sorted(set(keys.tolist()))]
    assert groups == {group for group in expected if len(group) > 1 and max(group) >= first_new}


def test_only_first_copies_in_groups_of_different_texts_are_members() -> None:
    numbers = np.array([40, 10, 30, 20], np.uint32)  # by rank
    first = np.array([0, 1, 0, 3])  # the third is a copy of the first
    groups = np.array([(2,), (3,), (3,)], GROUP_RECORD)
    members = np.array([40, 30, 30, 10, 40, 20, 10, 30], np.uint32)
    ranks, group_numbers = memberships([(groups, members)], numbers, first)
    assert sorted(zip(ranks.tolist(), group_numbers.tolist(), strict=True)) == [
        (0, 1),
        (1, 1),
        (1, 2),
        (3, 2),
    ]


def test_first_copies() -> None:
    hashes = np.array([[1, 2], [2, 1], [1, 2], [1, 1], [2, 1]], np.uint64)
    assert first_copies(hashes).tolist() == [0, 1, 0, 3, 1]
