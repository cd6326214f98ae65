"""The stage: ids, ledger, sampling, limits and parts, on archives in memory and on real ones."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from infra.engine.base import Inline
from infra.stage import Pin
from infra.store import Artifact
from tasks.documents.schema import DOCUMENTS
from tasks.ingest import parts as ingest
from tasks.ingest.stage import STAGE, IngestParameters
from tests.stage_harness import data_digests, run_stage
from tests.tables import content_digest
from tests.tasks.ingest.archives import members, page, record, response


def build(tmp_path: Path, parameters: dict[str, Any], files: list[Path], **more: Any) -> Artifact:
    given = IngestParameters.model_validate({"paths": [str(path) for path in files], **parameters})
    return run_stage(STAGE, given, name="web", tmp_path=tmp_path, **more)


def rows(artifact: Artifact) -> list[dict[str, Any]]:
    return [
        row
        for name in artifact.files("part-")
        for row in pq.read_table(artifact.path(name)).to_pylist()
    ]


def archives(tmp_path: Path, count: int = 3, pages: int = 8) -> list[Path]:
    files = []
    for number in range(count):
        path = tmp_path / f"{number}.warc.gz"
        stream = [record("warcinfo", b"x")]
        stream += [
            response(page(100 * number + at), uri=f"http://a/{number}/{at}") for at in range(pages)
        ]
        path.write_bytes(members(stream))
        files.append(path)
    return files


def test_documents_of_archives(tmp_path: Path) -> None:
    files = archives(tmp_path)
    broken = bytearray(files[1].read_bytes())
    broken[-20:] = bytes(20)
    files[1].write_bytes(broken)
    artifact = build(tmp_path, {"format": "warc"}, [*files, files[0]])
    assert pq.read_schema(artifact.path("part-00000.parquet")).equals(DOCUMENTS)
    found = rows(artifact)
    assert [row["url"] for row in found] == [
        f"http://a/{n}/{at}" for n in range(3) for at in range(8) if (n, at) != (1, 7)
    ]
    assert (
        {row["source"] for row in found} == {"web"}
        and found[0]["file"] == "0.warc.gz"
        and found[0]["offset"] > 0
    )
    assert len({row["id"] for row in found}) == 23 and all(len(row["id"]) == 32 for row in found)
    ledger = artifact.ledger
    assert ledger.documents("read") == 27 and ledger.documents("kept") == 23
    assert (
        ledger.documents("failed", "gzip") == 1
        and ledger.documents("dropped", "warc.warcinfo") == 3
    )
    statistics = artifact.statistics
    assert statistics["documents"] == 23 and statistics["repeated_files"] == 1
    assert statistics["text_bytes"] == sum(len(row["text"].encode()) for row in found)
    assert (
        statistics["payload_bytes"] > statistics["text_bytes"] > 0 and statistics["lost_bytes"] > 0
    )
    (note,) = statistics["notes"]
    assert note.startswith(f"{statistics['lost_bytes']:,} bytes of 1 of {statistics['files']} ")


def test_ids_do_not_depend_on_path_or_other_files(tmp_path: Path) -> None:
    files = archives(tmp_path)
    moved = tmp_path / "elsewhere" / files[1].name
    moved.parent.mkdir()
    moved.write_bytes(files[1].read_bytes())
    together = {row["url"]: row["id"] for row in rows(build(tmp_path, {"format": "warc"}, files))}
    alone = {
        row["url"]: row["id"] for row in rows(build(tmp_path / "b", {"format": "warc"}, [moved]))
    }
    assert alone and alone.items() <= together.items()


def test_limit_is_exact_over_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "PART_BYTES", (1, 1))
    files = archives(tmp_path)
    everything = [row["url"] for row in rows(build(tmp_path, {"format": "warc"}, files))]
    for limit in (1, 8, 9, 20, 24, 100):
        artifact = build(tmp_path, {"format": "warc", "limit": limit}, files)
        assert [row["url"] for row in rows(artifact)] == everything[:limit]
        assert artifact.ledger.documents("kept") == min(limit, 24)
        assert len(artifact.files("part-")) == min(-(-limit // 8), 3)


def test_sample_is_a_share_and_the_same_each_time(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(json.dumps({"text": f"document {number}"}) + "\n" for number in range(4_000))
    )
    half = build(tmp_path, {"format": "jsonl", "sample": 0.5}, [path])
    fifth = {row["id"] for row in rows(build(tmp_path, {"format": "jsonl", "sample": 0.2}, [path]))}
    assert 1_900 < len(rows(half)) < 2_100 and fifth < {row["id"] for row in rows(half)}
    ledger = half.ledger
    assert ledger.documents("dropped", "sample") + ledger.documents("kept") == 4_000
    groups = pq.ParquetFile(half.path("part-00000.parquet")).metadata
    assert all(groups.row_group(at).num_rows <= 1_000 for at in range(groups.num_row_groups))


def test_size_limits_are_reasons(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("tiny\n" + "fits well enough\n" + "x" * 2_000 + "\n" + "y" * 5_000 + "\n")
    given = {
        "format": "text",
        "split": "line",
        "min_characters": 10,
        "max_text_bytes": 1_024,
        "max_page_bytes": 4_096,
    }
    artifact = build(tmp_path, given, [path])
    assert [row["text"] for row in rows(artifact)] == ["fits well enough"]
    ledger = artifact.ledger
    assert [
        ledger.documents("dropped", why)
        for why in ("too_short", "text_too_large", "page_too_large")
    ] == [1, 1, 1]


def test_parts_depend_only_on_bytes() -> None:
    def plan(*sizes: int) -> list[list[int]]:
        pins = [Pin(str(at), str(at), f"{at:064x}", size) for at, size in enumerate(sizes)]
        return [
            [file_slice.bytes >> 20 for file_slice in part]
            for part in ingest.part_plan(pins, "warc")
        ]

    megabyte = 1 << 20
    assert plan(3 * megabyte, 0, megabyte, 7 * megabyte, 1) == [[3, 0, 1], [7], [0]]
    assert plan(9 * megabyte, 9 * megabyte, 302 * megabyte) == [[9, 9], [302]]  # 10 MB a part
    assert plan(*[40 * megabyte] * 4, 4_000 * megabyte) == [
        [40, 40],
        [40, 40],
        [4_000],
    ]  # 64 MB at most


def test_a_large_jsonl_is_read_in_byte_ranges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"text": f"{number} " + "x" * (number % 700)}) for number in range(900)]
    path.write_text("\n".join(lines) + "\n{broken\n")
    whole = build(tmp_path / "whole", {"format": "jsonl"}, [path])
    monkeypatch.setattr(ingest, "PART_BYTES", (7_000, 7_000))
    cut = build(tmp_path / "cut", {"format": "jsonl"}, [path])
    assert len(whole.files("part-")) == 1 and len(cut.files("part-")) > 30
    assert rows(cut) == rows(whole) and cut.statistics == whole.statistics
    assert cut.manifest.data["ledger"] == whole.manifest.data["ledger"]
    limited = build(tmp_path / "limited", {"format": "jsonl", "limit": 450}, [path])
    assert rows(limited) == rows(whole)[:450]


def test_same_bytes_twice(tmp_path: Path) -> None:
    files = archives(tmp_path)
    first = data_digests(build(tmp_path / "a", {"format": "warc"}, files))
    assert data_digests(build(tmp_path / "b", {"format": "warc"}, files, engine=Inline())) == first


def test_golden_output(tmp_path: Path) -> None:
    """Fails when the output changes. If that is intended, raise the version in ingest/stage.py and
    then update this digest.
    """
    files = archives(tmp_path, count=2, pages=3)
    lines = tmp_path / "a.jsonl"
    lines.write_text(
        json.dumps({"text": "Ele\u0301phant\r\n中文\x00", "url": "http://b/"}) + "\n{\n"
    )
    found = [
        build(tmp_path, {"format": "warc"}, files),
        build(tmp_path, {"format": "jsonl"}, [lines]),
    ]
    assert (STAGE.version, [content_digest(one) for one in found]) == (
        7,
        ["758944b0f9153cbf", "7343d9c39da24cd1"],
    )


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"format": "orc"}, "'text', 'parquet', 'hf' or 'commoncrawl'"),
        ({"format": "warc", "sample": 0}, "greater than 0"),
        ({"format": "warc", "split": "line"}, "split applies to format text"),
        ({"format": "text", "fields": {"text": "a"}}, "fields applies to format jsonl"),
        ({"format": "warc", "paths": []}, "at least one"),
        ({"format": "text", "split": "lines"}, r"'lines' \(did you mean 'line'\?\)"),
        ({"format": "hf", "dataset": "a/b"}, "paths applies to format warc and"),
        ({"format": "hf", "paths": []}, "dataset is missing"),
        ({"format": "jsonl", "dataset": "a/b"}, "dataset applies to format hf, not jsonl"),
    ],
)
def test_bad_parameters(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IngestParameters.model_validate({"paths": ["a"], **parameters})


@pytest.mark.real
def test_every_real_archive_is_read(real_data: Path, tmp_path: Path) -> None:
    """No archive raises, however damaged; sound ones have as many records as fastwarc's iterator
    counts.
    """
    from fastwarc.warc import ArchiveIterator

    from tasks.ingest.decompress import chunks
    from tasks.ingest.records import RECORDS, records

    files = sorted(
        path
        for path in (real_data / "warc").rglob("*")
        if path.is_file() and "paths.gz" not in path.name
    )
    assert len(files) > 60
    unlike = []
    for path in files:
        counts = Counter(type(item).__name__ for item in records(chunks(path, RECORDS), 4 << 20))
        try:
            theirs = sum(1 for _ in ArchiveIterator(str(path), parse_http=False))
        except OSError:
            continue
        if counts["Record"] + counts["Broken"] != theirs:
            unlike.append((path.name, counts, theirs))
    assert not unlike
    artifact = build(tmp_path, {"format": "warc"}, files)
    ledger = artifact.ledger
    assert ledger.documents("kept") > 100 and ledger.documents("failed") > 10


@pytest.mark.real
def test_wet_agrees_with_its_warc(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "warc" / "cc-whirlwind"
    warc = rows(build(tmp_path / "a", {"format": "warc"}, [folder / "whirlwind.warc.gz"]))
    wet = rows(build(tmp_path / "b", {"format": "wet"}, [folder / "whirlwind.warc.wet.gz"]))
    plain = rows(build(tmp_path / "c", {"format": "wet"}, [folder / "whirlwind.warc.wet"]))
    assert [row["url"] for row in warc] == [row["url"] for row in wet] and len(wet) == 1
    assert wet[0]["text"] == plain[0]["text"]
    assert (
        gzip.decompress((folder / "whirlwind.warc.wet.gz").read_bytes())
        .decode()
        .strip()
        .endswith(wet[0]["text"].strip())
    )


@pytest.mark.real
def test_extraction_finds_the_labelled_phrases(real_data: Path, tmp_path: Path) -> None:
    """F1 over phrases that must (`with`) and must not (`without`) be in the text; 0.918 when
    written.
    """
    labels = json.loads((real_data / "derived" / "real-pages-dev.labels.json").read_text())
    documents = rows(
        build(tmp_path, {"format": "warc"}, [real_data / "derived" / "real-pages-dev.warc.gz"])
    )
    texts = {row["url"]: " ".join(row["text"].split()) for row in documents}
    counts: Counter[tuple[str, bool]] = Counter()
    for url, label in labels.items():
        for side in ("with", "without"):
            counts.update(
                (side, " ".join(phrase.split()) in texts.get(url, "")) for phrase in label[side]
            )
    precision = counts["with", True] / (counts["with", True] + counts["without", True])
    recall = counts["with", True] / (counts["with", True] + counts["with", False])
    assert 2 * precision * recall / (precision + recall) > 0.905


def test_removed_characters_are_counted(tmp_path: Path) -> None:
    archive, lines = tmp_path / "a.warc.gz", tmp_path / "a.jsonl"
    prose = "Zei\u00adle, die ein\0en Satz hat. " * 9
    archive.write_bytes(members([response(f"<html><body><p>{prose}</p></body></html>".encode())]))
    lines.write_text('{"text": "ein\\u00ad\\u0001s zwei", "url": "u"}\n', encoding="utf-8")
    for format_, file, removed in (("warc", archive, 18), ("jsonl", lines, 2)):
        artifact = build(tmp_path, {"format": format_}, [file])
        assert (artifact.statistics["documents"], artifact.statistics["removed_characters"]) == (
            1,
            removed,
        )
        assert not {"\0", "\x01", "\xad"} & set(rows(artifact)[0]["text"])
