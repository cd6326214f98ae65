"""What `puna plan` advises of two ways of reading a crawl."""

from typing import Any

import pytest

from flows.planning.reading import _advice, _wrong_way
from flows.recipe.sections import Source
from tasks.ingest.commoncrawl.estimate import Reading


def source(select: dict[str, Any] | None, **more: Any) -> Source:
    ingest = {"format": "commoncrawl", "crawl": "CC-MAIN-2024-22", **more}
    keep = {"languages": ["de", "fr"]}
    return Source.model_validate(
        {"ingest": ingest | ({"select": select} if select else {}), "langid": {"keep": keep}}
    )


def reading(read: int, whole: int, records: int = 9) -> Reading:
    return Reading(2, whole, 3, read // 2, records, 5, read - read // 2)


def test_the_cheaper_way_is_advised() -> None:
    """Also of few bytes, where no way would be wrong."""
    german = source({"languages": ["de"]})
    assert _advice(reading(900, 600), german) == (
        "ranges and index cost more than whole archives: read whole archives: leave select out and "
        "cut by language (langid.keep.languages)"
    )
    assert _advice(reading(100, 70_100), german) == (
        "ranges are the cheaper way, by 70.0 kB: keep select"
    )
    assert _advice(reading(900, 600, records=0), german) == ""


@pytest.mark.parametrize(
    ("select", "next_action"),
    [
        ({"domains": ["a.org"]}, "leave select out, if pages that domains would leave out may"),
        (
            {"languages": ["de"], "tlds": ["de"], "mime": ["text/html"]},
            "leave select out and cut by language (langid.keep.languages), if pages that tlds and "
            "mime would",
        ),
    ],
)
def test_what_cannot_be_cut_later_is_said(select: dict[str, Any], next_action: str) -> None:
    assert next_action in _advice(reading(900, 600), source(select))
    large = _wrong_way(reading(9 * 10**9, 10**10), source(select).ingest, 10)
    assert large.startswith("ranges are 90% of the archives' bytes") and next_action in large


def test_whole_archives_for_few_languages_are_told_of_select() -> None:
    whole = Reading(2, 600)
    assert "select: {languages: [de, fr]}" in _advice(whole, source(None))
    assert _advice(whole, source(None, kind="wet")) == ""
    other = Source.model_validate({"ingest": source(None).ingest.model_dump(), "langid": {}})
    assert _advice(whole, other) == ""
