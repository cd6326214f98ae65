"""Stage ingest on Parquet: parts, limits, samples, reasons; the same as from JSONL."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.stage import StageError
from infra.store import Artifact
from tasks.documents.schema import DOCUMENTS
from tasks.ingest import parts
from tasks.ingest.stage import STAGE, IngestParameters
from tests.stage_harness import data_digests, run_stage


def build(tmp_path: Path, files: list[Path], **parameters: Any) -> Artifact:
    given = {"format": "parquet", "paths": [str(path) for path in files], **parameters}
    return run_stage(STAGE, IngestParameters.model_validate(given), name="web", tmp_path=tmp_path)


def rows(artifact: Artifact) -> list[dict[str, Any]]:
    return [
        row
        for name in artifact.files("part-")
        for row in pq.read_table(artifact.path(name)).to_pylist()
    ]


def texts(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    kinds = (
        "plain words",
        "\u4e2d\u6587",
        "tab\tand\r\nline",
        "soft\xadhyphen",
        "e\u0301",
        " ends ",
        "",
    )
    return [f"{rng.choice(kinds)} {at}" if at % 9 else "" for at in range(count)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "a.parquet"
    path.parent.mkdir()
    found = texts(5_000)
    table = pa.table(
        {
            "id": list(map(str, range(5_000))),
            "text": found,
            "url": [
                f"http://a/{at}\x00" if at % 50 == 0 else f"http://a/{at}" for at in range(5_000)
            ],
            "language": [("en", "de", None, "")[at % 4] for at in range(5_000)],
            "dump": [("CC-MAIN-2024-51", None, " ")[at % 3] for at in range(5_000)],
            "title": [("a title", " two\n lines ", "x" * 1_500)[at % 3] for at in range(5_000)],
            "license": [("cc-by\u00ad-4.0", None)[at % 2] for at in range(5_000)],
            "date": ["2024-05-06T07:08:09Z" if at % 2 else "long ago" for at in range(5_000)],
        }
    )
    pq.write_table(table, path, row_group_size=700)
    return path


def test_documents_are_those_of_the_same_records(tmp_path: Path, file: Path) -> None:
    lines = tmp_path / "a.jsonl"
    with lines.open("w") as stream:
        for row in pq.read_table(file).to_pylist():
            stream.write(json.dumps(row) + "\n")
    columns = build(tmp_path / "c", [file])
    records = build(tmp_path / "r", [lines], format="jsonl")

    def documents(artifact: Artifact) -> list[tuple[Any, ...]]:
        keys = [name for name in DOCUMENTS.names if name not in ("id", "file", "offset")]
        return [tuple(row[key] for key in keys) for row in rows(artifact)]

    assert documents(columns) == documents(records)
    assert {row["dump"] for row in rows(columns)} == {"CC-MAIN-2024-51", None}
    assert columns.statistics["shortened_metadata_documents"] > 1_000
    for name in {*columns.statistics} - {"payload_bytes", "notes"}:
        assert columns.statistics[name] == records.statistics[name]
    assert columns.ledger.documents("dropped", "too_short") > 500
    assert {row["offset"] for row in rows(columns)} <= set(range(5_000))
    assert pq.read_schema(columns.path("part-00000.parquet")).equals(DOCUMENTS)
    groups = pq.ParquetFile(columns.path("part-00000.parquet")).metadata
    sizes = [groups.row_group(at).num_rows for at in range(groups.num_row_groups)]
    assert sizes[:-1] == [1_000] * (len(sizes) - 1) and len(sizes) == 5


def test_parts_are_row_groups_of_a_large_file(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build(tmp_path / "whole", [file])
    monkeypatch.setattr(parts, "PART_BYTES", (9_000, 9_000))
    cut = build(tmp_path / "cut", [file])
    assert len(whole.files("part-")) == 1 and len(cut.files("part-")) > 5
    assert rows(cut) == rows(whole) and cut.statistics == whole.statistics
    assert cut.manifest.data["ledger"] == whole.manifest.data["ledger"]
    for limit in (1, 699, 1_500, 4_000):
        limited = build(tmp_path / f"limit{limit}", [file], limit=limit)
        assert rows(limited) == rows(whole)[:limit]
        assert limited.statistics["documents"] == limit


def test_a_sample_is_a_share(tmp_path: Path, file: Path) -> None:
    whole = {row["id"] for row in rows(build(tmp_path / "w", [file]))}
    half = build(tmp_path / "h", [file], sample=0.5)
    chosen = {row["id"] for row in rows(half)}
    assert chosen < whole and 0.45 < len(chosen) / len(whole) < 0.55
    ledger = half.ledger
    assert (
        ledger.documents("dropped", "sample")
        + ledger.documents("kept")
        + ledger.documents("dropped", "too_short")
        == 5_000
    )


def test_the_same_bytes_twice(tmp_path: Path, file: Path) -> None:
    assert data_digests(build(tmp_path / "a", [file])) == data_digests(
        build(tmp_path / "b", [file])
    )


def test_prompts_lists_and_several_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table(
        {
            "question": ["who?", None, "bytes"],
            "parts": [["one", "two"], [], None],
            "more": pa.array([b"three", b"four", b"\xff"], pa.binary()),
            "meta": [{"url": "u1"}, {"url": None}, {"url": "u3"}],
        }
    )
    pq.write_table(table, path)
    fields = {"text": ["parts", "more"], "prompt": "question", "url": "meta.url"}
    artifact = build(tmp_path, [path], fields=fields)
    assert [(row["prompt"], row["text"], row["url"]) for row in rows(artifact)] == [
        ("who?", "one\n\ntwo\n\nthree", "u1"),
        ("", "four", ""),
    ]
    assert artifact.ledger.documents("failed", "charset") == 1


def test_fields_of_what_is_in_lists_as_in_json(tmp_path: Path) -> None:
    """Turns of a conversation, all of them or one, and dates in a list."""
    turns = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "She."}]
    given = [{"turns": turns, "meta": {"dates": ["2024-05-17", "x"]}}, {"turns": [], "meta": None}]
    pq.write_table(pa.Table.from_pylist(given), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, given)), encoding="utf-8")
    for name, text in (("turns.content", "Who?\n\nShe."), ("turns.1.content", "She.")):
        fields = {"text": name, "date": "meta.dates"}
        for format in ("parquet", "jsonl"):
            artifact = build(
                tmp_path / name / format, [tmp_path / f"a.{format}"], fields=fields, format=format
            )
            assert [(row["text"], row["date"]) for row in rows(artifact)] == [(text, "2024-05-17")]
            assert artifact.ledger.documents("failed", "field") == 1


def test_broken_files_and_files_of_other_columns_are_counted(tmp_path: Path, file: Path) -> None:
    cut, other = file.with_name("cut.parquet"), file.with_name("other.parquet")
    cut.write_bytes(file.read_bytes()[:-9])
    pq.write_table(pa.table({"content": ["x", "y"], "text": [1, 2]}), other)
    artifact = build(tmp_path, [file, cut, other])
    ledger = artifact.ledger
    assert ledger.documents("failed", "parquet") == 1 and ledger.documents("failed", "field") == 2
    assert artifact.statistics["lost_bytes"] == cut.stat().st_size
    textless, damage = artifact.statistics["notes"]
    assert "content" in textless
    assert damage.startswith(
        f"{cut.stat().st_size:,} bytes of 1 of 3 files could not be read (cut.parquet: "
    )
    shown = artifact.records.read_json("rejected.json")["records"]
    assert [(one["reason"], one["file"]) for one in shown] == [
        ("field", "other.parquet"),
        ("parquet", "cut.parquet"),
        *[("too_short", "a.parquet")] * 5,
    ]
    with pytest.raises(StageError, match=r"no record of source web .*content.*fields.text"):
        build(tmp_path / "other", [other])


def test_rows_that_gave_no_document_are_there_to_read(tmp_path: Path) -> None:
    """Of each reason a few, with their places, in both ways of reading."""
    text = [b"kept " * 9, b"short", None, b"\xff\xfe bytes " * 9, b"long " * 300, b"page " * 999]
    table = pa.table({"text": text * 40, "url": [f"http://u/{at}" for at in range(240)]})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=120, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    at = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    data[at : at + 30] = bytes(30)
    path.write_bytes(data)
    sizes = {"min_characters": 10, "max_text_bytes": 1_024, "max_page_bytes": 4_096}
    found = {}
    for way, fields in (("columns", "text"), ("records", ["text", "text"])):
        artifact = build(tmp_path / way, [path], fields={"text": fields}, **sizes)
        ledger = artifact.ledger
        found[way] = {}
        for one in artifact.records.read_json("rejected.json")["records"]:
            found[way].setdefault(one["reason"], []).append(one)
            assert one["reason"] == "parquet" or one["offset"] < 120
        assert {e.reason: min(e.documents, 5) for e in ledger.lost()} == {
            reason: len(examples) if reason != "parquet" else 5
            for reason, examples in found[way].items()
        }
    shown = found["columns"]
    assert shown["parquet"][0]["offset"] == 120 and len(shown["parquet"]) == 1
    for one in itertools.chain.from_iterable(shown.values()):
        if one["reason"] != "parquet":
            value = text[one["offset"] % 6] or b""
            assert one["head"] == value[:600].decode(errors="replace")
            assert one["url"] == f"http://u/{one['offset']}"


def test_memory_does_not_grow_with_a_row_group(tmp_path: Path) -> None:
    """Ten times the rows in one row group, the same memory: measured in processes of their own."""
    import subprocess
    import sys

    code = """
import re, sys
from pathlib import Path
from tasks.ingest.parquet import open_parquet, read_batches
from tasks.ingest.parquet_columns import columns_of
file = open_parquet(Path(sys.argv[1]))
rows = sum(b.rows.num_rows for b in read_batches(file, [0], columns_of(file.schema_arrow, None)))
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
print(rows, int(peak[1]) >> 10)
"""
    peaks = []
    for count in (10_000, 200_000):
        path = tmp_path / f"{count}.parquet"
        noise = random.Random(0).randbytes(200_000).hex()
        table = pa.table({"text": [noise[at % 300_000 :][:400] for at in range(count)]})
        pq.write_table(table, path, row_group_size=count, use_dictionary=False)
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        )
        read, peak = map(int, done.stdout.split())
        assert read == count
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 40  # MiB; the column alone is 76
