"""What a page states of itself: title, author, date, language."""

import json

import pytest
from resiliparse.parse.html import HTMLTree

from tasks.ingest.extract.metadata import Metadata, iso_date, page_metadata


def stated(head: str, body: str = "", attributes: str = "") -> Metadata:
    return page_metadata(
        HTMLTree.parse(f"<html {attributes}><head>{head}</head><body>{body}</body></html>")
    )


def json_ld(value: object) -> str:
    return f'<script type="application/ld+json">{json.dumps(value)}</script>'


def test_a_page_that_states_nothing() -> None:
    assert stated("") == Metadata(None, None, None, None)


def test_meta_elements() -> None:
    found = stated(
        '<title>A &amp; B | Site</title><meta property="og:title" content="A &amp; B">'
        '<meta name="author" content="By Ann Other"><meta property="article:published_time" '
        'content="2024-03-05T10:00:00+01:00">',
        attributes='lang="pt_BR"',
    )
    assert found == Metadata("A & B", "Ann Other", "2024-03-05", "pt-BR")


def test_json_ld_comes_first() -> None:
    data = {
        "@graph": [
            {"@type": "Person", "@id": "#ann", "name": "Ann"},
            {
                "@type": ["NewsArticle"],
                "headline": "The <headline>",
                "author": [{"@id": "#ann"}, {"name": "Bob"}, "Ann"],
                "datePublished": "2023-01-02",
                "inLanguage": "de",
            },
        ]
    }
    found = stated(f"<title>Other</title>{json_ld(data)}")
    assert found == Metadata("The <headline>", "Ann, Bob", "2023-01-02", "de")


def test_shown_elements_are_the_last_resort() -> None:
    found = stated("", '<h1>The <b>title</b></h1><time datetime="2020-02-29">Saturday</time>')
    assert found == Metadata("The title", None, "2020-02-29", None)


@pytest.mark.parametrize("broken", ["{", "[" * 5_000, "null", '{"author": {"name": {"a": 1}}}'])
def test_broken_json_is_passed_over(broken: str) -> None:
    found = stated(f'<script type="application/ld+json">{broken}</script><title>t</title>')
    assert found == Metadata("t", None, None, None)


def test_an_address_is_no_author_and_a_sentence_no_language() -> None:
    found = stated(
        '<meta property="article:author" content="https://example.org/ann">'
        '<meta name="author" content="ann@example.org">',
        attributes='lang="see the page"',
    )
    assert found == Metadata(None, None, None, None)


@pytest.mark.parametrize(
    ("written", "date"),
    [
        ("2024-05-06", "2024-05-06"),
        ("2024-5-6 10:00", "2024-05-06"),
        ("2024/05/06", "2024-05-06"),
        ("20240506", "2024-05-06"),
        ("20240506T101112Z", "2024-05-06"),
        ("Mon, 06 May 2024 10:00:00 GMT", "2024-05-06"),
        ("May 6, 2024", "2024-05-06"),
        ("6th May 2024", "2024-05-06"),
        ("2024-02-30", None),
        ("2024", None),
        ("1699999999", None),
        ("yesterday", None),
        ("May 2024", None),
        ("0001-01-01", None),
        (None, None),
        (7, None),
    ],
)
def test_dates(written: object, date: str | None) -> None:
    assert iso_date(written) == date
