"""Stage ingest on data sets of the hub: the same documents as from the same files by path."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard

from infra.remote.listing import Listing
from infra.store import Artifact
from tasks.ingest.stage import STAGE, IngestParameters
from tests.loopback.fineweb import fineweb_rows
from tests.loopback.hub_fixture import HubServer
from tests.stage_harness import pins_of, run_stage


def build(tmp_path: Path, **parameters: Any) -> Artifact:
    given = IngestParameters.model_validate(parameters)
    declared = STAGE.declared_pins(given, Listing())
    pins = {path: found for path, found in declared.items() if isinstance(found, tuple)}
    assert len(pins) == len(declared)
    return run_stage(STAGE, given, name="web", tmp_path=tmp_path, pins=pins | pins_of(given))


def rows(artifact: Artifact) -> list[dict[str, Any]]:
    return [
        row
        for name in artifact.files("part-")
        for row in pq.read_table(artifact.path(name)).to_pylist()
    ]


def documents(artifact: Artifact) -> list[tuple[Any, ...]]:
    keys = ("id", "text", "url", "date", "offset")
    return [tuple(row[key] for key in keys) for row in rows(artifact)]


@pytest.fixture
def fineweb(hub: HubServer) -> Path:
    folder = hub.dataset("HuggingFaceFW/fineweb")
    (folder / "sample/10BT").mkdir(parents=True, exist_ok=True)
    for seed in range(2):
        path = folder / f"sample/10BT/00{seed}_00000.parquet"
        if not path.exists():
            pq.write_table(fineweb_rows(2_500, seed), path, row_group_size=1_000)
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: sample-10BT\n  data_files: sample/10BT/*\n---\n"
    )
    hub.log()
    return folder


BY_NAME = {"format": "hf", "dataset": "HuggingFaceFW/fineweb", "name": "sample-10BT"}


def test_by_name_and_by_path_are_the_same(hub: HubServer, fineweb: Path, tmp_path: Path) -> None:
    named = build(tmp_path / "named", **BY_NAME)
    served = sum(entry["bytes"] for entry in hub.log() if entry["path"].startswith("/cdn"))
    files = sorted((fineweb / "sample/10BT").iterdir())
    local = build(tmp_path / "local", format="parquet", paths=[str(file) for file in files])
    assert documents(named) == documents(local) and len(documents(named)) > 4_900
    assert named.statistics == local.statistics
    assert {row["file"] for row in rows(named)} == {
        "sample/10BT/000_00000.parquet",
        "sample/10BT/001_00000.parquet",
    }
    first = named.manifest.data["pins"]["dataset"][0]
    assert first["path"].startswith("hf://datasets/HuggingFaceFW/fineweb@") and first["sha256"]
    wanted = 0
    for file in files:
        metadata = pq.ParquetFile(file).metadata
        for group in range(metadata.num_row_groups):
            columns = [metadata.row_group(group).column(at) for at in range(metadata.num_columns)]
            wanted += sum(
                column.total_compressed_size
                for column in columns
                if column.path_in_schema in ("text", "url", "date")
            )
    # two footers, read with the last 64 KB, in plan and run; small columns between wanted ones
    assert served < 1.25 * wanted + 4 * 65_536


def test_a_limit_stops_early(hub: HubServer, fineweb: Path, tmp_path: Path) -> None:
    whole = documents(build(tmp_path / "whole", **BY_NAME))
    hub.log()
    limited = build(tmp_path / "limited", **BY_NAME, limit=100)
    assert documents(limited) == whole[:100]
    touched = {entry["path"] for entry in hub.log() if entry["path"].startswith("/cdn")}
    assert len(touched) == 1  # the second file is not looked at


def lines(count: int, word: str) -> bytes:
    return "".join(
        json.dumps({"text": f"{word} number {at}", "meta": {"url": f"http://{word}/{at}"}}) + "\n"
        for at in range(count)
    ).encode()


def test_lines_plain_and_compressed(hub: HubServer, tmp_path: Path) -> None:
    folder = hub.dataset("a/slimpajama")
    (folder / "train").mkdir(exist_ok=True)
    packed = {
        "train/0.jsonl": lines(50, "plain"),
        "train/1.jsonl.gz": gzip.compress(lines(60, "gzip"), mtime=0),
        "train/2.jsonl.zst": zstandard.compress(lines(70, "zstd")),
        "train/3.jsonl": json.dumps([{"text": "of an array", "meta": {"url": "u"}}]).encode(),
    }
    for name, data in packed.items():
        (folder / name).write_bytes(data)
    fields = {"text": "text", "url": "meta.url"}
    named = build(tmp_path / "n", format="hf", dataset="a/slimpajama", fields=fields)
    paths = [str(folder / name) for name in list(packed)[:3]]
    local = build(tmp_path / "l", format="jsonl", paths=paths, fields=fields)
    assert documents(named)[:-1] == documents(local) and len(documents(local)) == 180
    assert documents(named)[-1][1:3] == ("of an array", "u")
    record = next(path for path in (tmp_path / "n").rglob("inputs.json"))
    assert len(json.loads(record.read_text())) == named.statistics["fetched_files"] == 4


def test_other_layouts_and_text(hub: HubServer, tmp_path: Path) -> None:
    table = hub.dataset("a/table")
    (table / "data.csv").write_text("body;link\nfirst text;u1\n;u2\nthird text;u3\n")
    (table / "README.md").write_text(
        "---\nconfigs:\n- config_name: x\n  data_files: data.csv\n  sep: ;\n---\n"
    )
    fields = {"text": "body", "url": "link"}
    artifact = build(tmp_path / "t", format="hf", dataset="a/table", fields=fields)
    assert [(row["text"], row["url"], row["offset"]) for row in rows(artifact)] == [
        ("first text", "u1", 0),
        ("third text", "u3", 2),
    ]
    assert artifact.ledger.documents("failed", "field") == 1
    assert [pin["name"] for pin in artifact.manifest.data["pins"]["dataset"]] == [
        "data.csv",
        "README.md",
    ]
    (hub.dataset("a/text") / "train.txt").write_text("one line\n\nanother line\n")
    artifact = build(tmp_path / "x", format="hf", dataset="a/text")
    assert [row["text"] for row in rows(artifact)] == ["one line", "another line"]


def test_versions_follow_the_content(hub: HubServer, tmp_path: Path) -> None:
    folder = hub.dataset("a/version")
    (folder / "train.jsonl").write_bytes(lines(3, "before"))
    given = {"format": "hf", "dataset": "a/version"}
    first = build(tmp_path, **given)
    (folder / "README.md").write_text("# another commit, the same data")
    assert build(tmp_path, **given).version == first.version
    assert build(tmp_path, **given, revision="main").version == first.version
    (folder / "train.jsonl").write_bytes(lines(3, "after"))
    assert build(tmp_path, **given).version != first.version
