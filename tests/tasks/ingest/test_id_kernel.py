"""Ids of many rows at once are those of each."""

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.ingest.id_kernel import as_ids, hashes_of, leading
from tasks.ingest.readers import document_id, sampler


@given(st.binary(), st.lists(st.integers(0, 2**63 - 1), max_size=20))
def test_ids_are_those_of_each_record(content: bytes, places: list[int]) -> None:
    key = hashlib.sha256(content).digest()
    hashes = hashes_of(key, np.array(places, dtype=np.int64))
    wanted = [document_id(key, place, 0) for place in places]
    assert as_ids(hashes).to_pylist() == wanted
    assert leading(hashes).tolist() == [int(id[:16], 16) for id in wanted]
    half = sampler(key, 0.5)
    assert [half(place, 0) for place in places] == (leading(hashes) < 2**63).tolist()
