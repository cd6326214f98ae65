"""The sample of records that gave no document: bounded, always the same, no part of the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.engine import EngineConfig, start
from infra.store import Artifact
from tasks.ingest.raw_documents import SAMPLED_OUT, Rejected
from tasks.ingest.rejected import FILE, HEAD_BYTES, PER_PART, PER_SOURCE, RejectedSample, merged
from tasks.ingest.stage import STAGE, IngestParameters
from tests.stage_harness import run_stage
from tests.tasks.ingest.archives import members, page, record, response


def build(tmp_path: Path, format: str, path: Path, **more: Any) -> Artifact:
    parameters = IngestParameters.model_validate({"format": format, "paths": [str(path)], **more})
    with start(EngineConfig(kind="processes", workers=2)) as engine:
        return run_stage(STAGE, parameters, name="web", tmp_path=tmp_path, engine=engine)


def sample_of(artifact: Artifact) -> list[dict[str, Any]]:
    sample: list[dict[str, Any]] = artifact.records.read_json(FILE)["records"]
    return sample


def test_records_of_an_archive_are_described(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    stream = [
        record("warcinfo", b"software: x"),
        response(page(1), uri="http://a/1"),
        response(page(3, words=12), uri="http://a/short"),
        response(page(2), uri="http://a/gone", status=404),
    ]
    data = members(stream)
    path.write_bytes(data + b"\x1f\x8b\x08broken")
    built = build(tmp_path, "warc", path, min_characters=150)
    entries = {entry["reason"]: entry for entry in sample_of(built)}
    assert set(entries) == {"warc.warcinfo", "too_short", "http_status", "gzip"}
    short = entries["too_short"]
    assert (short["url"], short["side"]) == ("http://a/short", "dropped")
    assert "page number 3" in short["head"] and len(short["head"]) < 150
    assert short["file"] == "a.warc.gz" and data[short["offset"] :].startswith(b"\x1f\x8b")
    assert entries["http_status"]["head"].startswith("HTTP/1.1 404")
    assert entries["gzip"]["side"] == "failed"
    assert FILE not in built.files()


def test_lines_are_shown_and_the_rest_of_a_sampled_source_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n{"broken\n{"other": 1}\n' + '{"text": "more"}\n' * 50)
    entries = {entry["reason"]: entry for entry in sample_of(build(tmp_path, "jsonl", path))}
    assert entries["json"]["head"] == '{"broken' and entries["json"]["offset"] is not None
    assert entries["field"]["head"] == '{"other": 1}'
    half = sample_of(build(tmp_path / "half", "jsonl", path, sample=0.5))
    assert "sample" not in {entry["reason"] for entry in half}


def test_the_sample_is_bounded_and_does_not_depend_on_order() -> None:
    records = [
        Rejected("failed", "json", place=(number, 0), head=b"x" * 10_000) for number in range(500)
    ]
    samples = []
    for order in (records, records[::-1]):
        sample = RejectedSample()
        for one in (*order, SAMPLED_OUT):
            sample.add(one, "a.jsonl")
        samples.append(sample.to_json())
    assert samples[0] == samples[1] and len(samples[0]) == PER_PART
    assert len(json.dumps(samples[0])) < PER_PART * (HEAD_BYTES + 300)
    parts = []
    for file in map(str, range(20)):
        sample = RejectedSample()
        for one in records[:10]:
            sample.add(one, file)
        parts.append(sample.to_json())
    assert merged(parts) == merged(parts[::-1]) and len(merged(parts)) == PER_SOURCE
