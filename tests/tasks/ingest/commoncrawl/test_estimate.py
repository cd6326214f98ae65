"""Estimates of what reading takes, against what it takes."""

from __future__ import annotations

import numpy as np
import pytest

from infra.remote.access import Access
from infra.remote.listing import Listing
from infra.remote.ranges import Range, join
from infra.stage import Pin
from tasks.ingest.commoncrawl.estimate import estimate, joined
from tasks.ingest.commoncrawl.pinning import pin_crawls
from tasks.ingest.commoncrawl.records import GAP_BYTES
from tests.loopback.commoncrawl import Dump, site
from tests.loopback.http import serving
from tests.tasks.ingest.commoncrawl.crawled import parameters


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.2, 0.9])
def test_joined_ranges_are_estimated_within_a_fifth(share: float) -> None:
    rng, archives, each, length = np.random.default_rng(3), 20, 1_000, 20_000
    ranges = [
        Range(Pin(f"{archive}", "", "", -1), at * length, (at + 1) * length)
        for archive in range(archives)
        for at in np.flatnonzero(rng.random(each) < share).tolist()
    ]
    found = list(join(iter(ranges), GAP_BYTES, 1 << 40))
    size = sum(one.stop - one.start for one in found)
    requests, read = joined(len(ranges), length, archives, each * length)
    assert requests == pytest.approx(len(found), rel=0.2, abs=3)
    assert read == pytest.approx(size, rel=0.2)


def test_nothing_wanted_takes_nothing() -> None:
    assert joined(0, 0, 4, 1e9) == (0, 0)


def test_the_estimate_is_near_what_is_read(small_dump: Dump, access: Access) -> None:
    with serving(site([small_dump])) as server:
        given = parameters(server, select={"languages": "zh"})
        pins = pin_crawls(given, Listing(access))
        found = estimate(given, pins, access)
        assert found.archives == 3 and found.archive_bytes == small_dump.archive_bytes()
        assert found.records == pytest.approx(small_dump.languages()["zho"], rel=0.5)
        half = parameters(server, select={"languages": "zh"}, files=1)
        of_one = estimate(half, pin_crawls(half, Listing(access)), access)
        assert of_one.archives == 1 and of_one.records == pytest.approx(found.records / 3, abs=1)
        asked = len(server.seen)
        assert estimate(given, pins, access) == found and len(server.seen) == asked
