"""Which crawls a recipe means, and samples of their archives."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.remote.access import Access
from infra.remote.errors import Foreign, NoSuchObject, Unreachable
from infra.stage import StageError
from tasks.ingest.commoncrawl.crawls import chosen, listed
from tasks.ingest.commoncrawl.languages import three_letters
from tasks.ingest.commoncrawl.listing import listing, sampled
from tests.loopback.commoncrawl import collinfo
from tests.loopback.http import serving

THERE = [
    "CC-MAIN-2024-26",
    "CC-MAIN-2024-22",
    "CC-MAIN-2024-18",
    "CC-MAIN-2013-20",
    "CC-MAIN-2012",
    "CC-MAIN-2009-2010",
]


def test_crawls_are_listed_newest_first_and_remembered(access: Access) -> None:
    with serving({"/collinfo.json": collinfo(reversed(THERE))}) as server:
        host = server.url("/")
        assert listed(host, access) == THERE
    assert listed(host, replace(access, retry_limit_s=0.0)) == THERE  # the server is gone
    with pytest.raises(Unreachable):
        listed("http://127.0.0.1:9/", replace(access, retry_limit_s=0.0))


@pytest.mark.parametrize("body", [b"<html>login</html>", b"[]", b'{"id": 1}', b"[1, 2]"])
def test_what_is_no_list_of_crawls_is_refused(access: Access, body: bytes) -> None:
    with serving({"/collinfo.json": body}) as server, pytest.raises(Foreign, match="index_host"):
        listed(server.url("/"), access)


def test_unknown_crawls_are_refused_with_the_nearest_and_the_newest() -> None:
    with pytest.raises(StageError, match=r"mean 'CC-MAIN-2024-2\d'.*newest are CC-MAIN-2024-26"):
        chosen(["CC-MAIN-2024-21"], THERE, [])


@pytest.mark.parametrize(
    "stated, known, found",
    [
        (["CC-MAIN-2024-22"], ["CC-MAIN-2024-22"], ["CC-MAIN-2024-22"]),
        (["CC-MAIN-2024-22", "CC-MAIN-2013-20"], [], ["CC-MAIN-2013-20", "CC-MAIN-2024-22"]),
        (["latest"], [], ["CC-MAIN-2024-26"]),
        (["latest"], ["CC-MAIN-2013-20"], THERE[2::-1]),
        (["latest"], ["CC-MAIN-2024-18", "CC-MAIN-2024-22"], ["CC-MAIN-2024-26"]),
        (["latest"], ["CC-MAIN-2024-26"], []),
        (["latest"], ["CC-MAIN-2024-30"], []),
    ],
)
def test_latest_is_what_is_newer_than_the_history(
    stated: list[str], known: list[str], found: list[str]
) -> None:
    assert chosen(stated, THERE, known) == found


PATHS = [f"crawl-data/X/segments/{n % 7}.1/warc/X-{n:05d}.warc.gz" for n in range(300)]


@given(st.integers(1, 300), st.integers(1, 300))
def test_more_files_extend_fewer(one: int, other: int) -> None:
    few, many = sorted((one, other))
    smaller, larger = sampled(PATHS, few, 1.0), sampled(PATHS, many, 1.0)
    assert len(smaller) == few and set(smaller) <= set(larger)
    assert [path for path in PATHS if path in larger] == larger


@given(st.floats(0.001, 1.0), st.floats(0.001, 1.0))
def test_larger_shares_extend_smaller_ones(one: float, other: float) -> None:
    few, many = sorted((one, other))
    assert set(sampled(PATHS, None, few)) <= set(sampled(PATHS, None, many))


def test_a_share_is_about_that_share() -> None:
    assert 60 < len(sampled(PATHS, None, 0.3)) < 120


@pytest.mark.parametrize(
    "body, why",
    [
        (gzip.compress(b"<html>\n<body>\n"), "HTML page"),
        (gzip.compress(b"not found, sorry\n"), "not"),
        (gzip.compress(b"../../etc/passwd\n"), "passwd"),
        (gzip.compress(b"https://elsewhere.example/a.warc.gz\n"), "elsewhere"),
        (gzip.compress("\n".join(PATHS).encode())[:-30], "no whole gzip"),
        (gzip.compress(b""), "no whole gzip"),
    ],
)
def test_what_is_no_listing_is_refused(access: Access, body: bytes, why: str) -> None:
    file = {"/crawl-data/X/warc.paths.gz": body}
    with serving(file) as server, pytest.raises(Foreign, match=why):
        listing("X", "warc", server.url("/"), access)


def test_a_crawl_without_a_listing_says_since_when_there_are_some(access: Access) -> None:
    with serving({}) as server, pytest.raises(NoSuchObject, match="2013"):
        listing("CC-MAIN-2012", "warc", server.url("/"), access)
    with serving({}) as server, pytest.raises(NoSuchObject, match=r"check the address$"):
        listing("CC-MAIN-2024-22", "warc", server.url("/"), access)


@pytest.mark.parametrize(
    "code, found", [("zh", "zho"), ("ZHO", "zho"), ("chi", "zho"), ("de", "deu"), ("war", "war")]
)
def test_codes_of_languages(code: str, found: str) -> None:
    assert three_letters(code) == found


def test_an_unknown_language_is_refused_with_near_ones() -> None:
    with pytest.raises(ValueError, match=r"did you mean .*'zho'"):
        three_letters("zoh")
    with pytest.raises(ValueError, match=r"'german' is none that Common Crawl's index has; it has"):
        three_letters("german")
