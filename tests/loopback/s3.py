"""An S3 on this machine: moto's server in a thread, with the credentials that it takes."""

from __future__ import annotations

import contextlib
import logging
import os
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import boto3
from moto.server import ThreadedMotoServer

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclass(frozen=True)
class LoopbackS3:
    """A running server and a boto3 client of it."""

    endpoint: str
    client: Any

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Store an object; the bucket is made where it is missing."""
        with contextlib.suppress(self.client.exceptions.BucketAlreadyOwnedByYou):
            self.client.create_bucket(Bucket=bucket)
        self.client.put_object(Bucket=bucket, Key=key, Body=body)


@contextlib.contextmanager
def s3_server() -> Iterator[LoopbackS3]:
    """A fresh S3; AWS_ENDPOINT_URL and credentials are set in this process while it is open."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        with mock.patch.dict(os.environ, {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}):
            urllib.request.urlopen(f"{endpoint}/moto-api/reset", data=b"").close()
            yield LoopbackS3(endpoint, boto3.client("s3", endpoint_url=endpoint))
    finally:
        server.stop()
