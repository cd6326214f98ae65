"""Parquet files that are none, or are cut: refused by the plan in the same words wherever they
lie.
"""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from infra.engine import EngineConfig
from tests.end_to_end.direct import run_direct
from tests.loopback.http import serving

RECIPE = """\
name: r
store: {store}
remote: {{cache: {store}/cache, retry_interval_s: 0.001, retry_limit_s: 0.02}}
sources:
  web:
    ingest: {{format: parquet, paths: [{paths}]}}
"""


def parquet(which: str = "the") -> bytes:
    rows = pa.table({"text": [f"Text number {number} of {which} file." for number in range(3000)]})
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, row_group_size=500)
    return buffer.getvalue()


WHOLE = parquet()
NOT_WHOLE = r"a.parquet is no whole Parquet file \(its footer cannot be read\)"
CASES = {
    "cut in the footer": (WHOLE[:-20], NOT_WHOLE),
    "cut in half": (WHOLE[: len(WHOLE) // 2], NOT_WHOLE),
    "a length beyond the file": (WHOLE[:-8] + b"\xff\xff\xff\x7fPAR1", NOT_WHOLE),
    "zeros in the footer": (WHOLE[:-200] + bytes(192) + WHOLE[-8:], NOT_WHOLE),
    "four bytes": (b"PAR1", NOT_WHOLE),
    "nothing": (b"", "a.parquet holds 0 bytes, which is no Parquet file"),
    "a page": (b"<!doctype html><html>log in</html>" * 9, "a.parquet is no Parquet file, but"),
    "lines": (b'{"text": "a"}\n' * 99, "a.parquet is a JSONL file, but .* set format: jsonl"),
    "zeros": (bytes(5000), "a.parquet is no Parquet file, but format is parquet"),
    "no magic": (b"XXXX" + WHOLE[4:], "a.parquet is no Parquet file, but format is parquet"),
}


def recipe(tmp_path: Path, *paths: str) -> Path:
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE.format(store=tmp_path / "store", paths=", ".join(paths)))
    return file


@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize("case", CASES)
def test_a_source_without_a_whole_file_is_refused(tmp_path: Path, case: str, where: str) -> None:
    body, why = CASES[case]
    (tmp_path / "a.parquet").write_bytes(body)
    with serving({"/a.parquet": body}) as server:
        path = "a.parquet" if where == "here" else server.url("/a.parquet")
        with pytest.raises(RecipeError, match=rf"r.yaml:6: sources.web.ingest.paths: .*{why}"):
            prepare(RunRequest(recipe(tmp_path, path)))


HOLE = len(WHOLE) // 2, len(WHOLE) // 2 + 100
DAMAGED = {
    "cut": (WHOLE[:-20], 0),
    "empty": (b"", 0),
    "a hole": (WHOLE[: HOLE[0]] + bytes(HOLE[1] - HOLE[0]) + WHOLE[HOLE[1] :], 2500),
}


@pytest.mark.parametrize("where", ["here", "elsewhere"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_one_damaged_file_among_others_is_counted(tmp_path: Path, where: str, damage: str) -> None:
    body, documents = DAMAGED[damage]
    files = {"/a.parquet": body, "/b.parquet": parquet("another")}
    for name, data in files.items():
        (tmp_path / name[1:]).write_bytes(data)
    with serving(files) as server:
        paths = [name[1:] if where == "here" else server.url(name) for name in files]
        file = recipe(tmp_path, *paths)
        made = run_direct(file, tmp_path / "store", EngineConfig(kind="inline"))["ingest/web"]
    statistics = made.manifest.statistics
    assert statistics["documents"] == 3000 + documents
    ledger = made.manifest.ledger
    assert ledger.documents("failed", "parquet") == ledger.documents("failed")
    assert ledger.documents("failed") == (500 if documents else 1)
    noted = any("a.parquet: " in note for note in statistics["notes"])
    assert noted == (statistics["lost_bytes"] > 0) == bool(body)


def test_a_remote_file_is_looked_at_once(tmp_path: Path) -> None:
    with serving({"/a.parquet": WHOLE}) as server:
        file = recipe(tmp_path, server.url("/a.parquet"))
        prepare(RunRequest(file))
        asked = [seen for seen in server.seen if seen.method == "GET"]
        assert [seen.headers["Range"].startswith("bytes=") for seen in asked] == [True, True]
        prepare(RunRequest(file))
        assert len([seen for seen in server.seen if seen.method == "GET"]) == 2
        with pytest.raises(RecipeError, match=r"'txet'.*did you mean 'text'"):
            prepare(RunRequest.of(file, ["sources.web.ingest.fields={text: txet}"]))


def test_a_server_without_ranges_is_left_to_the_run(tmp_path: Path) -> None:
    with serving({"/a.parquet": WHOLE}, ranges=False) as server:
        file = recipe(tmp_path, server.url("/a.parquet"))
        made = run_direct(file, tmp_path / "store", EngineConfig(kind="inline"))["ingest/web"]
    assert made.manifest.statistics["documents"] == 3000
