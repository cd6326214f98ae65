"""Common Crawls for the tests of this folder: one of real pages, a small one of generated pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.remote.access import Access
from tests.loopback.commoncrawl import Dump, dump_of, generated, real_members, wet_of


@pytest.fixture(scope="session")
def real_dump(real_data: Path) -> Dump:
    """527 real pages in four archives."""
    return dump_of(real_members(real_data))


@pytest.fixture(scope="session")
def small_dump() -> Dump:
    """Some 50 generated pages, mostly English and Chinese, in three archives; two WET archives."""
    wet = [wet_of(f"Text {archive}.{at} of a page. " * 9 for at in range(4)) for archive in (1, 2)]
    return dump_of(generated(32), wet, archives=3, row_group=8)


@pytest.fixture
def access(tmp_path: Path) -> Access:
    """An empty cache, and no patience."""
    return Access(cache=tmp_path / "cache", retry_interval_s=0.0, retry_limit_s=5.0)
