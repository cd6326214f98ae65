"""A hub for the tests of this folder, in a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopback.hub_fixture import HubServer, point_at, running_hub


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """Pages of three entries, so that listings have several."""
    with running_hub(tmp_path_factory.mktemp("hub"), "--page", "3") as found:
        yield found


@pytest.fixture
def hub(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The hub, with the libraries pointed at it and with empty caches."""
    point_at(server, tmp_path / "home", monkeypatch)
    server.faults()
    server.log()
    return server
