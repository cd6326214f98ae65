"""Addresses of stores."""

from __future__ import annotations

import os
import re
from dataclasses import replace

from infra.remote.access import Access

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def check_address(url: str) -> None:
    """Raise `ValueError` for an `s3://` address that is no bucket and prefix."""
    if not url.startswith("s3://"):
        return
    bucket, *parts = url.removeprefix("s3://").rstrip("/").split("/")
    if "@" in bucket:
        raise ValueError("credentials come from the environment (AWS_*), not from the address")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"{bucket!r} is no name of a bucket")
    for part in parts:
        odd = any(sign in part for sign in "*?[]#\\") or not part.isprintable()
        if part in ("", ".", "..") or odd:
            raise ValueError(f"{part!r} cannot be a part of its prefix")


def at_store_endpoint(access: Access) -> Access:
    """With the address of the S3 that stores are at: the environment's, which every command knows,
    or else that of the recipe, which is for its inputs.

    It is stated once here, so that worker processes elsewhere ask the same one.
    """
    stated = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return replace(access, endpoint=stated or access.endpoint)
