"""A file's signed address is asked for once, and again when it has ended."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.remote import objects, resolved
from infra.remote.access import Access
from infra.remote.cache import local_copy
from infra.remote.errors import Denied
from infra.remote.ranges import Range, read_range, read_ranges
from infra.stage import Pin
from tests.loopback.hub_fixture import HubServer, point_at, running_hub

BODY = random.Random(1).randbytes(1 << 20)
FILE = "hf://datasets/org/data/a.parquet"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    with running_hub(tmp_path_factory.mktemp("hub")) as found:
        (found.dataset("org/data") / "a.parquet").write_bytes(BODY)
        yield found


@pytest.fixture
def hub(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    point_at(server, tmp_path / "home", monkeypatch)
    resolved._known.clear()
    return server


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(cache=tmp_path / "objects", retry_interval_s=0.01, retry_limit_s=3)


def pinned(hub: HubServer, access: Access) -> Pin:
    (pin,) = objects.expand(FILE, access)
    hub.log()
    return pin


def asked(hub: HubServer) -> tuple[int, int]:
    """(requests to the hub, requests to the host of its files) since the last call."""
    paths = [entry["path"] for entry in hub.log()]
    files = sum(path.startswith("/cdn/") for path in paths)
    return len(paths) - files, files


def test_one_request_a_range_after_the_first(hub: HubServer, access: Access) -> None:
    pin = pinned(hub, access)
    for start in range(0, 500_000, 50_000):
        assert read_range(pin, start, start + 1000, access) == BODY[start : start + 1000]
    assert asked(hub) == (1, 10)
    wanted = [Range(pin, start, start + 10) for start in range(0, 1_000_000, 100_000)]
    assert [len(data) for data in read_ranges(wanted, access)] == [10] * 10
    assert asked(hub) == (0, 10)
    with local_copy(pin, access) as path:
        assert path.read_bytes() == BODY
    assert asked(hub) == (0, 1)


@pytest.mark.parametrize("status", ["403", "404", "410", "400"])
def test_an_address_that_is_refused_is_asked_for_again(
    hub: HubServer, access: Access, status: str
) -> None:
    pin = pinned(hub, access)
    read_range(pin, 0, 10, access)
    hub.faults(("/cdn/", status, 1))
    assert read_range(pin, 10, 30, access) == BODY[10:30]
    assert asked(hub) == (2, 3)
    hub.faults(("/cdn/", "403", 2))
    with pytest.raises(Denied):
        read_range(pin, 10, 30, access)
    hub.faults()


def test_passing_troubles_are_passed(hub: HubServer, access: Access) -> None:
    pin = pinned(hub, access)
    read_range(pin, 0, 10, access)
    hub.faults(("/cdn/", "503", 1), ("/cdn/", "drop", 1), ("/cdn/", "short", 1))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: read_range(pin, at, at + 9, access), range(0, 90, 9)))
    assert b"".join(found) == BODY[:90]


def test_another_token_asks_for_itself(
    hub: HubServer, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = pinned(hub, access)
    read_range(pin, 0, 10, access)
    monkeypatch.setenv("HF_TOKEN", "hf_loopback")
    read_range(pin, 0, 10, access)
    assert asked(hub) == (2, 2)


def test_an_address_is_given_up_before_its_signature_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.time()
    resolved.remember(("u",), f"https://h/x?Expires={now + 100:.0f}", True)
    assert resolved.recall(("u",)) is not None
    monkeypatch.setattr(time, "time", lambda: now + 90)
    assert resolved.recall(("u",)) is None


@pytest.mark.parametrize(
    ("query", "until"),
    [
        ("Expires=1700000000&Signature=x", 1_700_000_000),
        ("X-Amz-Date=20231114T221320Z&X-Amz-Expires=3600&X-Amz-Signature=x", 1_700_003_600),
        ("X-Goog-Date=20231114T221320Z&X-Goog-Expires=60", 1_700_000_060),
        ("se=2023-11-14T22%3A13%3A20Z&sig=x", 1_700_000_000),
        ("signed=x", math.inf),
        ("Expires=soon&X-Amz-Date=x&X-Amz-Expires=1", math.inf),
    ],
)
def test_when_signatures_end(query: str, until: float) -> None:
    assert resolved.valid_until(f"https://h.test/x?{query}") == until
