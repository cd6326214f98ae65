"""`puna trace`: from a training step back to the records of the files that were read."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from tests.end_to_end.fixtures import SmallRun

pytestmark = pytest.mark.timeout(
    900
)  # the whole run behind a first test takes minutes on a busy machine


def trace(run: SmallRun, phase: str, *words: object) -> Result:
    return CliRunner().invoke(
        app, ["trace", str(run.recipe), phase, *map(str, words), "--store", str(run.url)]
    )


def test_a_step_leads_back_to_the_bytes_of_its_documents(small_run: SmallRun) -> None:
    metrics = small_run.artifacts()["training/second"].records.read("metrics.jsonl").splitlines()
    steps = [record for record in map(json.loads, metrics) if "rows" in record]
    seen = Counter[str]()
    for step in steps:
        found = json.loads(trace(small_run, "second", "--step", step["step"], "--json").stdout)
        assert found["artifact"].startswith("training/second@") and found["step"] == step["step"]
        assert Counter(row["category"] for row in found["rows"]) == {
            c: n for c, n in step["rows"].items() if n
        }
        for row in found["rows"]:
            assert row["bin"] in ("bin-00", "bin-01") and row["epoch"] >= 0
            for document in row["documents"]:
                origin = document["origin"]
                seen[origin["source"]] += 1
                record = Path(origin["path"]).read_bytes()[origin["offset"] :]
                if origin["source"] == "crawl":
                    text = zlib.decompressobj(wbits=31).decompress(record).decode(errors="replace")
                    assert (
                        text.startswith("WARC/1.0")
                        and f"WARC-Target-URI: {origin['url']}\r" in text[:300]
                    )
                else:
                    assert json.loads(record.partition(b"\n")[0])["target"]
    assert set(seen) == {"crawl", "letters"}


def test_the_table_has_a_line_for_each_piece(small_run: SmallRun) -> None:
    rows = json.loads(trace(small_run, "first", "--step", 1, "--json").stdout)["rows"]
    shown = trace(small_run, "first", "--step", 1).stdout.splitlines()
    assert shown[0].split() == [
        "category",
        "bin",
        "row",
        "tokens",
        "document",
        "url",
        "file",
        "byte",
    ]
    assert len(shown) == 1 + sum(len(row["documents"]) for row in rows)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("second", "--step", 99), "step 99 is not in this phase; name one from 1 to 8"),
        (("second", "--step", 10**30), "name one from 1 to 8"),
        (
            ("first", "--step", 1, "-s", "sources.letters.ingest.paths=[gone.jsonl]"),
            "gone.jsonl: no file or folder matches",
        ),
        (("second", "--step", 0), "name one from 1 to 8"),
        (
            ("secnd", "--step", 1),
            "no phase 'secnd' (did you mean 'second'?); it has: first, second",
        ),
        (("first", "--step", 1, "-s", "training.seed=5"), "phase 'first' is not trained yet ("),
    ],
)
def test_what_is_not_there_is_named(
    small_run: SmallRun, words: tuple[object, ...], message: str
) -> None:
    refused = trace(small_run, *map(str, words))
    assert refused.exit_code == 2 and message in refused.stderr
