"""What workers write for one another: the same on a disk and on S3."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from infra.remote.access import Access
from infra.remote.errors import NoSuchObject
from infra.stage import StageError
from infra.store.backends import open_directory
from infra.store.exchange import Exchange
from infra.store.s3_directory import S3Directory
from tests.loopback.s3 import LoopbackS3, bucket_server, s3_server


@pytest.fixture(scope="module", params=["disk", "s3", "s3 without metadata"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoopbackS3 | None]:
    if request.param == "disk":
        yield None
        return
    folder = tmp_path_factory.mktemp("objects")
    with s3_server() if request.param == "s3" else bucket_server(folder) as found:
        found.make_bucket("puna")
        yield found


@pytest.fixture
def exchange(server: LoopbackS3 | None, tmp_path: Path) -> Exchange:
    if server is None:
        return Exchange(open_directory(str(tmp_path / "scratch")))
    access = Access(
        cache=tmp_path / "cache", retry_interval_s=0.001, retry_limit_s=5, endpoint=server.endpoint
    )
    return Exchange(open_directory(f"s3://puna/{tmp_path.name}", access))


def elsewhere(exchange: Exchange, tmp_path: Path) -> Exchange:
    """As another machine sees it: with a cache of its own."""
    arrived: Exchange = pickle.loads(pickle.dumps(exchange))
    directory = arrived.directory
    if isinstance(directory, S3Directory):
        other = dataclasses.replace(directory.access, cache=tmp_path / "other")
        directory = dataclasses.replace(directory, access=other)
    return Exchange(directory)


def put(exchange: Exchange, name: str, content: bytes) -> None:
    with exchange.create(name) as path:
        path.write_bytes(content)


def test_others_read_all_of_it_or_pieces(exchange: Exchange, tmp_path: Path) -> None:
    content = np.arange(100_000, dtype=np.uint32).tobytes()
    put(exchange, "keys/1", content)
    put(exchange, "keys/2", b"second")
    for reader in (exchange, elsewhere(exchange, tmp_path)):
        pieces = [
            ("keys/1", 4, 12),
            ("keys/2", 0, 0),
            ("keys/2", 1, 3),
            ("keys/1", 399_000, 400_000),
        ]
        read = [piece.tobytes() for piece in reader.read(pieces)]
        assert read == [content[4:12], b"", b"ec", content[399_000:]]
        assert reader.child("keys").path("1").read_bytes() == content
        assert reader.sizes(["keys/2", "keys/1"]) == [6, 400_000]
        (writable,) = reader.read([("keys/1", 0, 8)])
        writable[:] = 0  # compiled loops take such arrays alone
    with pytest.raises(StageError, match="ends before byte 7: it was damaged"):
        list(exchange.read([("keys/2", 0, 7)]))


def test_a_shard_done_again_writes_the_same_name(exchange: Exchange, tmp_path: Path) -> None:
    for content in (b"first", b"first", b"second"):
        put(exchange, "one", content)
    assert elsewhere(exchange, tmp_path).path("one").read_bytes() == b"second"
    with pytest.raises(ZeroDivisionError), exchange.create("two") as path:
        path.write_bytes(b"half")
        raise ZeroDivisionError
    with pytest.raises((FileNotFoundError, NoSuchObject)):
        exchange.sizes(["two"])
    assert exchange.files() == ["one"]


def test_folders_are_shared_and_removed(exchange: Exchange, tmp_path: Path) -> None:
    made = tmp_path / "made"
    (made / "deep").mkdir(parents=True)
    (made / "a").write_bytes(b"of a")
    (made / "deep" / "b").write_bytes(b"of b")
    folder = pickle.loads(pickle.dumps(exchange.child("base").shared(made)))
    assert (folder / "deep" / "b").read_bytes() == b"of b"
    assert (folder == made) == (not exchange.is_far)
    exchange.child("base").send(made / "a", "sent")
    exchange.child("base").send(made / "a", "sent")
    assert exchange.folders() == ["base"] and "sent" in exchange.child("base").files()
    with exchange.staging("x") as path:
        path.write_bytes(b"spilled")
    assert not path.exists()
    exchange.child("base").remove()
    assert exchange.child("base").files() == [] and (made / "a").exists()
