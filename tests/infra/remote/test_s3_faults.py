"""An S3 whose answers go wrong, and keys that a path would not have."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.remote import objects
from infra.remote.access import Access
from infra.remote.cache import local_copy
from infra.remote.errors import Changed, Denied, NoSuchObject, RemoteError
from infra.remote.held import held
from infra.remote.holding import folder_of_process
from infra.remote.ranges import read_range
from tests.loopback.s3 import LoopbackS3, s3_server
from tests.loopback.s3_proxy import Answer, Proxy, before

BODY = b"\x1f\x8b" + random.Random(1).randbytes(50_000)
KEYS = (
    "a b.gz",
    "a%20b.gz",
    "a+b.gz",
    "中文.gz",
    "../up.gz",
    "./here.gz",
    "x//y.gz",
    "q?x=1.gz",
    "h#1.gz",
    "star*.gz",
    "br[1].gz",
    "amp&x=y.gz",
    " lead.gz",
    "%2e%2e/e.gz",
    "back\\s.gz",
)


@pytest.fixture(scope="module")
def s3() -> Iterator[LoopbackS3]:
    with s3_server() as found:
        for name in ("a.gz", "b.gz"):
            found.put("data", f"c/{name}", BODY + name.encode())
        for key in KEYS:
            found.put("odd", f"o/{key}", BODY + f"o/{key}".encode())
        yield found


@pytest.fixture
def proxy(s3: LoopbackS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with before(s3.endpoint) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.address)
        yield found


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(cache=tmp_path / "cache", retry_interval_s=0.001, retry_limit_s=5.0)


@pytest.mark.parametrize("reference", ["s3://data/c/*.gz", "s3://data/c/a.gz"])
@pytest.mark.parametrize(
    "wrong",
    [
        Answer(status=503, code="SlowDown"),
        Answer(status=503, body="<html>Service Unavailable</html>"),
        Answer(status=500),
        Answer(status=200),
        Answer("reset"),
        Answer("drop"),
        Answer("short"),
    ],
    ids=lambda wrong: f"{wrong.kind} {wrong.status} {wrong.code}",
)
def test_what_passes_is_tried_again(
    proxy: Proxy, access: Access, wrong: Answer, reference: str
) -> None:
    proxy.plan = [wrong, None, wrong, None, wrong]
    for pin in objects.expand(reference, access):
        proxy.plan = proxy.plan or [wrong, None]
        with local_copy(pin, access) as path:
            assert path.read_bytes() == BODY + pin.name.encode()


@pytest.mark.parametrize("reference", ["s3://data/c/*.gz", "s3://data/c/a.gz"])
@pytest.mark.parametrize(
    ("wrong", "kind", "why"),
    [
        (Answer(status=403, code="InvalidAccessKeyId"), Denied, "check AWS_ACCESS_KEY_ID"),
        (Answer(status=403, code="SignatureDoesNotMatch"), Denied, "AWS_SECRET_ACCESS_KEY"),
        (Answer(status=400, code="ExpiredToken"), Denied, "has expired; log in again"),
        (Answer(status=403, code="RequestTimeTooSkewed"), Denied, "clock of this machine"),
        (Answer(status=403, code="InvalidObjectState"), Denied, "archived; restore it first"),
        (Answer(status=403, code="AccessDenied"), Denied, "AWS_REQUEST_PAYER=requester"),
        (
            Answer(status=301, code="PermanentRedirect", region="eu-west-1"),
            RemoteError,
            "the bucket is in the region eu-west-1: set AWS_DEFAULT_REGION=eu-west-1",
        ),
        (
            Answer(status=400, code="AuthorizationHeaderMalformed", region="eu-west-1"),
            RemoteError,
            "set AWS_DEFAULT_REGION=eu-west-1",
        ),
    ],
    ids=lambda value: value.code if isinstance(value, Answer) else "",
)
def test_what_stays_wrong_says_what_to_set(
    proxy: Proxy,
    access: Access,
    reference: str,
    wrong: Answer,
    kind: type[Exception],
    why: str,
) -> None:
    proxy.plan = [wrong] * 20
    with pytest.raises(kind, match=why):
        objects.expand(reference, access)
    assert len(proxy.asked) < 10


@pytest.mark.parametrize("key", KEYS)
def test_keys_are_taken_as_they_are(s3: LoopbackS3, access: Access, key: str) -> None:
    (pin,) = objects.expand(f"s3://odd/o/{key}", access)
    with local_copy(pin, access) as path:
        assert path.read_bytes() == BODY + f"o/{key}".encode()
    assert read_range(pin, len(BODY), pin.bytes, access) == f"o/{key}".encode()


def test_all_of_them_are_listed_and_none_leaves_its_folder(
    s3: LoopbackS3, access: Access, tmp_path: Path
) -> None:
    pins = objects.expand("s3://odd/o/", access)
    assert {pin.path for pin in pins} == {f"s3://odd/o/{key}" for key in KEYS}
    found = [held(pin, access) for pin in pins]
    assert len({str(path) for path in found}) == len(KEYS)
    for pin, path in zip(pins, found, strict=True):
        assert folder_of_process(access) in path.resolve().parents
        assert path.read_bytes() == BODY + pin.path.split("/", 3)[3].encode()


def test_an_object_named_as_a_folder_is_no_silent_loss(s3: LoopbackS3, access: Access) -> None:
    s3.put("folders", "a/", b"")
    s3.put("folders", "a/b.gz", BODY)
    assert [pin.name for pin in objects.expand("s3://folders/", access)] == ["a/b.gz"]
    s3.put("folders", "a/c/", b"data")
    for reference in ("s3://folders/", "s3://folders/a", "s3://folders/**"):
        with pytest.raises(RemoteError, match=r"s3://folders/a/c/: holds 4 bytes, but its key"):
            objects.expand(reference, access)
    assert [pin.name for pin in objects.expand("s3://folders/**/*.gz", access)] == ["a/b.gz"]


def test_more_keys_than_one_page_of_a_listing(s3: LoopbackS3, access: Access) -> None:
    for number in range(1_010):
        s3.put("many", f"{number:05d}.txt", b"%d" % number)
    names = [f"{number:05d}.txt" for number in range(1_010)]
    assert [pin.name for pin in objects.expand("s3://many/*.txt", access)] == names


def test_an_object_that_changes_or_goes_while_it_is_read(s3: LoopbackS3, access: Access) -> None:
    s3.put("moving", "a.gz", BODY)
    (pin,) = objects.expand("s3://moving/a.gz", access)
    assert read_range(pin, 0, 10, access) == BODY[:10]
    s3.put("moving", "a.gz", BODY[::-1])
    with pytest.raises(Changed):
        read_range(pin, 0, 10, access)
    s3.client.delete_object(Bucket="moving", Key="a.gz")
    with pytest.raises(NoSuchObject), local_copy(pin, access):
        pass


def test_who_agrees_to_pay_says_so_in_each_request(
    proxy: Proxy, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
    (pin,) = objects.expand("s3://data/c/a.gz", access)
    read_range(pin, 0, 10, access)
    objects.expand("s3://data/c/*.gz", access)
    assert len(proxy.payers) > 2 and set(proxy.payers) == {"requester"}
    assert "x-amz-request-payer" in proxy.asked[0]  # among the headers that are signed
