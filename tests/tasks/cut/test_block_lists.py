"""Block lists: published formats, what an entry blocks and what it does not, bad lines."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.remote import objects
from infra.remote.access import Access
from infra.stage import StageError
from infra.store import Artifact
from tasks.cut.addresses import domains_of, host_of, page_of, prefixes_of
from tasks.cut.block_lists import Kind, Malformed, entries_of, hash_of, read_list
from tasks.cut.stage import STAGE, CutParameters
from tests.loopback.http import serving
from tests.stage_harness import pins_of, run_stage
from tests.tables import column, documents


@pytest.mark.parametrize(
    "url, host, page",
    [
        ("HTTP://user:pw@WWW.Example.COM:8080/A/b/?q=1#part", "example.com", "example.com/A/b?q=1"),
        ("https://bücher.example", "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("http://b%C3%BCcher.example./", "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("//a.example//x///y/", "a.example", "a.example/x/y"),
        (
            "http://a.example/%7euser/%e4%b8%ad 文",
            "a.example",
            "a.example/~user/%E4%B8%AD%20%E6%96%87",
        ),
        ("http://[2001:DB8::1]:80/x", "2001:db8::1", "2001:db8::1/x"),
        ("http://192.0.2.7/", "192.0.2.7", "192.0.2.7"),
        ("http://www.com/", "www.com", "www.com"),
        ("urn:uuid:1", None, None),
        ("http:///path", None, None),
        ("http://a b.example/", None, None),
        ("", None, None),
    ],
)
def test_addresses_have_one_form(url: str, host: str | None, page: str | None) -> None:
    assert (host_of(url), page_of(url)) == (host, page)


@given(st.text(max_size=60) | st.from_regex(r"https?://[a-z.:@%\[\]?#/]{0,40}"))
def test_any_text_has_a_form_that_is_stable(url: str) -> None:
    page = page_of(url)
    if page is not None:
        assert page_of(page) == page
        assert host_of(page) == host_of(url) and host_of(url) in prefixes_of(page)


def test_what_blocks_a_page() -> None:
    assert list(domains_of("a.b.example")) == ["a.b.example", "b.example", "example"]
    assert list(domains_of("192.0.2.7")) == ["192.0.2.7"]
    assert list(prefixes_of("a.example/x/y?q=1")) == [
        "a.example/x/y?q=1",
        "a.example/x/y",
        "a.example/x",
        "a.example",
    ]
    assert len(list(prefixes_of("a.example" + "/x" * 1_000))) == 65


@pytest.mark.parametrize(
    "line, kind, entries",
    [
        ("Example.com", "domains", ["example.com"]),
        ("www.example.com  # bad", "domains", ["example.com"]),
        ("*.example.com", "domains", ["example.com"]),
        (".gov", "domains", ["gov"]),
        ("0.0.0.0 a.example b.example # ads", "domains", ["a.example", "b.example"]),
        ("127.0.0.1\tlocalhost", "domains", []),
        ("192.0.2.7", "domains", ["192.0.2.7"]),
        ("||example.com^", "domains", ["example.com"]),
        ("||example.com^$all", "domains", ["example.com"]),
        ("https://example.com/", "domains", ["example.com"]),
        ("bücher.example", "domains", ["xn--bcher-kva.example"]),
        ("example.com/a/*", "urls", ["example.com/a"]),
        ("https://www.example.com/a/?x=1", "urls", ["example.com/a?x=1"]),
        ("||example.com/a^", "urls", ["example.com/a"]),
    ],
)
def test_entries(line: str, kind: Kind, entries: list[str]) -> None:
    assert entries_of(line, kind) == entries


@pytest.mark.parametrize(
    "line, kind",
    [
        ("com", "domains"),  # would block nearly everything
        ("*", "domains"),
        ("a.*.example", "domains"),
        ("example.com/a", "domains"),
        ("example.com##.banner", "domains"),
        ("@@||example.com^", "domains"),
        ("||example.com^$third-party", "domains"),
        ("two words", "domains"),
        ("192.0.2.1 router.example", "domains"),
        ("example.com/a*b", "urls"),
        ("/only/a/path", "urls"),
    ],
)
def test_lines_that_are_no_entries(line: str, kind: Kind) -> None:
    with pytest.raises(Malformed):
        entries_of(line, kind)


def test_a_list_of_many_formats(tmp_path: Path) -> None:
    path = tmp_path / "list.txt.gz"
    lines = [
        "[Adblock Plus 2.0]",
        "! a comment",
        "# another",
        "",
        "a.example\r",
        "A.Example",
        "\ufeffb.example",
        "no entry",
        "\x00\u00a0",
    ]
    path.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n\xff\xfe.example\n"))
    reading = read_list([path], "domains")
    assert reading.hashes.tolist() == sorted({hash_of("a.example"), hash_of("b.example")})
    assert reading.malformed == 3 and reading.examples[0] == "line 8 of list.txt.gz: 'no entry'"
    assert reading.hashes.dtype == np.uint64


URLS = [
    "https://www.bad.example/page",
    "http://deep.sub.bad.example:8080/",
    "http://notbad.example/",
    "http://news.example/private/a?x=1",
    "http://news.example/privateer",
    "http://site.gov/",
    "",
    "http://both.example/",
]


def cut(tmp_path: Path, sources: dict[str, dict[str, Any]], block: dict[str, Any]) -> Artifact:
    given = [
        documents(tmp_path, source, [[{"text": "t", "url": url} for url in URLS], ["no rows"]])
        for source in sources
    ]
    parameters = CutParameters.model_validate(
        {
            "sources": {name: {"category": "c", **keep} for name, keep in sources.items()},
            "block": block,
        }
    )
    return run_stage(
        STAGE, parameters, {"documents": given}, tmp_path=tmp_path, pins=pins_of(parameters)
    )


def lists(tmp_path: Path) -> dict[str, Any]:
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "domains").write_text("bad.example\nboth.example\n.gov\nnot an entry\n")
    (tmp_path / "urls").write_text("news.example/private/\nhttp://both.example\nunseen.example/x\n")
    return {"spam": {"domains": str(tmp_path / "domains"), "urls": [str(tmp_path / "urls")]}}


def test_documents_are_dropped_by_domain_and_by_url_before_any_other_check(tmp_path: Path) -> None:
    built = cut(tmp_path, {"web": {}}, lists(tmp_path))
    domain, url = "block.domain.spam", "block.url.spam"
    assert column(built, "reason") == [domain, domain, None, url, None, domain, None, domain, None]
    assert built.ledger.documents("dropped", domain) == 4
    assert built.statistics["funnel"][0]["block"] == 4
    assert built.statistics["block"]["spam"]["domains"]["entries"] == 3
    assert built.statistics["notes"] == [
        "block.spam.domains: 1 lines were skipped, as they are no domain "
        "(line 4 of domains: 'not an entry')"
    ]


def test_a_source_has_lists_of_its_own_or_none(tmp_path: Path) -> None:
    block = lists(tmp_path)
    (tmp_path / "all.txt").write_text(".example\n.gov\n.test\n")
    own = {"spam": {"domains": str(tmp_path / "all.txt")}}
    built = cut(tmp_path, {"web": {"block": {"spam": None}}, "other": {"block": own}}, block)
    reasons = {name: column(built, "reason", f"{name}/") for name in ("web", "other")}
    assert reasons["web"] == [None] * 9
    assert reasons["other"].count("block.domain.spam") == 8
    (tmp_path / "nothing.txt").write_text("unseen.example\n")
    unseen = cut(
        tmp_path / "b",
        {"web": {}},
        {"idle": {"domains": str(tmp_path / "nothing.txt")}, "all": own["spam"]},
    )
    assert unseen.statistics["notes"] == [
        "block.idle.domains blocks no document; do the documents have URLs?"
    ]


def test_lists_on_another_machine_are_fetched(tmp_path: Path) -> None:
    """Two of one name and size, of which no server states the sha256, stay two lists."""
    served = {"/a/domains": b"bad.example\n", "/b/domains": b"gov.example\n"}
    with serving(dict(served)) as server:
        addresses = {name: server.url(f"/{name}/domains") for name in ("a", "b")}
        parameters = CutParameters.model_validate(
            {
                "sources": {"web": {"category": "c"}},
                "block": {name: {"domains": [address]} for name, address in addresses.items()},
            }
        )
        access = Access(cache=tmp_path / "cache")
        pins = {
            f"block.{name}.domains": (objects.stat(address, access),)
            for name, address in addresses.items()
        }
        rows = [[{"text": "t", "url": url} for url in URLS]]
        given = {"documents": [documents(tmp_path, "web", rows)]}
        built = run_stage(STAGE, parameters, given, tmp_path=tmp_path, pins=pins, access=access)
    assert built.ledger.documents("dropped", "block.domain.a") > 0
    assert [note for note in built.statistics["notes"] if ".b." in note] == [
        "block.b.domains blocks no document; do the documents have URLs?"
    ]


def test_a_newer_list_is_another_version_and_a_moved_one_is_not(tmp_path: Path) -> None:
    block = lists(tmp_path)
    first = cut(tmp_path, {"web": {}}, block)
    moved = cut(tmp_path, {"web": {}}, lists(tmp_path / "elsewhere"))
    assert moved.version == first.version
    (tmp_path / "domains").write_text("bad.example\n")
    assert cut(tmp_path, {"web": {}}, block).version != first.version


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("domain,date\na.example,2026-01-01\nb.example,2026-01-02\n")
    with pytest.raises(StageError, match=r"block\.spam\.domains: 3 lines are no domain, 0 are"):
        cut(tmp_path, {"web": {}}, {"spam": {"domains": str(path)}})
    with pytest.raises(ValueError, match="names no file"):
        CutParameters.model_validate({"sources": {"web": {}}, "block": {"spam": {}}})
