"""The language that a page declares, and the account of pages by it."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.ingest import page_language as counting
from tasks.ingest.page_language import LanguageCounts, count_page, merge, page_language, rows_of
from tasks.ingest.stage import STAGE, IngestParameters
from tests.stage_harness import run_stage
from tests.tasks.ingest.archives import members, page, response


@pytest.mark.parametrize(
    "html, language",
    [
        (b'<!doctype html><html lang="en">', "en"),
        (b"<HTML class=x xml:lang='zh_Hant-TW' dir=ltr>", "zh-Hant-TW"),
        (b"<html lang=DE>", "de"),
        (b'<html data-lang="fr">', ""),
        (b'<html lang="">', ""),
        (b'<html lang="${lang}">', ""),
        (b'<html lang="english">', ""),
        (b'<body lang="en">', ""),
        (b"<!--" + b"x" * 20_000 + b'--><html lang="en">', ""),
        (b"<html lang=", ""),
    ],
)
def test_declared_languages(html: bytes, language: str) -> None:
    assert page_language(html) == language


def test_kinds_of_language_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_LANGUAGES", 2)
    counts: LanguageCounts = {}
    for language in ("en-US", "en", "de", "fr", ""):
        count_page(counts, language, 10, 5 if language != "de" else None)
    merge(counts, {"en": {"pages": 1, "payload_bytes": 1}})
    assert rows_of(counts) == [
        {"language": "en", "pages": 3, "documents": 2, "payload_bytes": 21, "text_bytes": 10},
        {"language": "und", "pages": 2, "documents": 2, "payload_bytes": 20, "text_bytes": 10},
        {"language": "de", "pages": 1, "documents": 0, "payload_bytes": 10, "text_bytes": 0},
    ]


def test_pages_that_give_no_document_count_for_their_language(tmp_path: Path) -> None:
    def tagged(language: bytes, html: bytes) -> bytes:
        return html.replace(b"<html>", b'<html lang="' + language + b'">')

    stream = [
        response(tagged(b"en", page(1)), uri="http://a/1"),
        response(tagged(b"th-TH", page(2)), uri="http://a/2"),
        response(tagged(b"th", page(3, words=12)), uri="http://a/3"),
        response(page(4), uri="http://a/4"),
        response(page(5), uri="http://a/5", status=404),
        response(tagged(b"km", b"<html>" + b"<div>" * 2_000), uri="http://a/6"),
    ]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(members(stream))
    parameters = IngestParameters.model_validate(
        {"format": "warc", "paths": [str(path)], "min_characters": 150}
    )
    built = run_stage(STAGE, parameters, name="web", tmp_path=tmp_path)
    table = pq.read_table(built.path("part-00000.parquet")).to_pydict()
    assert table["declared_language"] == ["en", "th-TH", None]
    counts = {
        row["language"]: (row["pages"], row["documents"])
        for row in built.statistics["page_languages"]
    }
    assert counts == {"th": (2, 1), "en": (1, 1), "km": (1, 0), "und": (1, 1)}
    by_language = {row["language"]: row for row in built.statistics["page_languages"]}
    assert by_language["en"]["payload_bytes"] > by_language["en"]["text_bytes"] > 150
