"""Objects of an S3: listed, pinned, read whole and by range, and refused in words."""

from __future__ import annotations

import hashlib
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from infra.remote import objects
from infra.remote.access import Access
from infra.remote.cache import local_copy, local_pin
from infra.remote.errors import Changed, Denied, NoSuchObject, Unreachable
from infra.remote.ranges import Range, read_ranges
from infra.stage import StageError
from tests.loopback.http import a_third, serving
from tests.loopback.s3 import LoopbackS3, s3_server

BODY = b"\x1f\x8b" + random.Random(1).randbytes(400_000)
KEYS = ("crawl/a.warc.gz", "crawl/b.warc.gz", "crawl/sub/c.warc.gz")
ODD_KEYS = ("a b+c#d%20?.gz", "中文.gz")


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackS3]:
    with s3_server() as s3:
        for key in KEYS:
            s3.put("data", key, BODY + key.encode())
        for key in ODD_KEYS:
            s3.put("odd", key, BODY + key.encode())
        yield s3


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(cache=tmp_path / "cache", retry_interval_s=0.01, retry_limit_s=2.0)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("reference", "names"),
    [
        ("s3://odd/", ["a b+c#d%20?.gz", "中文.gz"]),
        ("s3://odd/中文.gz", ["中文.gz"]),
        ("s3://data/crawl/a.warc.gz", ["a.warc.gz"]),
        ("s3://data/crawl/*.gz", ["a.warc.gz", "b.warc.gz"]),
        ("s3://data/crawl/[b-z].warc.gz", ["b.warc.gz"]),
        ("s3://data/crawl/", ["a.warc.gz", "b.warc.gz", "sub/c.warc.gz"]),
        ("s3://data/crawl", ["a.warc.gz", "b.warc.gz", "sub/c.warc.gz"]),
        ("s3://data/**/c*.gz", ["crawl/sub/c.warc.gz"]),
    ],
)
def test_keys_patterns_and_prefixes(access: Access, reference: str, names: list[str]) -> None:
    pins = objects.expand(reference, access)
    assert [pin.name for pin in pins] == names
    for pin in pins:
        body = BODY + pin.path.split("/", 3)[3].encode()
        assert (pin.bytes, pin.sha256) == (len(body), "")
        assert pin.etag == hashlib.md5(body).hexdigest()
        with local_copy(pin, access) as path:
            assert path.read_bytes() == body


@pytest.mark.usefixtures("server")
def test_objects_are_read_whole_and_by_range(access: Access) -> None:
    for pin in objects.expand("s3://data/crawl/*.gz", access):
        body = BODY + pin.path.removeprefix("s3://data/").encode()
        with local_pin(pin, access) as found:
            assert Path(found.path).read_bytes() == body
            assert found.sha256 == hashlib.sha256(body).hexdigest()
        spans = [(0, 10), (5_000, 9_000), (300_000, len(body))]
        wanted = [Range(pin, start, stop) for start, stop in spans]
        assert list(read_ranges(wanted, access)) == [body[start:stop] for start, stop in spans]


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("s3://data/crawl/a.wrc.gz", r"no such object \(did you mean 'a.warc.gz'\?\); .* has: a.w"),
        ("s3://data/crowl/*", r"no object matches \(did you mean 'crawl'\?\)"),
        ("s3://nothing/x", "there is no bucket 'nothing'"),
    ],
)
def test_what_is_missing_is_told_with_what_is_there(
    access: Access, reference: str, why: str
) -> None:
    with pytest.raises(NoSuchObject, match=why):
        objects.expand(reference, access)


def test_an_object_that_was_written_again_is_told(server: LoopbackS3, access: Access) -> None:
    server.put("other", "a.gz", BODY)
    (pin,) = objects.expand("s3://other/a.gz", access)
    server.put("other", "a.gz", BODY[:2] + BODY)
    with pytest.raises(Changed, match=f"was {pin.etag} when the run was planned"):
        next(read_ranges([Range(pin, 0, 10)], access))
    with pytest.raises(Changed), local_copy(pin, access):
        pass


def test_an_s3_that_does_not_answer_is_unreachable(access: Access) -> None:
    gone = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x"}
    gone["AWS_SECRET_ACCESS_KEY"] = "x"
    with mock.patch.dict(os.environ, gone):
        hasty = replace(access, retry_limit_s=0.1)
        for reference in ("s3://data/crawl/*", "s3://data/crawl/a.warc.gz"):
            with pytest.raises(Unreachable, match="gave up after"):
                objects.expand(reference, hasty)


def test_without_s3fs_the_extra_is_named(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(StageError, match=r"pip install 'puna\[s3\]'"):
        objects.expand("s3://data/crawl/*", access)


def test_a_bucket_that_may_not_be_listed(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes | Path] = {"/closed/a.gz": BODY, "/closed/b.gz": BODY}
    with serving(files, denied=frozenset({"/closed", "/closed/b.gz"}), faults=a_third) as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3.address}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        with pytest.raises(Denied, match=r"may not be listed .* or name each object"):
            objects.expand("s3://closed/*.gz", access)
        with pytest.raises(Denied, match=r"AccessDenied.*do not allow it; set AWS_PROFILE, or"):
            objects.expand("s3://closed/b.gz", access)
        (pin,) = objects.expand("s3://closed/a.gz", access)
        with local_copy(pin, access) as path:
            assert path.read_bytes() == BODY
        assert "X-Amz-Signature=" in s3.seen[-1].path
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.setenv("HOME", str(access.cache))
        with pytest.raises(Denied, match=r"no credentials are set; set AWS_PROFILE, or"):
            objects.expand("s3://closed/b.gz", replace(access, endpoint=f"http://{s3.address}"))
        assert "X-Amz-Signature=" not in s3.seen[-1].path
