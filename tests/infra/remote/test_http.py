"""Objects at plain addresses: whole and by range, over a server that fails, and never foreign."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import itertools
import random
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import urllib3

from infra.remote import addresses, objects
from infra.remote.access import Access
from infra.remote.cache import holds, local_copy, local_pin
from infra.remote.connections import in_words
from infra.remote.errors import (
    Changed,
    Denied,
    Foreign,
    NoSuchObject,
    RemoteError,
    Unreachable,
)
from infra.remote.ranges import Range, read_range, read_ranges
from infra.stage import Pin, StageError
from tests.loopback.http import FileServer, a_third, serving

BODY = random.Random(1).randbytes(3_000_000)
PACKED = gzip.compress(BODY[:500_000], mtime=0)


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return quick(tmp_path)


def quick(tmp_path: Path, **settings: Any) -> Access:
    defaults: dict[str, Any] = {"retry_interval_s": 0.002, "retry_limit_s": 5.0}
    return Access(cache=tmp_path / "cache", **{**defaults, **settings})


def test_an_object_is_pinned_without_reading_and_read_as_it_is(access: Access) -> None:
    with serving({"/a/b.bin": BODY}) as server:
        (pin,) = objects.expand(server.url("/a/b.bin"), access)
        assert server.sent_bytes == 0
        assert (pin.name, pin.bytes, pin.sha256) == ("b.bin", len(BODY), "")
        assert pin.identity == f"etag:{pin.etag}:{len(BODY)}"
        with local_pin(pin, access) as found:
            assert Path(found.path).read_bytes() == BODY
            assert found.sha256 == hashlib.sha256(BODY).hexdigest()
            assert (found.name, found.bytes) == ("b.bin", len(BODY))
        with local_copy(pin, access) as path:
            assert path.read_bytes() == BODY
        assert server.sent_bytes == len(BODY)
        assert read_range(pin, 1_000, 70_000, access) == BODY[1_000:70_000]


@pytest.mark.parametrize(
    "settings",
    [
        {"validators": False},
        *({"methods": ("GET",), "refusal": status} for status in (0, 400, 403, 405, 429, 500, 501)),
    ],
    ids=str,
)
def test_servers_without_head_or_without_validators(
    access: Access, settings: dict[str, Any]
) -> None:
    with serving({"/b.bin": BODY, "/empty.bin": b""}, **settings) as server:
        for name, body in (("/b.bin", BODY), ("/empty.bin", b"")):
            (pin,) = objects.expand(server.url(name), access)
            assert pin.bytes == len(body) and pin.etag
            with local_copy(pin, access) as path:
                assert path.read_bytes() == body


def test_a_third_of_failing_requests_gives_the_same_bytes(tmp_path: Path) -> None:
    files = {f"/{number}.gz": gzip.compress(BODY[number:200_000], mtime=0) for number in range(12)}
    ranges = [(start, start + 5_000) for start in range(0, len(BODY) - 5_000, 150_000)]

    def everything(access: Access, faults: Any) -> tuple[list[bytes], list[bytes], int]:
        with serving({**files, "/r.bin": BODY}, faults=faults) as server:
            pins = [objects.stat(server.url(name), access) for name in files]
            whole = []
            for pin in pins:
                with local_copy(pin, access) as path:
                    whole.append(path.read_bytes())
            long = objects.stat(server.url("/r.bin"), access)
            wanted = [Range(long, start, stop) for start, stop in ranges]
            parts = list(read_ranges(wanted, access, gap=1_000))
            return whole, parts, sum(seen.fault is not None for seen in server.seen)

    clean = everything(quick(tmp_path / "clean"), lambda number: None)
    faulty = everything(quick(tmp_path / "faulty"), a_third)
    assert clean[0] == list(files.values()) == faulty[0]
    assert clean[1] == [BODY[start:stop] for start, stop in ranges] == faulty[1]
    assert clean[2] == 0 and faulty[2] > 20


def test_a_cut_is_resumed_where_it_was(access: Access) -> None:
    with serving(
        {"/b.bin": BODY}, faults=lambda number: "short" if number == 1 else None
    ) as server:
        pin = objects.stat(server.url("/b.bin"), access)
        with local_copy(pin, access) as path:
            assert path.read_bytes() == BODY
        assert server.seen[-1].headers["Range"] == f"bytes={len(BODY) // 2}-"
        assert server.sent_bytes == len(BODY)


def test_a_server_without_ranges_sends_everything_again(access: Access) -> None:
    first = lambda number: "short" if number == 1 else None  # noqa: E731
    with serving({"/b.bin": BODY}, ranges=False, faults=first) as server:
        pin = objects.stat(server.url("/b.bin"), access)
        with local_copy(pin, access) as path:
            assert path.read_bytes() == BODY
        with pytest.raises(RemoteError, match="does not serve byte ranges"):
            read_range(pin, 0, 10, access)


def test_retry_after_is_honoured_and_retries_are_one_an_interval(tmp_path: Path) -> None:
    access = quick(tmp_path, retry_interval_s=0.05)
    busy = lambda number: "429" if number in (1, 2, 3) else None  # noqa: E731
    with serving({"/b.bin": BODY}, faults=busy, retry_after="0.2") as server:
        with local_copy(objects.stat(server.url("/b.bin"), access), access):
            pass
        times = [seen.at for seen in server.seen[1:]]
        assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(times))
    with serving({"/b.bin": BODY}, faults=lambda number: "503" if number < 8 else None) as server:
        pins = objects.expand_all([server.url("/b.bin")] * 4, access)
        assert all(isinstance(found, list) for found in pins)
        times = sorted(seen.at for seen in server.seen)[4:]
        assert times[-1] - times[0] >= 0.05 * (len(times) - 1) * 0.9


def test_a_long_retry_after_is_not_waited_for(access: Access) -> None:
    with (
        serving({"/b.bin": BODY}, faults=lambda number: "429", retry_after="3600") as server,
        pytest.raises(Unreachable, match=r"asks for 3600 s.*gave up"),
    ):
        objects.stat(server.url("/b.bin"), access)


def test_no_more_connections_than_allowed(tmp_path: Path) -> None:
    with serving({"/b.bin": BODY}, latency_s=0.02) as server:
        for connections in (3, 6):
            access = quick(tmp_path, connections=connections)
            pin = objects.stat(server.url("/b.bin"), access)
            wanted = [Range(pin, start, start + 100) for start in range(0, 2_400_000, 100_000)]
            server.most_in_flight = 0
            assert sum(map(len, read_ranges(wanted, access, gap=0))) == 2_400
            assert server.most_in_flight == connections


def test_ranges_that_nobody_waits_for_are_given_up(tmp_path: Path) -> None:
    access = quick(tmp_path, connections=2, retry_limit_s=60.0)
    with serving({"/b.bin": BODY}, faults=lambda number: "503" if number > 2 else None) as server:
        pin = objects.stat(server.url("/b.bin"), access)
        wanted = [Range(pin, start, start + 9) for start in range(0, 2_400_000, 100_000)]
        reading = read_ranges(wanted, access, gap=0)
        assert next(reading) == BODY[:9]
        while len(server.seen) < 6:
            time.sleep(0.01)
        reading.close()
        wait_until_quiet(server)


def wait_until_quiet(server: FileServer) -> None:
    """Until no request came for a while; fails where they never end."""
    for _ in range(20):
        before = len(server.seen)
        time.sleep(0.2)
        if len(server.seen) == before:
            return
    raise AssertionError("requests go on")


def test_an_object_that_changes_is_told(access: Access) -> None:
    with serving({"/b.bin": BODY}) as server:
        pin = objects.stat(server.url("/b.bin"), access)
        server.files["/b.bin"] = BODY[::-1]
        with pytest.raises(Changed, match=rf"was {pin.etag} when .* now; run again"):
            read_range(pin, 0, 100, access)
        with pytest.raises(Changed, match=r"/b.bin: was "), local_copy(pin, access):
            pass
        assert not holds(pin, access)
        # a server that ignores conditions is noticed by what it says
        server.files["/b.bin"] = BODY + b"more"
        server.etags["/b.bin"] = f'"{pin.etag}"'
        with (
            pytest.raises(Changed, match=r"was 3,000,000 bytes .* 3,000,004"),
            local_copy(pin, access),
        ):
            pass


def test_an_object_that_changes_while_it_is_fetched_is_told(access: Access) -> None:
    def change(path: str, sent: int) -> None:
        server.files["/b.bin"] = BODY[::-1]

    faults = lambda number: "short" if number == 0 else None  # noqa: E731
    with serving({"/b.bin": BODY}, on_block=change, faults=faults) as server:
        # identified by name alone, as archives of a listing are: the first answer is what counts
        pin = Pin(server.url("/b.bin"), "b.bin", "", len(BODY))
        with pytest.raises(Changed), local_copy(pin, access):
            pass
        assert not holds(pin, access)


def test_a_known_sha256_is_checked(access: Access) -> None:
    good = hashlib.sha256(BODY).hexdigest()
    with serving({"/b.bin": BODY}) as server:
        with local_copy(Pin(server.url("/b.bin"), "b.bin", good, len(BODY)), access) as path:
            assert path.read_bytes() == BODY
        other = Pin(server.url("/b.bin"), "b.bin", "0" * 64, len(BODY))
        with pytest.raises(Changed, match="sha256 was 000000000000"), local_copy(other, access):
            pass


LOGIN = b"<!-- sign in -->\n<!DOCTYPE html><html><body>Please log in</body></html>" + b" " * 2000


@pytest.mark.parametrize(
    ("name", "body", "kind", "what"),
    [
        ("/a.warc.gz", LOGIN, "text/plain", "an HTML page"),
        ("/a.jsonl.gz", gzip.compress(LOGIN), "application/x-gzip", "an HTML page"),
        ("/a.txt", LOGIN, "text/plain", "an HTML page"),
        ("/a.jsonl", b"<div>session expired</div>", "text/html; charset=x", "text/html"),
        (
            "/a.parquet",
            b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
            "binary/octet-stream",
            r"an XML error \(AccessDenied\)",
        ),
        ("/a.jsonl.zst", b'{"error": "quota"}', "application/json", "a JSON error"),
    ],
)
def test_a_page_in_place_of_the_object_is_refused(
    access: Access, name: str, body: bytes, kind: str, what: str
) -> None:
    with serving({name: body}, types={name: kind}) as server:
        with pytest.raises(Foreign, match=what):
            pin = objects.stat(server.url(name), access)
            with local_copy(pin, access):
                pass
        assert not [path for path in (access.cache / "content").rglob("*") if path.is_file()]


def test_pages_are_taken_where_pages_are_asked_for(access: Access) -> None:
    with (
        serving({"/a.html": LOGIN}, types={"/a.html": "text/html"}) as server,
        local_copy(objects.stat(server.url("/a.html"), access), access) as path,
    ):
        assert path.read_bytes() == LOGIN


def test_what_is_missing_or_refused_is_said(access: Access) -> None:
    with serving({"/b.bin": BODY}, denied=frozenset({"/c.bin"})) as server:
        with pytest.raises(NoSuchObject, match=r"/d.bin: no such object \(HTTP 404\)"):
            objects.expand(server.url("/d.bin"), access)
        with pytest.raises(Denied, match="download it, and name the local path"):
            objects.expand(server.url("/c.bin"), access)
        for pattern in ("/*.bin", "/"):
            with pytest.raises(StageError, match="cannot be listed"):
                objects.expand(server.url(pattern), access)
        address = server.url("/b.bin")
    with pytest.raises(Unreachable, match=r"Connection refused.*gave up after"):
        objects.stat(address, quick(access.cache, retry_limit_s=0.05))


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("https://me:hunter2@example.org/a.gz", "https://example.org/a.gz: a password"),
        ("https://example.org/a.gz?X-Amz-Signature=hunter2", "'X-Amz-Signature' is a secret"),
        ("https://example.org/a.gz#access_token=hunter2", "'access_token' is a secret"),
        ("https:///a.gz", "names no host"),
        ("s3:///a.gz", "names no bucket"),
        ("https://example.org:port/a.gz", "is not a URL"),
        ("S3://data/a.gz", "S3:// is not supported; use a local path, or http://, https://, s3://"),
        ("ftp://example.org/a.gz", "ftp:// is not supported"),
    ],
)
def test_references_that_are_refused(access: Access, reference: str, why: str) -> None:
    with pytest.raises(StageError, match=why) as refused:
        objects.expand(reference, access)
    assert "hunter2" not in str(refused.value)


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.2 and 127.0.0.3 stand for public hosts, as do names that resolve to them."""
    hosts = {"public.test": "127.0.0.2", "cdn.test": "127.0.0.3", "inside.test": "127.0.0.1"}
    real = socket.getaddrinfo
    monkeypatch.setattr(addresses, "is_public", lambda found: found in ("127.0.0.2", "127.0.0.3"))
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: real(hosts.get(host, host), *rest, **more),
    )


def port(url: str) -> str:
    return url.rpartition(":")[2].partition("/")[0]


def test_no_redirect_leads_to_where_clouds_keep_credentials(access: Access) -> None:
    """Not even from a private host that the recipe names."""
    with serving({}) as server:
        places = (
            "169.254.169.254",
            "[fe80::1]",
            "[::ffff:169.254.1.1]",
            "[64:ff9b::a9fe:a9fe]",
            "[fd00:ec2::254]",
            "100.100.100.200",
            "168.63.129.16",
        )
        for number, target in enumerate(places):
            server.redirects[f"/{number}.bin"] = f"http://{target}/latest/meta-data"
            with pytest.raises(RemoteError, match="in a private network or this machine"):
                objects.stat(server.url(f"/{number}.bin"), access)


@pytest.mark.usefixtures("internet")
def test_redirects_lead_from_public_to_public_only(access: Access) -> None:
    with (
        serving({"/b.bin": BODY}, host="127.0.0.1") as inside,
        serving({"/b.bin": BODY}, host="127.0.0.3") as cdn,
        serving({}, host="127.0.0.2") as public,
    ):
        start = f"http://public.test:{port(public.address)}"
        public.redirects = {
            "/port.bin": "http://127.0.0.1:9/nobody",
            "/good.bin": f"http://cdn.test:{port(cdn.address)}/b.bin",
            "/address.bin": inside.url("/b.bin"),
            "/name.bin": f"http://inside.test:{port(inside.address)}/b.bin",
            "/file.bin": "file:///etc/passwd",
            "/loop.bin": "/loop.bin",
        }
        with local_copy(objects.stat(f"{start}/good.bin", access), access) as path:
            assert path.read_bytes() == BODY
        for name in ("address", "name", "port"):
            with pytest.raises(RemoteError, match="in a private network or this machine"):
                objects.stat(f"{start}/{name}.bin", access)
        assert not inside.seen
        with pytest.raises(RemoteError, match="redirected to file://"):
            objects.stat(f"{start}/file.bin", access)
        with pytest.raises(RemoteError, match="more than 5 redirects"):
            objects.stat(f"{start}/loop.bin", access)
        # a private host that the recipe names may redirect to its neighbours
        inside.redirects = {"/moved.bin": inside.url("/b.bin")}
        assert objects.stat(inside.url("/moved.bin"), access).bytes == len(BODY)


@pytest.mark.usefixtures("internet")
def test_a_name_that_resolves_to_another_address_when_it_is_connected_to(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serving({"/b.bin": BODY}, host="127.0.0.1") as inside,
        serving({}, host="127.0.0.2") as public,
    ):
        public.redirects["/a.bin"] = f"http://inside.test:{port(inside.address)}/b.bin"
        monkeypatch.setattr(addresses, "leads_to_private", lambda host: False)
        with pytest.raises(RemoteError, match=r"redirected to inside.test, which is in a private"):
            objects.stat(public.url("/a.bin"), access)
        assert not inside.seen


@pytest.mark.usefixtures("internet")
def test_credentials_stay_with_their_host(access: Access) -> None:
    from infra.remote.request import Target, request

    with (
        serving({"/b.bin": BODY}, host="127.0.0.3") as cdn,
        serving({"/b.bin": BODY}, host="127.0.0.2") as hub,
    ):
        hub.redirects = {"/away.bin": cdn.url("/b.bin"), "/here.bin": "/b.bin"}
        for name in ("/away.bin", "/here.bin"):
            target = Target(hub.url(name), {"Authorization": "Bearer secret"})
            with request(target, access) as response:
                assert response.read() == BODY
        assert [seen.headers.get("Authorization") for seen in hub.seen] == ["Bearer secret"] * 3
        assert [seen.headers.get("Authorization") for seen in cdn.seen] == [None]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("2002:0a00:0001::1", False),
        ("64:ff9b::5db8:d822", True),  # of NAT64: 93.184.216.34
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b:1::a9fe:a9fe", False),
        ("::ffff:0:127.0.0.1", False),
        ("::169.254.169.254", False),
        ("168.63.129.16", False),
        ("fd00:ec2::254", False),
        ("nonsense", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert addresses.is_public(address) is public


def test_without_a_network_what_is_cached_is_used(access: Access) -> None:
    with serving({"/a.bin": BODY, "/b.bin": BODY[::-1]}) as server:
        (first,) = objects.expand(server.url("/a.bin"), access)
        objects.expand(server.url("/b.bin"), access)
        with local_copy(first, access):
            pass
    offline = quick(access.cache.parent, retry_limit_s=0.02)
    assert objects.expand(first.path, offline) == [first]
    with local_copy(first, offline) as path:
        assert path.read_bytes() == BODY
    with pytest.raises(Unreachable, match=r"0 are cached; not cached: b.bin"):
        objects.expand(first.path.replace("a.bin", "b.bin"), offline)
    # a host that does not answer is asked once, and what is cached is found all the same
    begun = time.monotonic()
    many = [first.path, *(f"{first.path}{number}" for number in range(100)), first.path]
    slow = quick(access.cache.parent, retry_limit_s=0.5, retry_interval_s=0.1)
    found = objects.expand_all(many, slow)
    assert found[0] == found[-1] == [first]
    assert all(isinstance(one, Unreachable) for one in found[1:-1])
    assert time.monotonic() - begun < 5


def test_validators_that_a_server_does_not_state_each_time_are_no_change(access: Access) -> None:
    with serving({"/b.bin": BODY}) as server:
        for etag in ('W/"1"', '"1"'):
            server.etags["/b.bin"] = 'W/"1"'
            pin = objects.stat(server.url("/b.bin"), access)
            server.etags["/b.bin"] = etag
            assert read_range(pin, 5, 10, access) == BODY[5:10]
        server.validators = False
        assert read_range(pin, 5, 10, access) == BODY[5:10]
        server.validators, server.etags["/b.bin"] = True, 'W/"2"'
        with pytest.raises(Changed, match="was W/1 when the run was planned, and is W/2 now"):
            read_range(pin, 5, 10, access)


def test_a_proxy_of_the_environment_is_used(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "http://far.test/b.bin"
    with serving({address: BODY}) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy.address}")
        pin = objects.stat(address, access)
        with local_copy(pin, access) as path:
            assert path.read_bytes() == BODY
        proxy.redirects[address] = "http://127.0.0.1/secret"
        with pytest.raises(RemoteError, match="in a private network or this machine"):
            objects.stat(address, access)
    with serving({"/b.bin": BODY}) as server:  # this machine is reached without it
        assert objects.stat(server.url("/b.bin"), access).bytes == len(BODY)


def test_what_breaks_a_connection_is_in_words(tmp_path: Path) -> None:
    """Whatever urllib3 wraps it in: the sentence of the innermost cause."""
    access = quick(tmp_path, retry_limit_s=0.02)
    cut = "the answer was cut, 7 bytes before its end"
    broken = http.client.IncompleteRead(b"abc", 7)
    protocol = urllib3.exceptions.ProtocolError(f"Connection broken: {broken!r}", broken)
    assert in_words(protocol) == in_words(broken) == cut
    assert in_words(ConnectionResetError(104, "Connection reset by peer")).endswith("by peer")
    with serving({"/b.bin": BODY}, faults=lambda number: "short" if number else None) as server:
        pin = objects.stat(server.url("/b.bin"), access)
        with pytest.raises(
            RemoteError, match=r"^http[^ ]*/b.bin [^:]*: the answer was cut, 1 byte before"
        ):
            read_range(pin, 0, 1, access)
