"""Writes to an S3 whose answers go wrong: done once, wholly, and not taken for those of others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from infra.remote import s3_objects, s3_writes
from infra.remote.access import Access
from infra.remote.errors import Denied, NoSuchObject, RemoteError, Unreachable
from tests.loopback.s3 import LoopbackS3, bucket_server, s3_server
from tests.loopback.s3_proxy import Answer, Proxy, before

PART = 5 << 20  # the smallest that S3 takes
BODY = b"content"
PASSING = [
    Answer(status=503, code="SlowDown"),
    Answer(status=500),
    Answer(status=409, code="ConditionalRequestConflict"),
    Answer("reset"),
    Answer("drop"),
    Answer(status=503, code="ServiceUnavailable", done=True),
    Answer(status=500, done=True),
    Answer("reset", done=True),
    Answer("drop", done=True),
]


def named(wrong: object) -> str:
    return f"{wrong.kind} {wrong.code} {wrong.done}" if isinstance(wrong, Answer) else str(wrong)


@pytest.fixture(scope="module", params=["moto", "localbucket"])
def s3(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoopbackS3]:
    """A server that keeps what is said of an object, and one that does not."""
    opened = s3_server() if request.param == "moto" else bucket_server(tmp_path_factory.mktemp("b"))
    with opened as found:
        found.make_bucket("puna")
        yield found


@pytest.fixture(scope="module")
def faulty(s3: LoopbackS3) -> Iterator[Proxy]:
    with before(s3.endpoint) as found:
        yield found


@pytest.fixture
def proxy(faulty: Proxy) -> Proxy:
    faulty.plan, faulty.choose = [], lambda method, path: None
    return faulty


@pytest.fixture
def access(proxy: Proxy, tmp_path: Path) -> Access:
    return Access(
        cache=tmp_path / "cache",
        retry_interval_s=0.001,
        retry_limit_s=120.0,
        endpoint=proxy.address,
    )


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"s3://puna/{tmp_path.name}/x"


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of three parts."""
    monkeypatch.setattr(s3_writes, "PART_BYTES", PART)
    monkeypatch.setattr(s3_writes, "WHOLE_BYTES", PART)
    monkeypatch.setattr(s3_writes, "_PARTS_AT_ONCE", 1)  # so that plans know whose turn it is
    path = tmp_path / "large"
    path.write_bytes(os.urandom(2 * PART + 100))
    return path


def test_a_new_object_is_written_once(proxy: Proxy, access: Access, url: str) -> None:
    for number, wrong in enumerate(PASSING):
        name = f"{url}{number}"
        proxy.plan = [wrong, wrong, None]
        s3_writes.create(name, BODY, "", access)
        for plan in ([], [wrong]):
            proxy.plan = list(plan)
            with pytest.raises(FileExistsError):
                s3_writes.create(name, b"other", "", access)
        assert s3_objects.read(name, access) == BODY, named(wrong)


def test_another_writer_between_two_tries_is_not_taken_for_us(
    s3: LoopbackS3, proxy: Proxy, access: Access, url: str
) -> None:
    def others_first(method: str, path: str) -> Answer | None:
        if method != "PUT" or seen:
            return None
        seen.append(path)
        s3.put("puna", s3_objects.key_of(url), b"theirs!")
        return Answer("reset")

    seen: list[str] = []
    proxy.choose = others_first
    with pytest.raises(FileExistsError):
        s3_writes.create(url, BODY, "", access)
    assert s3_objects.read(url, access) == b"theirs!" and seen


BEGIN, PART_2, COMPLETE = 1, 3, 5
"""Which request of a large object's goes wrong; before them it is looked for."""


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        (BEGIN, Answer("reset", done=True)),
        (PART_2, Answer(status=503, code="SlowDown")),
        (PART_2, Answer(status=404, code="NoSuchUpload")),
        (COMPLETE, Answer(status=409, code="ConditionalRequestConflict")),
        (COMPLETE, Answer("reset", done=True)),
        (COMPLETE, Answer(status=500)),
    ],
    ids=named,
)
def test_a_large_object_is_all_there_or_not_at_all(
    s3: LoopbackS3, proxy: Proxy, access: Access, url: str, large: Path, step: int, wrong: Answer
) -> None:
    proxy.plan = [None] * step + [wrong]
    s3_writes.create(url, large, "", access)
    answer = s3.client.get_object(Bucket="puna", Key=s3_objects.key_of(url))
    assert answer["Body"].read() == large.read_bytes()
    with pytest.raises(FileExistsError):
        s3_writes.create(url, large, "", access)


def test_nothing_of_a_large_object_is_seen_before_its_end(
    s3: LoopbackS3, proxy: Proxy, access: Access, url: str, large: Path
) -> None:
    seen = []

    def look(method: str, path: str) -> Answer | None:
        if method in ("PUT", "POST"):
            listed = s3.client.list_objects_v2(Bucket="puna", Prefix=s3_objects.key_of(url))
            seen.append(listed["KeyCount"])
        return None

    proxy.choose = look
    s3_writes.create(url, large, "", access)
    assert seen == [0] * 5 and s3_objects.head(url, access).bytes == large.stat().st_size


def test_a_large_object_that_others_finish_first_stays_theirs(
    s3: LoopbackS3, proxy: Proxy, access: Access, url: str, large: Path
) -> None:
    def others_first(method: str, path: str) -> Answer | None:
        if method == "POST" and "uploadId=" in path:
            s3.put("puna", s3_objects.key_of(url), b"theirs!")
        return None

    proxy.choose = others_first
    with pytest.raises(FileExistsError):
        s3_writes.create(url, large, "", access)
    assert s3_objects.read(url, access) == b"theirs!"


def test_the_other_requests_are_tried_again_too(
    s3: LoopbackS3, proxy: Proxy, access: Access, url: str
) -> None:
    key, prefix = s3_objects.key_of(url), url.removesuffix("x")
    for wrong in (PASSING[0], PASSING[3], PASSING[6], Answer("short")):

        def ask(do: Callable[[], object], wrong: Answer = wrong) -> object:
            proxy.plan = [wrong, wrong, None, wrong]
            return do()

        s3.put("puna", key, BODY)
        assert ask(lambda: s3_objects.read(url, access)) == BODY
        if wrong.kind != "short":  # that of HEAD is not
            assert ask(lambda: s3_objects.head(url, access).bytes) == len(BODY)
        assert ask(lambda: s3_objects.listed(prefix, access).sizes) == {"x": len(BODY)}
        assert ask(lambda: s3_objects.sha256_of(url, access)) == sha256(BODY).hexdigest()
        ask(lambda: s3_writes.replace(url, b"new", access))
        assert s3_objects.read(url, access) == b"new"
        ask(lambda: s3_objects.delete(url, access))
        proxy.plan = []
        with pytest.raises(NoSuchObject):
            s3_objects.head(url, access)


@pytest.mark.parametrize(
    ("wrong", "kind", "why"),
    [
        (Answer(status=400, code="ExpiredToken"), Denied, "has expired; log in again"),
        (Answer(status=403, code="InvalidAccessKeyId"), Denied, "check AWS_ACCESS_KEY_ID"),
        (Answer(status=403, code="AccessDenied"), Denied, "may not be read or written .AccessDeni"),
        (Answer(status=405, code="MethodNotAllowed"), RemoteError, "check bucket, key"),
        (Answer(status=400, code="ExpiredTokenException"), Denied, "has expired; log in again"),
        (Answer(status=501, code="NotImplemented"), RemoteError, "conditional writes"),
        (Answer(status=400, code="KeyTooLongError"), RemoteError, "check bucket, key"),
    ],
    ids=named,
)
def test_what_stays_wrong_is_said_at_once(
    proxy: Proxy, access: Access, url: str, wrong: Answer, kind: type[Exception], why: str
) -> None:
    proxy.plan = [wrong] * 9
    with pytest.raises(kind, match=why) as raised:
        s3_writes.create(url, BODY, "", access)
    assert len(proxy.plan) == 8 and "\n" not in str(raised.value)


def test_a_server_that_stays_away_is_given_up(proxy: Proxy, access: Access, url: str) -> None:
    proxy.choose = lambda method, path: Answer("reset")
    soon = Access(**{**vars(access), "retry_limit_s": 0.05})
    with pytest.raises(Unreachable, match="gave up after"):
        s3_writes.create(url, BODY, "", soon)


def test_more_than_one_page_is_listed_and_deleted(
    s3: LoopbackS3, access: Access, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_objects, "_PAGE", 10)
    monkeypatch.setattr(s3_objects, "_MOST_DELETED", 10)
    names = [f"{number:04d}" for number in range(25)]
    s3_objects.each(lambda name: s3_writes.create(f"{url}/{name}", b"", "", access), names)
    assert sorted(s3_objects.listed(f"{url}/", access).sizes) == names
    s3_objects.delete_all(f"{url}/", names, access)
    assert s3_objects.listed(f"{url}/", access).sizes == {}
