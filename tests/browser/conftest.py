"""A browser for all tests of this folder, which are skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.chromium import NAMES, Chromium, found


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    if found() is None:
        pytest.skip(f"no Chromium on the PATH (looked for {', '.join(NAMES)})")
    with Chromium() as started:
        yield started
