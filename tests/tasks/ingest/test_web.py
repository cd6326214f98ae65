"""Pages: which records count as pages, all kinds of encodings, and the form of the text."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ingest.charset.detect import decode
from tasks.ingest.clean import clean
from tasks.ingest.page import html_text
from tasks.ingest.raw_documents import RawDocument, Rejected, Unreadable
from tasks.ingest.web import crawl_of_archive, web_documents
from tests.tasks.ingest.archives import members, page, record, response

LIMIT = 1 << 20


def read(tmp_path: Path, *stream: bytes, wet: bool = False) -> list[RawDocument | Rejected]:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(members(list(stream)))
    return list(web_documents(path, lambda *place, **_: True, wet=wet, max_page_bytes=LIMIT))


def reasons(found: list[RawDocument | Rejected]) -> list[str]:
    return [item.reason if isinstance(item, Rejected) else "kept" for item in found]


def test_the_crawl_is_what_warcinfo_says_or_the_path(tmp_path: Path) -> None:
    """As Common Crawl's own archives have it; collections of other crawlers are no crawl."""

    def info(*collections: str) -> bytes:
        body = "".join(f"isPartOf: {one}\r\npublisher: p\r\n" for one in collections)
        return record("warcinfo", b"software: x\r\n" + body.encode())

    plain = response(b"plain words", "Content-Type: text/plain")
    stream = [response(page(0)), info("CC-MAIN-2024-22"), response(page(1)), plain]
    stream += [info(), plain, info("CC-NEWS"), plain, info("Temporary%20Collection"), plain]
    found = [one for one in read(tmp_path, *stream) if isinstance(one, RawDocument)]
    crawl = "CC-MAIN-2024-22"
    assert [one.stated.dump for one in found] == [None, crawl, crawl, None, "CC-NEWS", None]
    wet = read(tmp_path, info(crawl), record("conversion", b"text"), wet=True)
    assert isinstance(wet[1], RawDocument) and wet[1].stated.dump == crawl

    path = "crawl-data/CC-MAIN-2025-05/segments/1.2/warc/CC-MAIN-3.warc.gz"
    assert crawl_of_archive(path) == "CC-MAIN-2025-05"
    assert crawl_of_archive("CC-MAIN-2025-05/a.warc.gz") is None
    read(tmp_path, info(crawl), plain)  # writes the archive
    _, known = web_documents(
        tmp_path / "a.warc.gz",
        lambda *place, **_: True,
        wet=False,
        max_page_bytes=LIMIT,
        crawl="CC-MAIN-2025-05",
    )
    assert isinstance(known, RawDocument) and known.stated.dump == "CC-MAIN-2025-05"


def test_what_is_a_page(tmp_path: Path) -> None:
    html = page(1)
    found = read(
        tmp_path,
        record("warcinfo", b"software: x"),
        record(
            "request", b"GET / HTTP/1.1\r\n\r\n", content_type="application/http; msgtype=request"
        ),
        record("revisit", b"HTTP/1.1 200 OK\r\n\r\n", content_type="application/http"),
        response(html, status="404 Not RawDocument"),
        response(html, status="200"),
        response(html, "Content-Type: image/png"),
        response(html, "X-Nothing: here"),
        response(b"plain words", "Content-Type: text/plain"),
        response(b"User-agent: *", "Content-Type: text/plain", uri="http://a/robots.txt"),
        record("response", b"no status line\r\n\r\n"),
        record("resource", html, content_type="text/html; charset=utf-8"),
        record("conversion", b"text"),
        response(b"<html>" + b"x" * LIMIT, "Content-Type: text/html"),
    )
    assert reasons(found) == [
        "warc.warcinfo",
        "warc.request",
        "warc.revisit",
        "http_status",
        "kept",
        "content_type",
        "kept",
        "kept",
        "robots_txt",
        "http",
        "kept",
        "warc.conversion",
        "page_too_large",
    ]
    kept = next(item for item in found if isinstance(item, RawDocument))
    assert (
        "Sentence 3 of page number 1." in kept.text
        and kept.date == "2024-05-01T00:00:00Z"
        and kept.url == "http://a/"
    )


def test_wet_with_old_headers(tmp_path: Path) -> None:
    old = b"WARC/1.0\nWARC-Type: conversion\nWARC-Target-URI: http://old/\nContent-Length: 9\n\nTitel\nabc\n\n"  # noqa: E501
    found = read(
        tmp_path,
        record("warcinfo", b"x"),
        record("conversion", "Größe 中文\n".encode()),
        old,
        wet=True,
    )
    assert reasons(found) == ["warc.warcinfo", "kept", "kept"]
    assert [item.text for item in found if isinstance(item, RawDocument)] == [
        "Größe 中文\n",
        "Titel\nabc",
    ]


PAGE = page(3)


@pytest.mark.parametrize(
    "data, declared",
    [
        ("Größe 中文".encode(), "latin-1"),
        ("Größe 中文".encode("utf-8-sig"), None),
        ("Größe".encode("cp1252"), "iso-8859-1"),
        ("你好，世界。".encode("gb18030") * 30, "gb2312"),
        ("你好，世界。".encode("gb18030") * 30, "no-such-charset"),
        ("你好".encode("utf-16"), None),
        ("日本語".encode("iso2022_jp"), "iso-2022-jp"),
        ("Größe".encode()[:-1] + "é".encode()[:1], None),
    ],
)
def test_character_sets(data: bytes, declared: str | None) -> None:
    text = decode(data, (declared,))
    assert "\ufffd" not in text
    assert text.startswith(("Grö", "你好", "日本語"))


def test_no_character_set() -> None:
    with pytest.raises(Unreadable, match="charset"):
        decode(bytes(range(256)) * 20 + bytes(400))


@pytest.mark.parametrize(
    "bomb",
    [
        "<div>" * 20_000,
        "<select>" + "<option>x" * 20_000,
        "<div " + " ".join(f"a{i}=b" for i in range(30_000)) + ">",
    ],
)
def test_pages_made_to_take_for_ever_are_refused(bomb: str) -> None:
    began = time.process_time()
    with pytest.raises(Unreadable, match="page_too_complex"):
        html_text(b"<html><body>" + bomb.encode(), None)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("nested", "is_read"),
    [
        ("<div>" * 254, True),  # the 256th element, with <html> and <body>
        ("<div>" * 255, False),
        ("<div>" * 253 + "<br>", True),
        ("<div>" * 254 + "<br>", False),
        ("<template>" + "<div>" * 400 + "</template>", True),  # no part of the page's tree
    ],
)
def test_the_depth_of_pages_that_are_read(nested: str, is_read: bool) -> None:
    page = f"<html><body>{nested}words".encode()
    if is_read:
        html_text(page, None)
    else:
        with pytest.raises(Unreadable, match="page_too_complex"):
            html_text(page, None)


def test_bad_page_costs_itself(tmp_path: Path) -> None:
    bad = response(
        b"<html><body>" + b"<div>" * 20_000, "Content-Type: text/html; charset=unknown-8bit"
    )
    assert reasons(read(tmp_path, response(page(1)), bad, response(page(2)))) == [
        "kept",
        "page_too_complex",
        "kept",
    ]


def test_the_form_of_text() -> None:
    assert clean("a\r\nb\rc\u2028d\0\x07\x81\ufeff\te\u0301") == "a\nb\nc\nd\t\u00e9"
    assert clean("x\ud800y") == "x\ufffdy"
    began = time.process_time()
    assert len(clean("a" + "\u0300\u0323" * 100_000)) <= 31
    assert time.process_time() - began < 2


@given(st.text())
def test_clean_is_stable_and_encodable(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert once.encode().decode() == once


def test_running_text_is_kept_and_what_surrounds_it_is_not() -> None:
    body = (
        "Llamas graze on the high plains and give wool that is spun by hand in the villages below."
    )
    page = f"""<html><body><main>
    <p><a href="/">Home</a> &gt; <a href="/news">News</a></p><p>By A. Writer</p>
    <h1>Llamas &amp; wool</h1><h2>Grazing</h2><p>{body}</p><p>Short line.</p>
    <ol><li>{body}</li><li>wool</li><li>{body}</li></ol>
    <p>a &lt; b:<br>{body}</p><pre>for llama in herd:\n    shear(llama)</pre>
    <p>{body}</p><h2>Read more</h2><p><a href="/1">{body}</a></p><p>Share this</p>
    </main></body></html>"""
    assert html_text(page.encode(), None).split("\n") == [
        "Llamas & wool",
        "",
        "Grazing",
        "",
        body,
        "",
        "Short line.",
        "",
        f"• {body}",
        "• wool",
        f"• {body}",
        "",
        "a < b:",
        body,
        "",
        "for llama in herd:",
        "    shear(llama)",
        "",
        body,
    ]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60), st.sampled_from([PAGE, b"<table>", b"<svg>", b"</p>", b"<!--"])
        )
    )
)
def test_any_bytes_are_text_or_unreadable(parts: list[bytes]) -> None:
    try:
        clean(html_text(b"".join(parts), "utf-16")).encode()
    except Unreadable as error:
        assert str(error) in ("charset", "page_too_complex")


def test_ids_are_made_of_the_record(tmp_path: Path) -> None:
    """The header block stands for a record that has an id of its own, else its content does too."""
    one, other = response(page(1)), response(page(2))
    assert len(one) == len(other)

    def key(stored: bytes) -> bytes:
        (found,) = read(tmp_path, stored)
        assert isinstance(found, RawDocument)
        return found.key

    assert key(one) == key(one) != key(other)
    with_id = [
        stored.replace(b"WARC-Type", b"WARC-Record-ID: <urn:uuid:1>\r\nWARC-Type", 1)
        for stored in (one, other)
    ]
    assert key(with_id[0]) == key(with_id[1])
    assert b"urn:uuid:1" in key(with_id[0]) and b"<html>" not in key(with_id[0])
