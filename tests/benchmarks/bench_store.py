"""What a shard costs on a store on S3, beside a local disk and beside s3fs alone, in one run.

The server (localbucket, over a folder) is a process of its own on this machine, so requests take
about a millisecond and the network nothing: what is measured is our own cost a request. `requests`
is what to multiply by a real server's latency.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from infra.build import Order, build
from infra.context import Context
from infra.engine.base import Inline
from infra.remote.access import Access
from infra.remote.s3_service import filesystem
from infra.stage import Outcome, Parameters, Role, Stage
from infra.store import Artifact, Shard, Store
from tests.loopback.s3 import CREDENTIALS, bucket_server

SHARDS = 100
SHARD_BYTES = 1_000_000


def write(context: Context) -> Outcome:
    """Write the shards."""
    context.map(write_one, {f"part-{number:05d}": number for number in range(SHARDS)})
    return Outcome({})


def write_one(number: int, shard: Shard) -> dict[str, Any]:
    """Write one shard."""
    with shard.create(f"{shard.key}.bin") as path:
        path.write_bytes(number.to_bytes(4, "big") * (SHARD_BYTES // 4))
    return {}


def read(context: Context) -> Outcome:
    """Read the shards."""
    (up,) = context.many("up")
    context.map(read_one, {name: (up, name) for name in up.files()})
    return Outcome({})


def read_one(item: tuple[Artifact, str], shard: Shard) -> dict[str, Any]:
    """Read one shard."""
    artifact, name = item
    return {"bytes": len(artifact.path(name).read_bytes())}


WRITER = Stage("writer", 1, Parameters, f"{__name__}:write", "writes")
READER = Stage(
    "reader", 1, Parameters, f"{__name__}:read", "reads", inputs=(Role("up", many=True),)
)


def serve(told: Connection, folder: Path) -> None:
    """An S3 until the pipe closes; answers each word with the requests so far."""
    with bucket_server(folder) as server:
        server.make_bucket("puna")
        told.send(server.endpoint)
        with contextlib.suppress(EOFError):
            while told.recv():
                told.send(sum(server.requests.values()))


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, Any]]:
    """Its address, and a function for the number of requests so far."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, folder))
    process.start()
    theirs.close()
    endpoint = ours.recv()

    def requests() -> int:
        ours.send("?")
        return int(ours.recv())

    try:
        yield endpoint, requests
    finally:
        ours.close()
        process.join()


def timed(work: Any, requests: Any) -> tuple[Any, float, float]:
    """Its result, milliseconds and requests, both a shard."""
    before, started = requests(), time.perf_counter()
    found = work()
    passed = time.perf_counter() - started
    return found, 1000 * passed / SHARDS, (requests() - before) / SHARDS


def made(store: Store, stage: Stage, inputs: dict[str, tuple[Artifact, ...]]) -> Artifact:
    """Build a stage."""
    return build(Order(stage, "main", "v", Parameters(), inputs, {}), store, Inline())


def main() -> None:
    """Print the table."""
    folder = Path(tempfile.mkdtemp(prefix="bench-store-"))
    rows = []
    try:
        with served(folder / "buckets") as (endpoint, requests):
            os.environ["AWS_ENDPOINT_URL"] = endpoint
            access = Access(cache=folder / "cache")
            for name, url in (("local disk", str(folder / "local")), ("S3", "s3://puna/store")):
                store = Store.at(url, access)
                store.make()
                up, *wrote = timed(lambda s=store: made(s, WRITER, {}), requests)
                _, *reads = timed(lambda s=store, u=up: made(s, READER, {"up": (u,)}), requests)
                rows.append((f"write, {name}", *wrote))
                rows.append((f"read what was just written, {name}", *reads))
            shutil.rmtree(folder / "cache" / "content")
            store.home("reader", "main", "v").remove()
            _, *reads = timed(lambda: made(store, READER, {"up": (up,)}), requests)
            rows.append(("read, nothing cached, S3", *reads))
            rows += alone(access, folder, requests)
    finally:
        shutil.rmtree(folder)
    print(f"{SHARDS} shards of {SHARD_BYTES / 1e6:g} MB, one process")
    print(f"{'':40} {'ms a shard':>11} {'requests a shard':>17}")
    for name, milliseconds, count in rows:
        print(f"{name:40} {milliseconds:11.1f} {count:17.2f}")


def alone(access: Access, folder: Path, requests: Any) -> Iterator[tuple[str, float, float]]:
    """s3fs doing the same: a file and a record written exclusively, the file read."""
    system = filesystem(access)

    def put() -> None:
        for number in range(SHARDS):
            path = folder / "staged"
            path.write_bytes(number.to_bytes(4, "big") * (SHARD_BYTES // 4))
            system.put_file(str(path), f"puna/alone/{number}", mode="create")
            system.pipe_file(f"puna/alone/{number}.json", b"{}", mode="create")

    def get() -> None:
        for number in range(SHARDS):
            system.get_file(f"puna/alone/{number}", str(folder / "got"))
            (folder / "got").read_bytes()

    _, *wrote = timed(put, requests)
    yield ("write, s3fs alone", wrote[0], wrote[1])
    _, *reads = timed(get, requests)
    yield ("read, s3fs alone", reads[0], reads[1])


if __name__ == "__main__":
    with mock.patch.dict(os.environ, CREDENTIALS):
        main()
