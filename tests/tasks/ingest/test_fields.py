"""Fields of JSON records: dotted names and lists, values of other types, and messages about missing
fields.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.stage import StageError
from infra.store import Artifact
from tasks.ingest import parts as ingest
from tasks.ingest.fields import (
    FieldReader,
    FieldTally,
    FieldValues,
    first_of,
    notes_on,
    text_of,
    value_at,
)
from tasks.ingest.stage import STAGE, IngestParameters, JsonlFields
from tasks.report.notes import notes_of
from tests.stage_harness import run_stage

ROW = {
    "meta": {"url": "http://a/", "deep": {"er": "down"}, "x.y": "inner"},
    "meta.date": "2024-01-02",
    "a.b": {"c": "dotted object"},
    "pages": [{"text": "one"}, {"text": None}, {"other": 1}, {"text": ["two", "three"]}],
    "nothing": None,
    "number": 3,
}


@pytest.mark.parametrize(
    "name, expected",
    [
        ("meta.url", "http://a/"),
        ("meta.deep.er", "down"),
        ("meta.date", "2024-01-02"),  # a key that contains the dot is preferred
        ("meta.x.y", "inner"),
        ("a.b.c", "dotted object"),
        ("pages.0.text", "one"),
        ("pages.9.text", None),
        ("pages.text", ["one", ["two", "three"]]),
        ("pages.nothing", None),
        ("meta.none", None),
        ("number.x", None),
        ("nothing", None),
        ("nothing.x", None),
        (".", None),
        ("meta.", None),
    ],
)
def test_names_reach(name: str, expected: object) -> None:
    assert value_at(ROW, name) == expected


def _lists_and_objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(
        st.text("ab.", max_size=3), inner, max_size=3
    )


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3), _lists_and_objects, max_leaves=20
    ),
    st.text("ab.0", max_size=8),
)
def test_any_name_in_any_value(value: Any, name: str) -> None:
    found = value_at(value, name)
    if isinstance(value, dict) and name in value:
        assert found == value[name]
    assert isinstance(first_of(found), str | None) and isinstance(text_of(found), str | None)


def test_types_of_values() -> None:
    def taken(row: dict[str, Any], **fields: Any) -> Any:
        return FieldReader(JsonlFields.model_validate({"text": "t", **fields}), FieldTally()).read(
            row
        )

    assert taken({"t": ["a", None, "", ["b"]]}).text == "a\n\nb"
    assert taken({"t": "a", "u": "b"}, text=["t", "u", "v"]).text == "a\n\nb"
    for wrong in (3, True, {"x": "y"}, ["a", 3], None):
        assert taken({"t": wrong}) is None
    assert taken({"t": "a", "p": 3}, prompt="p") is None
    assert taken({"t": "a", "p": ["q", "r"]}, prompt="p").prompt == "q\n\nr"
    many = taken({"t": "a", "url": [None, "http://a", "http://b"], "date": 2024})
    assert (many.url, many.date) == ("http://a", "")
    default = FieldReader(None, FieldTally())
    assert default.read({"source": "q", "target": "a"}) == FieldValues("a", "q", "", "")
    assert default.read({"source": "q", "text": "a", "url": 5}) == FieldValues("a", "", "", "")


def test_what_records_state_becomes_columns(tmp_path: Path) -> None:
    rows: list[Any] = [
        {
            "text": "one",
            "license": ["MIT", "Apache-2.0"],
            "title": " A\ttitle\nof two lines\0 ",
            "author": "",
            "language": "en",
            "dump": "CC-MAIN-2024-51",
        },
        {"text": "two", "license": 5, "title": "t" * 2_000, "meta": {"by": ["A", "B"]}, "dump": 7},
        {"text": "three"},
    ]
    artifact = build(tmp_path, rows, {"text": "text", "author": "meta.by"})
    table = pq.read_table(artifact.path("part-00000.parquet")).to_pydict()
    assert table["license"] == ["MIT, Apache-2.0", None, None]
    assert table["title"] == ["A title of two lines", "t" * 1_000, None]
    assert table["author"] == [None, "A, B", None]
    assert table["declared_language"] == ["en", None, None]
    assert table["published"] == [None] * 3
    assert table["dump"] == ["CC-MAIN-2024-51", None, None]
    assert artifact.statistics["shortened_metadata_documents"] == 1
    fields = {"text": "text", "license": "terms"}
    missing = build(tmp_path / "b", [{"text": "x"}], fields)
    assert missing.statistics["notes"] == ["ingest.fields.license: 'terms' is in none of 1 records"]


def test_lines_of_known_data_sets(tmp_path: Path) -> None:
    """As published: C4's `timestamp` is its date, SlimPajama has `meta`, SkyPile only `text`."""
    c4 = {"text": "a", "timestamp": "2019-04-25T12:57:54Z", "url": "https://a.test/1"}
    slimpajama = {"text": "b", "meta": {"redpajama_set_name": "RedPajamaCommonCrawl"}}
    both = {"text": "d", "timestamp": 1556197074, "date": "2019-04-25"}
    artifact = build(tmp_path, [c4, slimpajama, {"text": "c"}, both])
    table = pq.read_table(artifact.path("part-00000.parquet")).to_pydict()
    assert table["text"] == ["a", "b", "c", "d"]
    assert table["date"] == ["2019-04-25T12:57:54Z", "", "", "2019-04-25"]
    assert table["url"] == ["https://a.test/1", "", "", ""]
    crawled = build(
        tmp_path / "b", [{"text": "x", "crawl": "CC-NEWS"}], {"text": "text", "dump": "crawl"}
    )
    assert pq.read_table(crawled.path("part-00000.parquet"))["dump"].to_pylist() == ["CC-NEWS"]
    fields = {"text": "text", "dump": "dumb"}
    missing = build(tmp_path / "c", [c4], fields)
    assert missing.statistics["notes"] == ["ingest.fields.dump: 'dumb' is in none of 1 records"]


def build(
    tmp_path: Path, rows: list[Any], fields: dict[str, Any] | None = None, **more: Any
) -> Artifact:
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {
        "format": "jsonl",
        "paths": [str(path)],
        **({"fields": fields} if fields else {}),
        **more,
    }
    return run_stage(STAGE, IngestParameters.model_validate(given), name="web", tmp_path=tmp_path)


def test_nested_fields_reach_the_documents_and_missing_ones_are_reported(tmp_path: Path) -> None:
    rows = [
        {"body": {"text": f"Text {at}"}, "meta": {"url": f"http://a/{at}", "when": 5}}
        for at in range(4)
    ]
    fields = {"text": "body.text", "url": "meta.url", "date": "meta.when", "prompt": "question"}
    artifact = build(tmp_path, [*rows, {"other": "x", "meta": {"url": "u"}}], fields)
    table = pq.read_table(artifact.path("part-00000.parquet")).to_pydict()
    assert table["url"] == [f"http://a/{at}" for at in range(4)] and table["text"][3] == "Text 3"
    assert artifact.statistics["fields"] == {"body.text": 4, "meta.url": 5}
    assert artifact.statistics["notes"] == [
        "ingest.fields.prompt: 'question' is in none of 5 records",
        "ingest.fields.date: 'meta.when' holds no text in any of 4 records that have it",
        "1 of 5 records have no text in 'body.text'; they have meta.url, other",
    ]
    assert notes_of({"ingest": [artifact]})[0].startswith(
        "source web: ingest.fields.prompt: 'question'"
    )
    assert artifact.ledger.documents("failed", "field") == 1


def test_missing_default_fields_are_not_reported(tmp_path: Path) -> None:
    assert build(tmp_path, [{"text": "a"}, {"target": "b"}]).statistics["notes"] == []


@pytest.mark.parametrize(
    "rows, fields, message",
    [
        (
            [{"id": 1, "meta": {"url": "u"}, "body": "x"}] * 3,
            {"text": "content"},
            "no record of source web has text in 'content'; its 3 records have body, id, meta.url. "
            "Name the field that holds the text in sources.web.ingest.fields.text",
        ),
        ([{"content": "x"}], None, r"has text in 'text' or 'target'; its 1 records have content"),
        (
            [{"text": 3}, {"text": {"en": "x"}}],
            None,
            r"\(2 have null there, or what is neither a string nor a list",
        ),
        ([{}], {"text": "a"}, "have no field"),
    ],
)
def test_a_source_without_its_text_field_fails(
    tmp_path: Path, rows: list[Any], fields: dict[str, Any] | None, message: str
) -> None:
    with pytest.raises(StageError, match=message):
        build(tmp_path, rows, fields)


def test_records_that_are_not_json_are_not_a_field_error(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text('{"text": \n' * 3)
    given = IngestParameters.model_validate({"format": "jsonl", "paths": [str(path)]})
    artifact = run_stage(STAGE, given, name="web", tmp_path=tmp_path)
    assert artifact.ledger.documents("failed", "json") == 3


def test_tallies_of_parts_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": "x" * 50, "k": at} if at % 3 else {"k": at, f"n{at}": 1} for at in range(600)]
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = build(tmp_path / "whole", rows)
    monkeypatch.setattr(ingest, "PART_BYTES", (4_000, 4_000))
    cut = build(tmp_path / "cut", rows)
    assert len(cut.files("part-")) > 5 and cut.statistics["fields"] == whole.statistics[
        "fields"
    ] == {"text": 400}
    assert cut.statistics["notes"][0].startswith(
        "200 of 600 records have no text in 'text' or 'target'; they have k, "
    )


def test_null_and_numbers_are_reported_as_no_text() -> None:
    tally = FieldTally()
    reader = FieldReader(None, tally)
    rows: list[dict[str, Any]] = [{"text": None}, {"text": 3}, {"text": "words"}]
    assert [reader.read(row) is None for row in rows] == [True, True, False]
    (note,) = notes_on(None, tally)
    assert note.startswith("2 of 3 records have no text in 'text' or 'target' (2 have null there")
    both = FieldReader(JsonlFields(text=("title", "text")), FieldTally())
    assert both.read({"title": None, "text": "words"}) == FieldValues("words", "", "", "")
