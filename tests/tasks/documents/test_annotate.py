"""Annotators read text after the edits of line_dedup, and their ledger counts those edits."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from infra.context import Context
from infra.stage import Outcome, Parameters, Stage
from tasks.documents.annotate import annotate, ledger_of
from tasks.documents.edits import Edit, column_of
from tasks.documents.roles import DOCUMENTS, EDITS
from tests.stage_harness import run_stage
from tests.tables import artifact, column, documents


class Nothing(Parameters):
    """No parameters."""


def seen(table: pa.Table) -> pa.Table:
    language = pa.array(["zh" if "你" in text else "en" for text in table["text"].to_pylist()])
    return pa.table({"seen": table["text"], "language": language})


def run(context: Context) -> Outcome:
    """A stage that records what it saw."""
    return Outcome({}, ledger_of(annotate(context, seen)))


STAGE = Stage(
    "seen",
    1,
    Nothing,
    "tests.tasks.documents.test_annotate:run",
    "what annotators see",
    inputs=(DOCUMENTS, EDITS),
)


def test_annotators_read_through_the_edits_of_line_deduplication(tmp_path: Path) -> None:
    texts = [["same\nend", "untouched"], ["你好\nsame"], []]
    edits = [
        [[Edit(0, 5, "", "line")], []],
        [[Edit(2, 7, "", "line"), Edit(0, 1, "", "mask")][::-1]],
        [],
    ]
    given = documents(tmp_path, "web", texts)
    files = {
        f"part-{i:05d}.parquet": pa.table({"edits": column_of(part)})
        for i, part in enumerate(edits)
    }
    beside = artifact(tmp_path, "line_dedup", "web", files)
    made = run_stage(
        STAGE, Nothing(), {"documents": given, "line_dedup": beside}, "web", tmp_path=tmp_path
    )
    assert column(made, "seen") == ["end", "untouched", "好"]
    rows = {row["language"]: row for row in made.manifest.data["ledger"]["rows"]}
    assert rows["en"]["totals"] == {
        "documents": {"kept": 3, "read": 3},
        "bytes": {"edited": 13, "kept": 15, "read": 28},
    }
    assert [(r["side"], r["reason"], r["bytes"]) for r in rows["en"]["reasons"]] == [
        ("edited", "line", 10),
        ("edited", "mask", 3),
    ]
    plain = run_stage(STAGE, Nothing(), {"documents": given}, "web", tmp_path=tmp_path / "plain")
    assert column(plain, "seen") == [text for part in texts for text in part]
