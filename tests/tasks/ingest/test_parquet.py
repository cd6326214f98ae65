"""Parquet files: which columns, which rows, damage, and documents made from columns."""

import hashlib
import itertools
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ingest.clean import clean, cleaned
from tasks.ingest.columnar import REASONS, Limits, direct, judge
from tasks.ingest.fields import FieldTally
from tasks.ingest.lines import ByteRange
from tasks.ingest.parquet import Batch, Lost, column_ranges, open_parquet, read_batches, row_groups
from tasks.ingest.parquet_columns import Columns, WrongColumns, columns_of, leaf_names
from tasks.ingest.raw_documents import Unreadable, iso_date
from tasks.ingest.readers import document_id
from tasks.ingest.stage import JsonlFields

KEY = hashlib.sha256(b"file").digest()
NO_LIMITS = Limits(1.0, 1, 1 << 22, 1 << 22)


def fields(**given: Any) -> JsonlFields:
    return JsonlFields.model_validate(given)


def written(tmp_path: Path, table: pa.Table, **options: Any) -> Path:
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, **options)
    return path


def rows_of(path: Path, wanted: JsonlFields | None = None) -> list[dict[str, Any]]:
    file = open_parquet(path)
    columns = columns_of(file.schema_arrow, wanted)
    found = []
    for batch in read_batches(file, row_groups(file.metadata, None), columns):
        assert isinstance(batch, Batch)
        documents = judge(batch, columns, KEY, NO_LIMITS, FieldTally()).documents
        found += documents.to_pylist()
    return found


def test_columns_are_found_by_name() -> None:
    schema = pa.schema(
        [
            ("text", pa.string()),
            ("a.b", pa.large_string()),
            ("meta", pa.struct([("url", pa.string()), ("x.y", pa.string()), ("n", pa.int64())])),
            ("raw", pa.binary()),
            ("tags", pa.list_(pa.string())),
            ("when", pa.timestamp("ms")),
            ("kind", pa.dictionary(pa.int32(), pa.string())),
        ]
    )
    assert columns_of(schema, None) == Columns(("text",), "", "", "")
    named = fields(text=["a.b", "kind"], prompt="tags", url="meta.url", date="when")
    assert columns_of(schema, named) == Columns(("a.b", "kind"), "tags", "meta.url", "when")
    assert columns_of(schema, fields(text="meta.x.y")).text == ("meta.x.y",)
    assert leaf_names(schema)[2:5] == ["meta.url", "meta.x.y", "meta.n"]
    with pytest.raises(
        WrongColumns, match=r"fields.text: .* no column 'txt' \(did you mean 'text'"
    ):
        columns_of(schema, fields(text="txt"))
    with pytest.raises(WrongColumns, match=r"'meta' is struct.*no text; there are meta.url"):
        columns_of(schema, fields(text="meta"))
    with pytest.raises(WrongColumns, match=r"'meta.n' is int64"):
        columns_of(schema, fields(text="meta.n"))
    with pytest.raises(WrongColumns, match=r"fields.url: there is no column 'link'"):
        columns_of(schema, fields(text="text", url="link"))
    twice = pa.schema([("text", pa.string()), ("m", pa.struct([schema.field("text")] * 2))] * 2)
    for name in ("text", "m.text"):
        with pytest.raises(WrongColumns, match=rf"columns have the name '{name}'; rename all but"):
            columns_of(twice, fields(text=name))


def test_columns_of_known_data_sets() -> None:
    def found(*names: str) -> Columns:
        return columns_of(pa.schema([(name, pa.string()) for name in names]), None)

    crawled = ("text", "id", "dump", "url", "date", "file_path", "language", "language_score")
    known = Columns(("text",), "", "url", "date", language="language", dump="dump")
    assert found(*crawled, "token_count") == known  # FineWeb
    cluster = ("language_script", "minhash_cluster_size", "top_langs")
    assert found(*crawled, *cluster) == known  # FineWeb-2
    assert found("text", "timestamp", "url") == Columns(("text",), "", "url", "timestamp")  # C4
    assert found("text", "meta") == Columns(("text",), "", "", "")  # SlimPajama
    assert found("text") == Columns(("text",), "", "", "")  # SkyPile
    assert found("source", "target") == Columns(("target",), "source", "", "")  # ColossalAI


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.large_binary(),
        pa.string_view(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.large_string()),
    ],
    ids=str,
)
def test_every_type_of_text(tmp_path: Path, kind: pa.DataType) -> None:
    values = ["first", "caf\xe9 \u4e2d\u6587", "soft\xadhyphen\x00", "first"]
    column = pa.array(values).cast(kind)
    path = written(tmp_path, pa.table({"text": column, "url": column}))
    found = rows_of(path)
    assert [row["text"] for row in found] == list(map(clean, values))
    assert [row["url"] for row in found] == list(map(clean, values))
    assert [row["id"] for row in found] == [document_id(KEY, row, 0) for row in range(4)]


def test_bytes_that_are_no_text_and_nulls_are_counted(tmp_path: Path) -> None:
    text = pa.array([b"good", b"\xff\xfe", None, "\u4e2d".encode()], pa.binary())
    path = written(tmp_path, pa.table({"text": text, "url": pa.array([b"u", b"v", b"w", b"\xff"])}))
    file = open_parquet(path)
    columns, tally = columns_of(file.schema_arrow, None), FieldTally()
    (batch,) = read_batches(file, [0], columns)
    assert isinstance(batch, Batch)
    found = judge(batch, columns, KEY, NO_LIMITS, tally)
    assert found.documents["text"].to_pylist() == ["good", "\u4e2d"]
    assert found.documents["url"].to_pylist() == ["u", "\ufffd"]
    rejected = {REASONS[code]: count for code, count in found.rejected.items()}
    assert rejected == {("failed", "charset"): 1, ("failed", "field"): 1}
    assert tally.records == 4 and tally.textless == 1 and tally.unusable["text"] == 1
    assert tally.usable["text"] == 3 and tally.textless_names["url"] == 1


def test_strings_that_are_no_utf8_are_found_out(tmp_path: Path) -> None:
    """Arrow does not look whether a string column holds UTF-8."""
    offsets = pa.py_buffer(b"".join(at.to_bytes(4, "little") for at in (0, 2, 4, 6)))
    text = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"ok\xff\xffok"))
    path = written(tmp_path, pa.table({"text": text}))
    assert [row["offset"] for row in rows_of(path)] == [0, 2]


def test_dates_become_iso(tmp_path: Path) -> None:
    given: list[tuple[pa.Array, list[str]]] = [
        (pa.array(["2024-02-03T04:05:06Z", "yesterday", None]), ["2024-02-03T04:05:06Z", "", ""]),
        (pa.array([date(2024, 2, 3), None, None]), ["2024-02-03", "", ""]),
        (
            pa.array([datetime(2024, 2, 3, 4, 5, 6, 7), None, None], pa.timestamp("us")),
            ["2024-02-03T04:05:06", "", ""],
        ),
        (
            pa.array(
                [datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC), None, None],
                pa.timestamp("ms", "Europe/Berlin"),
            ),
            ["2024-02-03T04:05:06Z", "", ""],
        ),
    ]
    for column, wanted in given:
        path = written(tmp_path, pa.table({"text": ["a", "b", "c"], "date": column}))
        assert [row["date"] for row in rows_of(path)] == wanted


@pytest.mark.parametrize(
    "values",
    [
        ["2024-02-03", "2023-12-31"],
        ["2024-02-03", "2024-02/03"],
        ["2024-02-03T04:05:06Z", "2024-02-03T04:05:07Z"],
        ["2024-02-03T04:05:06Z", "2024-02-03T04:05:0:Z"],
        ["2024-02-03T04:05:06Z", "2024-02-03 04:05:06Z"],
        ["2024-02-03T04:05:06", "2024-02-03T04:05:0/"],
        ["2024-02-03T04:05:06", "\u4e2d\u6587\u4e2d\u6587\u4e2d\u6587x"],
        ["2024-02-03T04:05:06+01:00", "2024-02-03T04:05"],
        ["2024-02-03", None],
        ["2024-02-03", "2024-02-0\u0663"],
    ],
)
def test_dates_of_a_column_are_those_of_its_values(
    tmp_path: Path, values: list[str | None]
) -> None:
    for column in ([*values, values[0]], [values[0], values[0], values[1]]):
        path = written(tmp_path, pa.table({"text": ["a", "b", "c"], "date": column}))
        assert [row["date"] for row in rows_of(path)] == [iso_date(one or "") for one in column]


def test_nested_columns(tmp_path: Path) -> None:
    meta = [{"url": "http://a", "big": "x" * 9}, None, {"url": None, "big": "y"}]
    path = written(tmp_path, pa.table({"text": ["a", "b", "c"], "meta": meta}))
    found = rows_of(path, fields(text="text", url="meta.url"))
    assert [row["url"] for row in found] == ["http://a", "", ""]
    file = open_parquet(path)
    columns = columns_of(file.schema_arrow, fields(text="text", url="meta.url"))
    ranges = column_ranges(file.metadata, [0], columns.names())
    assert len(ranges) == 2  # meta.big is not read


def test_batches_are_bounded_by_bytes_and_rows(tmp_path: Path) -> None:
    small = written(tmp_path, pa.table({"text": [f"row {at}" for at in range(5_000)]}))
    file = open_parquet(small)
    batches = list(read_batches(file, [0], Columns(("text",), "", "", "")))
    assert [batch.first for batch in batches if isinstance(batch, Batch)] == list(
        range(0, 5_000, 1_000)
    )
    large = written(tmp_path, pa.table({"text": ["x" * (1 << 20)] * 64}), use_dictionary=False)
    file = open_parquet(large)
    sizes = [
        batch.rows.num_rows
        for batch in read_batches(file, [0], Columns(("text",), "", "", ""))
        if isinstance(batch, Batch)
    ]
    assert sum(sizes) == 64 and max(sizes) <= 17


def test_byte_ranges_read_each_row_group_once(tmp_path: Path) -> None:
    path = written(tmp_path, pa.table({"text": list(map(str, range(1_000)))}), row_group_size=90)
    file = open_parquet(path)
    size = path.stat().st_size
    for count in (1, 2, 5, 40):
        edges = [number * size // count for number in range(count + 1)]
        found = [
            group
            for start, stop in itertools.pairwise(edges)
            for group in row_groups(file.metadata, ByteRange(start, stop))
        ]
        assert found == list(range(12))


def test_a_file_cut_short_is_unreadable(tmp_path: Path) -> None:
    path = written(tmp_path, pa.table({"text": ["a"] * 100}))
    whole = path.read_bytes()
    for size in (0, 3, 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(Unreadable, match="parquet"):
            open_parquet(path)
    with pytest.raises(OSError):
        open_parquet(tmp_path / "none.parquet")


def test_a_row_groups_own_column_names_are_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["One.", "Two."]}), path, store_schema=False)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"text")
    data[at : at + 4] = b"t\xe3xt"
    path.write_bytes(data)
    with pytest.raises(UnicodeDecodeError):  # what used to end the part
        str(pq.read_metadata(path).row_group(0).column(0).path_in_schema)
    file = open_parquet(path)
    columns = columns_of(file.schema_arrow, None)
    assert column_ranges(file.metadata, [0], ["text"])
    assert [batch.rows.num_rows for batch in read_batches(file, [0], columns)] == [2]


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("hole", [(0, 1), (0.0, 0.05), (0.4, 0.6), (0.95, 1)], ids=str)
@pytest.mark.parametrize("dictionary", [False, True])
def test_a_damaged_row_group_costs_its_rows(
    tmp_path: Path, hole: tuple[float, float], dictionary: bool, compression: str
) -> None:
    """Zeros where a share of its pages was; what is not compressed tells by its checksums."""
    path = written(
        tmp_path,
        pa.table({"text": [f"{at % 60} " * 50 for at in range(300)]}),
        row_group_size=100,
        compression=compression,
        use_dictionary=dictionary,
        write_page_checksum=compression == "none",
    )
    ((start, stop),) = column_ranges(open_parquet(path).metadata, [1], ["text"])
    data = bytearray(path.read_bytes())
    first, last = (start + int(share * (stop - start)) for share in hole)
    data[first:last] = bytes(last - first)
    path.write_bytes(data)
    file = open_parquet(path)
    found = list(read_batches(file, [0, 1, 2], Columns(("text",), "", "", "")))
    assert [type(batch) for batch in found] == [Batch, Lost, Batch]
    assert (
        isinstance(found[1], Lost) and found[1].rows == 100 and 0 < found[1].bytes <= stop - start
    )
    assert isinstance(found[2], Batch) and found[2].first == 200


def test_a_limit_is_exact_and_counts_no_more() -> None:
    rows = pa.record_batch({"text": ["a", None, "b", "c", None, "d"]})
    columns = Columns(("text",), "", "", "")
    tally = FieldTally()
    found = judge(Batch(0, rows), columns, KEY, NO_LIMITS, tally, limit=2)
    assert found.documents["text"].to_pylist() == ["a", "b"]
    assert found.statistics["documents"] == 2 and sum(found.rejected.values()) == 1
    assert tally.records == 3


def test_lists_and_prompts_go_the_other_way() -> None:
    schema = pa.schema([("text", pa.string()), ("parts", pa.list_(pa.string()))])
    assert direct(schema, columns_of(schema, None))
    assert not direct(schema, columns_of(schema, fields(text="parts")))
    assert not direct(schema, columns_of(schema, fields(text=["text", "text"])))
    assert not direct(schema, columns_of(schema, fields(text="text", prompt="text")))
    assert not direct(schema, columns_of(schema, fields(text="text", date="parts")))


value = st.none() | st.text(
    st.sampled_from("ab \n\t\r\x00\xad\u0301e\u4e2d\ufffd\u2028"), max_size=12
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(value, value), max_size=30), st.sampled_from([1.0, 0.5]), st.integers(1, 4)
)
def test_judged_as_records_are(
    given: list[tuple[str | None, str | None]], sample: float, least: int
) -> None:
    """The same documents, reasons and counts as the reader of records has for the same rows."""
    from tasks.ingest.fields import FieldReader
    from tasks.ingest.part import _judge
    from tasks.ingest.raw_documents import SAMPLED_OUT, RawDocument, Rejected, iso_date
    from tasks.ingest.readers import sampler

    limits = Limits(sample, least, 20, 10)
    rows = pa.record_batch(
        {
            "text": pa.array([text for text, _ in given], pa.string()),
            "url": pa.array([url for _, url in given], pa.string()),
        }
    )
    tally, other = FieldTally(), FieldTally()
    found = judge(Batch(7, rows), Columns(("text",), "", "url", ""), KEY, limits, tally)
    wanted, take = sampler(KEY, sample), FieldReader(JsonlFields(text=("text",), date=""), other)
    documents, reasons = [], Counter[tuple[str, str]]()
    parameters = type("P", (), {"min_characters": least, "max_text_bytes": 10})()
    for at, (text, url) in enumerate(given, 7):
        if len((text or "").encode()) > 20:
            reasons["dropped", "page_too_large"] += 1
            continue
        outcome: RawDocument | Rejected = SAMPLED_OUT
        if wanted(at, 0):
            taken = take.read({"text": text, "url": url})
            outcome = (
                RawDocument(at, 0, taken.text, "", taken.url, iso_date(taken.date))
                if taken
                else Rejected("failed", "field")
            )
        judged = _judge(outcome, parameters)
        if isinstance(judged, Rejected):
            reasons[judged.side, judged.reason] += 1
        else:
            documents.append((document_id(KEY, at, 0), judged.text, judged.url, judged.offset))
    columns = [found.documents[name].to_pylist() for name in ("id", "text", "url", "offset")]
    assert list(zip(*columns, strict=True)) == documents
    assert {REASONS[code]: count for code, count in found.rejected.items()} == dict(reasons)
    assert found.statistics["documents"] == len(documents)
    assert found.statistics["characters"] == sum(len(text) for _, text, _, _ in documents)
    assert found.statistics["text_bytes"] == sum(len(text.encode()) for _, text, _, _ in documents)
    for name in ("records", "textless"):
        assert getattr(tally, name) == getattr(other, name)
    for name in ("usable", "unusable"):
        assert +getattr(tally, name) == +getattr(other, name)
    removed = sum(cleaned(text or "")[1] for text, _ in given)
    assert found.statistics["removed_characters"] <= removed
