"""Which bodies are pages: types as servers write them, markup under other types, data and programs
sent as pages.
"""

import json
from pathlib import Path

import pytest

from tasks.ingest.content_type import declared, kind_of, may_be_page
from tests.tasks.ingest.archives import page, record, response
from tests.tasks.ingest.test_web import read, reasons

PAGE = page(4)


@pytest.mark.parametrize(
    "header, expected",
    [
        ("text/html", ("text/html", None)),
        ('Text/HTML; Charset="GBK"', ("text/html", "GBK")),
        ("text/html charset=utf-8", ("text/html", "utf-8")),
        ("text/html;", ("text/html", None)),
        ("text/html, text/html; charset=gbk", ("text/html", "gbk")),
        ("text/plain, text/html", ("text/html", None)),
        ("text/html; charset=big5, */*", ("text/html", "big5")),
        ("*/*", ("*/*", None)),
        ('"text/html"', ("text/html", None)),
        ("'text/html'; charset='utf-8'", ("text/html", "utf-8")),
        ("charset=utf-8", ("", "utf-8")),
        ("html", ("", None)),
        ("", ("", None)),
    ],
)
def test_types_are_read_as_they_are_written(header: str, expected: tuple[str, str | None]) -> None:
    assert declared(header) == expected


HTML = [
    PAGE,
    b'\xef\xbb\xbf\r\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN"><html>x</html>',
    b"<?xml version='1.0'?><!DOCTYPE html><html xmlns='http://www.w3.org/1999/xhtml'>x</html>",
    b"<?xml version='1.0'?>\n<!-- made by hand -->\n<html>x</html>",
    b"<!-- " + b"a long comment " * 500 + b" --><html>x</html>",
    "<html><body>Seite</body></html>".encode("utf-16"),
    "<html><body>Seite der Gemeinde</body></html>".encode("utf-16-be"),
    b"Warning: mysql_connect() in /x.php on line 3\n<!DOCTYPE html><html>x</html>\n<!-- 0.3 s -->",
]


@pytest.mark.parametrize("body", HTML)
@pytest.mark.parametrize(
    "type_",
    [
        "text/html",
        "application/xhtml+xml",
        "text/plain",
        "",
        "*/*",
        "application/octet-stream",
        "text/xml",
        "text/x-html",
    ],
)
def test_html_is_html_whatever_it_was_sent_as(body: bytes, type_: str) -> None:
    assert may_be_page(type_) and kind_of(type_, body) == "html"


@pytest.mark.parametrize(
    "type_",
    ["image/png", "application/json", "text/css", "application/javascript", "text/markdown"],
)
def test_other_types_are_not_examined(type_: str) -> None:
    assert not may_be_page(type_)


DATA = [
    json.dumps({"a": [1, 2], "b": "<div>x</div>"}).encode(),
    b"[]",
    b" [1, 2, 3]\n",
    b"\xef\xbb\xbf{}",
    b")]}',\n" + b'{"a": 1}',
    b'{"id": 1, "name": "cut sh',
    b'{"id": 1}\n{"id": 2}\n',
    b'[{"a": "\xe9"}, {"a": 2}]',
    b'callback({"a": 1});',
    b'/**/ jQuery123_4({"a": [1]})',
    b"<?xml version='1.0'?><rss version='2.0'><channel/></rss>",
    b'<rss version="2.0"><channel><title>x</title></channel></rss>',
    b"<?xml version='1.0' encoding='utf-8'?>\n<?xml-stylesheet href='a.xsl'?>\n<!-- x -->\n<feed xmlns='a'></feed>",  # noqa: E501
    b'<?xml version=\'1.0\'?><!DOCTYPE plist PUBLIC "-//A//B" "http://a/b.dtd"><plist/>',
    b"<?xml version='1.0'?><urlset><url/></urlset>",
    b"<?xml version='1.0'?><response code='0'/>",
    b"<svg xmlns='http://www.w3.org/2000/svg'><path d='M0'/></svg>",
    b"var a = 1; function b() { return a; }",
    b"/* (c) 2020 */\n!function(a){a.b=1}(window);",
    b"(function () {\n  'use strict';\n  x();\n})();",
    b'"use strict";\nconst a = 1;\n',
    b"document.write('<div>advertisement</div>');",
    b"$(document).ready(function(){ $('p').hide(); });",
    b"window.dataLayer = window.dataLayer || [];",
    b"import a from './a.js';\nexport default a;",
    b'@charset "utf-8";\nbody { color: red; }',
    b"/* theme */\n.a, .b > li { margin: 0 auto; }\n#c { top: 0 }",
    b"@media print { .no { display: none } }",
    b"a:hover{color:#fff}",
    b"@font-face { font-family: X; src: url(x) }",
    b"%PDF-1.4 x",
    b"\x89PNG\r\n\x1a\n...",
    b"\xff\xd8\xff\xe0 x",
    b"GIF89a x",
    b"PK\x03\x04 x",
    b"\x1a\x45\xdf\xa3 x",
]


@pytest.mark.parametrize("body", DATA)
@pytest.mark.parametrize("type_", ["text/html", "text/plain", "", "application/xhtml+xml"])
def test_data_and_programs_are_not_pages(body: bytes, type_: str) -> None:
    assert kind_of(type_, body) is None


FRAGMENTS = [
    b"<p>Only a paragraph.</p>",
    b"<div class='x'>a</div>",
    b"<!-- x --><h2>A</h2>",
    b"<table><tr><td>1</td></tr></table>",
    b"<script>var a = 1;</script><p>x</p>",
    b"<!-- never closed <p>x</p>",
    b"<a href='/'>home</a> and more",
]


@pytest.mark.parametrize("body", FRAGMENTS)
def test_fragments_are_html_under_both_types(body: bytes) -> None:
    assert kind_of("text/html", body) == kind_of("text/plain", body) == "html"
    assert kind_of("application/octet-stream", body) is None


PROSE = [
    b"2024 was a dry year.",
    b"{curly} people said so; and [1] others.",
    b"[Editor's note: he left.]",
    b"[1] Smith, 2020.",
    b"Function words (such as 'the') are frequent; they matter.",
    b"let us go then, you and I (evening)",
    b"window shopping (for fun)",
    b"define (verb): to say what a word means;",
    b"a < b and b > c",
    b"If (and only if) it rains { } we stay.",
    b"import duties from 1903 were 'high'",
    b"var. alba (Linn.)",
    b"Body {noun: the trunk} of a person, and much more prose about it follows here.",
    b"<- see the arrow",
    b"# A heading\n\n* one\n* two\n",
    b"a,b,c\n1,2,3\n",
    b"this(x) is a function of x; so is that(y)",
    "中文的文章，第一段。".encode("gb18030"),
    "“Quoted”: {yes}".encode(),
]


@pytest.mark.parametrize("body", PROSE)
def test_prose_stays(body: bytes) -> None:
    assert kind_of("text/plain", body) == "text"
    assert kind_of("text/html", body) == "html"


def test_markdown_that_begins_with_an_element_is_text() -> None:
    readme = b"<p align='center'><img src='a.png'></p>\n\n# Mill\n\n" + b"* A line of a list.\n" * 9
    assert kind_of("text/plain", readme) == "text" and kind_of("text/html", readme) == "html"


@pytest.mark.parametrize(
    "body",
    [
        b"var x = 1;\n<html><body>x</body></html>;",
        b'{"error": 0}<html><body>x</body></html>',
        b".a { color: red }\n<p>Text</p> { }",
        b"<?xml version='1.0'?><div>x</div>",
        b"<?php echo 1; ?><p>x</p>",
        b"<!DOCTYPE html SYSTEM 'about:legacy-compat'>x",
        b"<?xml version='1.0'?><wml><card>x</card></wml>",
    ],
)
def test_pages_with_stray_beginnings_stay(body: bytes) -> None:
    assert kind_of("text/html", body) == "html"


def test_reasons_of_records(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        response(PAGE, "Content-Type: text/html charset=utf-8"),
        response(PAGE, "Content-Type: text/html\r\nContent-Type: text/html"),
        response(PAGE, "Content-Type: */*"),
        response(PAGE, "Content-Type:"),
        response(PAGE, "Content-Type: text/plain; charset=utf-8"),
        response(b'{"a": 1}', "Content-Type: text/html"),
        response(b"body { color: red }", "Content-Type: text/plain"),
        response(b'{"a": 1}', "Content-Type: */*"),
        response(b"words", "Content-Type: application/octet-stream"),
        response(PAGE, "Content-Type: image/png"),
    )
    assert reasons(found) == [
        *["kept"] * 5,
        "not_html",
        "not_text",
        "content_type",
        "content_type",
        "content_type",
    ]
    assert all("<" not in getattr(item, "text", "") for item in found)


@pytest.mark.parametrize(
    "target, kept",
    [
        ("metadata://gnu.org/software/wget/warc/wget.log", False),
        ("urn:X-wpull:log", False),
        ("", False),
        ("urn:text:http://example.org/", False),
        ("urn:pageinfo:http://a/", False),
        ("screenshot:http://a/", False),
        ("urn:uuid:1", False),
        ("dns:a.org", False),
        ("http://a/", True),
        ("HTTPS://a/", True),
        ("<http://a/>", True),
        ("ftp://a/b.txt", True),
        ("file:///srv/a.txt", True),
    ],
)
def test_resources_are_documents_if_their_target_is_an_address(
    tmp_path: Path, target: str, kept: bool
) -> None:
    found = read(tmp_path, record("resource", b"Plain text of some kind.", target, "text/plain"))
    assert reasons(found) == ["kept" if kept else "resource_target"]


SCRIPTS = [
    b"class Foo extends Bar { constructor() { super(); this.a = 1; } }\nnew Foo();",
    b"const {a, b} = require('x');\nmodule.exports = {c: a(b), d: '<p>text</p>'};",
    b"googletag.cmd.push(function(){x();});angular.module('x').run(function(){y();});",
    b"(self.webpackChunk=self.webpackChunk||[]).push([[1],{2:function(e,t){e.exports=t;}}]);",
    b"#!/usr/bin/env node\nfor (let i = 0; i < 3; i++) { f(i); } // <b>not this</b>\n{ g(); }",
    b"pre{white-space:pre}code,kbd{font:1em x}label{display:block}fieldset{border:0}",
    b"@mixin a{color:red}@property --a{syntax:'x'}custom-element{display:block}small{top:0}",
    b"$var: 1px;\n.a { b: $var; }\n@color: red;\n.c { d: @color; }\nem { margin: 0; }\n",
]
XML = [
    b"<atom:feed xmlns:atom='x'><atom:title>t</atom:title></atom:feed>",
    b"<Envelope xmlns='http://a'><p>x</p></Envelope>",
    b"<!-- made by x --><?xml version='1.0'?><list><item/></list>",
    b"<!DOCTYPE plist PUBLIC 'a' 'b'>\n<plist version='1.0'><dict></dict></plist>",
    b"<OAI-PMH xmlns='x'></OAI-PMH>\n",
    b"<playlist><song>1</song></playlist>",
    b"<math xmlns='x'><mi>x</mi></math>",
]


@pytest.mark.parametrize("body", [*SCRIPTS, *XML])
def test_programs_and_xml_with_any_beginning_are_not_pages(body: bytes) -> None:
    assert kind_of("text/html", body) is kind_of("application/xhtml+xml", body) is None
    assert kind_of("text/plain", body) == (None if body in XML else "text")  # code is text


@pytest.mark.parametrize(
    "body",
    [
        b"Use f(x); then g(y); and h(z); see (1); (2); (3); {4}; and so on in words.",
        b"[1] Smith (2020); [2] Jones (2021); [3] Lee (2022); [4] Wu (2023);",
        b"a { color: red } b { color: blue; top: 0 } <p>A page about style {sheets};</p> {}",
        b"<x-app><p>A page of an element of its own</p></x-app>",
        b"<wml><card>x</card></wml>",
        b"<Mill>A word in brackets, and a page without any end.",
    ],
)
def test_pages_that_look_a_little_like_code_stay(body: bytes) -> None:
    assert kind_of("text/html", body) == "html"


@pytest.mark.parametrize(
    "tag", ["blockquote", "li", "dl", "hr", "i", "strong", "pre", "aside", "figure", "td", "video"]
)
def test_fragments_begin_with_any_element(tag: str) -> None:
    body = f"<{tag}>Some text <b>of</b> a page</{tag}>\n<p>And more of it.</p>\n".encode()
    assert kind_of("text/plain", body) == kind_of("text/plain", body.upper()) == "html"


@pytest.mark.parametrize(
    "before",
    ["Warning: x() in /a.php on line 3\n", "</div>", "<?php echo 1 ?>", "&nbsp;", "\n\nNotice:\n"],
)
def test_fragments_may_follow_something_else(before: str) -> None:
    body = f"{before}<p>Some text.</p>\n<p>More <a href='x'>of it</a>.</p>\n<p>End.</p>\n"
    assert kind_of("text/plain", body.encode()) == "html"


@pytest.mark.parametrize(
    "body",
    [
        b"Write <p>text</p> for a paragraph,\nand <b>text</b> for bold.\nThat is all.",
        b"if (i<a && b>c) {\n  x = i<p/2;\n}\n",
        b"a <b> c\n" * 9,
        b"# Title\n\n<p align='center'>x</p>\n\n* one\n* two\n<hr>",
    ],
)
def test_text_about_markup_stays_text(body: bytes) -> None:
    assert kind_of("text/plain", body) == "text"
