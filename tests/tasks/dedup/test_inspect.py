"""Finding clusters, reading their texts, and diffs that add up to the texts."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.stage import StageError
from tasks.dedup.stage import STAGE, DedupParameters
from tasks.duplicates.inspect import diff_lines, diff_pieces, find_cluster, read_documents
from tests.stage_harness import run_stage
from tests.tasks.dedup.corpus import dedup_inputs, document


def test_a_cluster_is_found_by_rank_and_by_the_beginning_of_an_id(tmp_path: Path) -> None:
    rows = [
        document(f"{name} text", id=f"{name}-{copy}")
        for name in ("aa", "ab", "b")
        for copy in range(len(name) + 1)
    ]
    inputs = dedup_inputs({"web": rows}, tmp_path)
    gates = {"removal_rate": None}
    dedup = run_stage(STAGE, DedupParameters(prefer=(), gates=gates), inputs, tmp_path=tmp_path)
    table = dedup.path("clusters.parquet")
    for wanted, head in (
        ("1", "aa-0"),
        ("#3", "b-0"),
        ("aa", "aa-0"),
        ("ab-2", "ab-0"),
        ("b", "b-0"),
    ):
        assert find_cluster(table, wanted)["representative"] == head
    row = find_cluster(table, "#1")
    assert (row["size"], row["crawl"], [member["id"] for member in row["members"]]) == (
        3,
        "",
        ["aa-1", "aa-2"],
    )
    (documents,) = inputs["documents"]
    assert read_documents([(documents, None)], [row["representative"], "aa-2"]) == {
        "aa-0": "aa text",
        "aa-2": "aa text",
    }
    for wanted, message in (
        ("a", "documents of 2 clusters .* have ids that begin with 'a'"),
        ("zz", "no cluster lists a document 'zz'"),
        ("#9", "no cluster #9"),
    ):
        with pytest.raises(StageError, match=message):
            find_cluster(table, wanted)


TEXT = st.text(alphabet="ab 我们\n", max_size=30)


@given(TEXT, TEXT)
def test_pieces_make_up_both_texts(kept: str, removed: str) -> None:
    pieces = diff_pieces(kept, removed)
    assert "".join(text for mark, text in pieces if mark != "added") == kept
    assert "".join(text for mark, text in pieces if mark != "removed") == removed


def test_differences_are_marked_by_word_and_by_character() -> None:
    assert diff_lines("the red fox\nruns", "the blue fox\nruns") == [
        "the [-red-]{+blue+} fox",
        "runs",
    ]
    assert diff_lines("我们去北京。", "我们去南京。") == ["我们去[-北-]{+南+}京。"]
    (line,) = diff_lines("word " * 100 + "end", "word " * 100 + "fin")
    assert line == " ... (440 equal characters) ... " + "word " * 12 + "[-end-]{+fin+}"


def test_giant_texts_are_compared_up_to_a_bound() -> None:
    removed = "one two " * 499_999 + "three"
    lines = diff_lines("one two " * 500_000, removed)
    assert (
        lines[-1]
        == f"(the last {len(removed) - 40_000:,} characters of the removed text were not compared)"
    )


def test_without_clusters_the_error_says_so(tmp_path: Path) -> None:
    table = tmp_path / "clusters.parquet"
    pq.write_table(pa.table({"representative": pa.array([], pa.string())}), table)
    for wanted in ("1", "#1", "abc"):
        with pytest.raises(StageError, match="there are no clusters"):
            find_cluster(table, wanted)
