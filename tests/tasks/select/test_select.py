"""select: exact lines, held-out documents, ledger, and equal bytes for any engine."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pydantic
import pytest

from infra.engine import EngineConfig, start
from infra.stage import StageError
from infra.store import Artifact
from tasks.documents.edits import Edit, column_of
from tasks.documents.selected import held_out_hash
from tasks.select.stage import STAGE, HeldOut, SelectParameters
from tests.stage_harness import data_digests, run_stage
from tests.tables import artifact, content_digest, documents

CUT = pa.schema(
    [
        ("reason", pa.string()),
        ("language", pa.string()),
        ("category", pa.string()),
        ("bucket", pa.string()),
    ]
)
DEDUP = pa.schema(
    [("duplicate_of", pa.string()), ("similarity", pa.float32()), ("kind", pa.string())]
)


def decisions(
    folder: Path, source: str, parts: list[list[tuple[str | None, str | None, str | None]]]
) -> dict[str, Artifact]:
    """Artifacts cut and dedup from rows (reason, category, kind); `other` must be ignored."""
    cut, dedup = (
        {"other/part-00000.parquet": CUT.empty_table()},
        {"clusters.parquet": DEDUP.empty_table()},
    )
    for index, part in enumerate(parts):
        rows = [{"reason": r, "language": "zh", "category": c, "bucket": "all"} for r, c, _ in part]
        kinds = [
            {"duplicate_of": "0" * 32 if k else None, "similarity": 1.0 if k else None, "kind": k}
            for *_, k in part
        ]
        cut[f"{source}/part-{index:05d}.parquet"] = pa.Table.from_pylist(rows, schema=CUT)
        dedup[f"{source}/part-{index:05d}.parquet"] = pa.Table.from_pylist(kinds, schema=DEDUP)
    return {
        "cut": artifact(folder, "cut", "main", cut),
        "dedup": artifact(folder, "dedup", "main", dedup),
    }


def lines(found: Artifact, prefix: str) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for name in found.files(prefix)
        for line in found.path(name).read_text("utf-8").splitlines()
    ]


def many(folder: Path, count: int = 400) -> dict[str, Artifact]:
    """Documents of two categories over two parts, all of which survive."""
    categories = ["web-zh", "web-en"]
    given = documents(
        folder, "web", [[f"text {i}" for i in range(count)], [f"more {i}" for i in range(count)]]
    )
    rows = [(None, categories[i % 2], None) for i in range(count)]
    return {"documents": given, **decisions(folder, "web", [list(rows), list(rows)])}


def test_lines_are_exactly_the_contract(tmp_path: Path) -> None:
    texts: list[Any] = [
        {
            "text": "你好\n“世界”\u2028 </s>",
            "prompt": "问",
            "url": "http://a.test/?q=é",
            "offset": 7,
        },
        "cut away",
        "an exact copy",
        "a near copy",
        "last",
    ]
    given = documents(tmp_path, "web", [texts, []])
    rows = [
        (None, "web-zh", None),
        ("quality.c4.sentences", None, None),
        (None, "web-zh", "exact"),
        (None, "web-zh", "near"),
        (None, "books", None),
    ]
    inputs = {"documents": given, **decisions(tmp_path, "web", [rows, []])}
    built = run_stage(STAGE, SelectParameters(heldout=None), inputs, "web", tmp_path=tmp_path)
    assert built.files() == ["books/part-00000.jsonl", "web-zh/part-00000.jsonl"]
    raw = built.path("web-zh/part-00000.jsonl").read_bytes()
    assert (
        raw
        == (
            '{"source": "问", "target": "你好\\n“世界”\u2028 </s>", "category": "web-zh", "id": "'
            + "0" * 32
            + '", '
            '"url": "http://a.test/?q=é", "language": "zh", "file": "web.jsonl", "offset": 7}\n'
        ).encode()
    )
    assert lines(built, "books/")[0]["target"] == "last"
    ledger = built.ledger
    assert {
        r: ledger.documents("dropped", r)
        for r in ("quality.c4.sentences", "dedup.exact", "dedup.near")
    } == {
        "quality.c4.sentences": 1,
        "dedup.exact": 1,
        "dedup.near": 1,
    }
    assert (ledger.documents("read"), ledger.documents("kept")) == (5, 2)
    (row,) = built.manifest.data["ledger"]["rows"]
    assert row["totals"]["bytes"]["kept"] == len(
        (texts[0]["prompt"] + texts[0]["text"]).encode()
    ) + len("last")
    assert built.statistics["categories"]["books"]["training"] == {
        "documents": 1,
        "bytes": 4,
        "characters": 4,
        "copies": 1,
    }


def test_license_and_dump_come_last_where_stated_and_older_documents_have_no_columns(
    tmp_path: Path,
) -> None:
    stated = {"license": "CC-BY-4.0", "title": "T", "dump": "CC-MAIN-2024-51"}
    texts = [{"text": "free", **stated}, "unstated"]
    given = documents(tmp_path, "web", [texts])
    inputs = {"documents": given, **decisions(tmp_path, "web", [[(None, "a", None)] * 2])}
    parameters = SelectParameters(heldout=None)
    written = lines(run_stage(STAGE, parameters, inputs, "web", tmp_path=tmp_path), "a/")
    assert list(written[0].items())[-2:] == [(name, stated[name]) for name in ("license", "dump")]
    assert "license" not in written[1] and "title" not in written[0] and "dump" not in written[1]

    path = given.path("part-00000.parquet")
    old = pq.read_table(path).select(["id", "text", "prompt", "url", "date", "file", "offset"])
    older = artifact(tmp_path / "old", "ingest", "web", {"part-00000.parquet": old})
    again = run_stage(
        STAGE, parameters, {**inputs, "documents": older}, "web", tmp_path=tmp_path / "old"
    )
    assert [row["target"] for row in lines(again, "a/")] == ["free", "unstated"]
    assert all("license" not in row and "dump" not in row for row in lines(again, "a/"))


def test_text_is_written_after_the_edits_of_line_dedup_and_decontamination(tmp_path: Path) -> None:
    texts = ["menu\n正文 with a leak.\nmenu end", "menu\ndropped", "untouched"]
    given = documents(tmp_path, "web", [texts, []])
    rows = [(None, "web-zh", None), ("quality.c4.sentences", None, None), (None, "web-zh", None)]
    lines_out = [[Edit(0, 5, "", "line_dedup.line")], [Edit(0, 5, "", "line_dedup.line")], []]
    passages = [[Edit(3, 20, "…", "decontaminate")], [], []]
    inputs = {"documents": given, **decisions(tmp_path, "web", [rows, []])}
    for stage, edits in (("line_dedup", lines_out), ("decontaminate", passages)):
        files = {
            f"part-{i:05d}.parquet": pa.table({"edits": column_of(part), "other": [0] * len(part)})
            for i, part in enumerate((edits, []))
        }
        inputs[stage] = artifact(tmp_path, stage, "web", files)
    built = run_stage(STAGE, SelectParameters(heldout=None), inputs, "web", tmp_path=tmp_path)
    assert [row["target"] for row in lines(built, "web-zh/")] == ["…\nmenu end", "untouched"]
    (row,) = built.manifest.data["ledger"]["rows"]
    assert row["totals"]["bytes"] == {
        "read": sum(len(text.encode()) for text in texts),
        "kept": len("…\nmenu end".encode()) + len("untouched"),
        "dropped": len(texts[1]),
        "edited": 5 + len("正文 with a leak.".encode()) - 3,
    }
    reasons = {
        reason["reason"]: reason["bytes"] for reason in row["reasons"] if reason["side"] == "edited"
    }
    assert reasons == {"line_dedup.line": 5, "decontaminate": len("正文 with a leak.".encode()) - 3}
    (counted,) = built.statistics["categories"].values()
    assert counted["training"]["bytes"] == row["totals"]["bytes"]["kept"]
    short = {"part-00000.parquet": pa.table({"edits": column_of([[]])})}
    inputs["line_dedup"] = artifact(
        tmp_path / "short", "line_dedup", "web", short | files_of_none()
    )
    with pytest.raises(StageError, match="3 documents but 1 rows of edits"):
        run_stage(STAGE, SelectParameters(heldout=None), inputs, "web", tmp_path=tmp_path / "short")


def files_of_none() -> dict[str, pa.Table]:
    return {"part-00001.parquet": pa.table({"edits": column_of([])})}


def test_held_out_documents_are_the_smallest_hashes_of_each_category(tmp_path: Path) -> None:
    inputs = many(tmp_path)
    parameters = SelectParameters(heldout=HeldOut(fraction=0.2, max_documents=30))
    built = run_stage(STAGE, parameters, inputs, "web", tmp_path=tmp_path)
    for category in ("web-zh", "web-en"):
        held = {row["id"] for row in lines(built, f"heldout/{category}/")}
        trained = {row["id"] for row in lines(built, f"{category}/")}
        assert len(held) == 30 and len(held | trained) == 400 and not held & trained
        assert max(map(held_out_hash, held)) < min(map(held_out_hash, trained))
        assert built.statistics["categories"][category]["held_out"]["documents"] == 30
    assert built.ledger.documents("kept") == 800


def test_the_fraction_applies_below_the_limit(tmp_path: Path) -> None:
    parameters = SelectParameters(heldout=HeldOut(fraction=0.1))
    built = run_stage(STAGE, parameters, many(tmp_path), "web", tmp_path=tmp_path)
    held = lines(built, "heldout/")
    assert 50 < len(held) < 110
    assert all(held_out_hash(row["id"]) < 0.1 * 2**64 for row in held)


def test_workers_do_not_change_the_bytes(tmp_path: Path) -> None:
    inputs = many(tmp_path, 50)
    parameters = SelectParameters(heldout=HeldOut(fraction=0.1, max_documents=3))
    built = run_stage(STAGE, parameters, inputs, "web", tmp_path=tmp_path / "one")
    with start(EngineConfig(kind="processes", workers=2)) as engine:
        again = run_stage(
            STAGE, parameters, inputs, "web", tmp_path=tmp_path / "two", engine=engine
        )
    assert data_digests(again) == data_digests(built) and again.statistics == built.statistics


def test_nothing_is_held_out_without_dedup(tmp_path: Path) -> None:
    inputs = many(tmp_path, 10)
    del inputs["dedup"]
    with pytest.raises(StageError, match="without dedup"):
        run_stage(STAGE, SelectParameters(), inputs, "web", tmp_path=tmp_path)
    built = run_stage(STAGE, SelectParameters(heldout=None), inputs, "web", tmp_path=tmp_path)
    assert built.statistics["categories"]["web-en"]["training"]["documents"] == 10


def test_decisions_about_other_documents_are_an_error(tmp_path: Path) -> None:
    inputs = {
        "documents": documents(tmp_path, "web", [["a", "b"]]),
        **decisions(tmp_path, "web", [[(None, "web-zh", None)]]),
    }
    with pytest.raises(StageError, match="2 documents but 1 decisions"):
        run_stage(STAGE, SelectParameters(), inputs, "web", tmp_path=tmp_path)


@pytest.mark.parametrize(
    "heldout", [{"fraction": 0}, {"fraction": 1.0}, {"max_documents": 0}, {"share": 0.1}]
)
def test_invalid_parameters_are_errors(heldout: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        SelectParameters.model_validate({"heldout": heldout})


def test_golden_output(tmp_path: Path) -> None:
    """If the output changes on purpose, raise the version in select/stage.py, then this digest."""
    parameters = SelectParameters(heldout=HeldOut(fraction=0.1, max_documents=3))
    built = run_stage(STAGE, parameters, many(tmp_path, 30), "web", tmp_path=tmp_path)
    assert (STAGE.version, content_digest(built)) == (3, "5d5f3a02e190fcb6")
