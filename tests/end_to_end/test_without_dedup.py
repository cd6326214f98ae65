"""`dedup: null`: every eligible document is selected, copies too, and the run ends with its
report.
"""

from __future__ import annotations

import json
from pathlib import Path

from infra.engine import EngineConfig
from tests.end_to_end.direct import run_direct
from tests.end_to_end.world import jsonl

ENGLISH = (
    "The people of the valley have made pottery for many years, and they are proud of what they "
    "make."
)


def test_copies_stay_where_dedup_is_left_out(tmp_path: Path) -> None:
    jsonl(
        tmp_path / "in.jsonl",
        [{"text": text} for text in (ENGLISH, ENGLISH, ENGLISH + " Again.", "")],
    )
    source = {"ingest": {"format": "jsonl", "paths": ["in.jsonl"]}, "category": "web"}
    recipe = {"name": "r", "sources": {"web": source}, "dedup": None, "select": {"heldout": None}}
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    made = run_direct(tmp_path / "r.yaml", tmp_path / "store", EngineConfig(kind="inline"))
    assert list(made) == ["ingest/web", "cut/main", "select/web", "report/r"]
    lines = made["select/web"].path("web/part-00000.jsonl").read_text().splitlines()
    assert [json.loads(line)["target"] for line in lines] == [ENGLISH, ENGLISH, ENGLISH + " Again."]
    (row,) = made["select/web"].manifest.data["ledger"]["rows"]
    assert row["totals"]["documents"] == {"read": 3, "kept": 3}
    assert (made["report/r"].records.local_root / "report.html").is_file()  # type: ignore[operator]
