"""S3s on this machine, with the credentials that they take: moto's server in a thread, and
localbucket, a small server that keeps objects as files.

moto looks whether an object exists and writes afterwards, without a lock: its writes are let in one
at a time here. localbucket decides by link(2), checks no signatures, and knows neither metadata nor
the deletion of many objects at once.
"""

from __future__ import annotations

import collections
import contextlib
import http.server
import logging
import os
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import localbucket
from moto.server import ThreadedMotoServer

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclass(frozen=True)
class LoopbackS3:
    """A running server, a boto3 client of it, and how often each kind of request was made."""

    endpoint: str
    client: Any
    requests: collections.Counter[str] = field(default_factory=collections.Counter)

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Store an object; the bucket is made where it is missing."""
        self.make_bucket(bucket)
        self.client.put_object(Bucket=bucket, Key=key, Body=body)

    def make_bucket(self, bucket: str) -> None:
        """Make a bucket where it is missing."""
        with contextlib.suppress(self.client.exceptions.BucketAlreadyOwnedByYou):
            self.client.create_bucket(Bucket=bucket)


class _OneWriter:
    """A WSGI application whose writes are let in one at a time, and whose requests are counted."""

    def __init__(self, application: Any, requests: collections.Counter[str]) -> None:
        self._application, self._requests = application, requests
        self._lock = threading.Lock()

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method = str(environment["REQUEST_METHOD"])
        self._requests[kind_of(method, environment["PATH_INFO"], environment["QUERY_STRING"])] += 1
        if method in ("GET", "HEAD"):
            return list(self._application(environment, start))
        with self._lock:
            return list(self._application(environment, start))


def kind_of(method: str, path: str, query: str) -> str:
    """`LIST` for a GET of a bucket, else the method."""
    bucket_alone = "/" not in path.strip("/")
    return "LIST" if method == "GET" and (bucket_alone or "list-type" in query) else method


@contextlib.contextmanager
def s3_server() -> Iterator[LoopbackS3]:
    """A fresh S3; AWS_ENDPOINT_URL and credentials are set in this process while it is open."""
    from moto.moto_server import threaded_moto_server
    from moto.server import DomainDispatcherApplication, create_backend_app

    requests: collections.Counter[str] = collections.Counter()
    application = _OneWriter(DomainDispatcherApplication(create_backend_app), requests)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with mock.patch.object(
        threaded_moto_server, "DomainDispatcherApplication", lambda _: application
    ):
        server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        with mock.patch.dict(os.environ, {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}):
            urllib.request.urlopen(f"{endpoint}/moto-api/reset", data=b"").close()
            yield LoopbackS3(endpoint, boto3.client("s3", endpoint_url=endpoint), requests)
    finally:
        server.stop()


@contextlib.contextmanager
def bucket_server(folder: Path, port: int = 0) -> Iterator[LoopbackS3]:
    """As `s3_server`, with localbucket's server over a folder, at a free port or the one given."""
    requests: collections.Counter[str] = collections.Counter()
    folder.mkdir(parents=True, exist_ok=True)

    class Handler(localbucket.S3Handler):  # type: ignore[misc]
        data_root = folder.resolve()

        def _dispatch(self, action: Any) -> None:
            path, _, query = self.path.partition("?")
            requests[kind_of(self.command, path, query)] += 1
            super()._dispatch(action)

    logging.getLogger("localbucket").setLevel(logging.ERROR)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        with mock.patch.dict(os.environ, {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}):
            yield LoopbackS3(endpoint, boto3.client("s3", endpoint_url=endpoint), requests)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
