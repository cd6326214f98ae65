"""The dedup stage: outputs, gates, ledger, independence of sharding, recall on articles."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from infra.stage import GateError, StageError
from infra.store import Artifact
from tasks.dedup.stage import STAGE, DedupParameters, Gates
from tasks.line_dedup.stage import STAGE as LINE_DEDUP
from tasks.line_dedup.stage import LineDedupParameters
from tasks.signatures.stage import STAGE as SIGNATURES
from tasks.signatures.stage import SignaturesParameters
from tests.stage_harness import data_digests, run_stage
from tests.tasks.dedup.corpus import dedup_inputs, document, edited, outcomes, prose

Sources = dict[str, list[dict[str, Any]]]


def dedup(
    sources: Sources, tmp_path: Path, part_rows: int = 1_000, **parameters: Any
) -> tuple[Artifact, Any]:
    inputs = dedup_inputs(sources, tmp_path, part_rows=part_rows)
    return run_stage(STAGE, DedupParameters(**parameters), inputs, tmp_path=tmp_path), inputs


def planted(seed: int, families: int = 40) -> Sources:
    """Two sources with families of exact and near copies, and unrelated texts."""
    rng = random.Random(seed)
    rows: Sources = {"books": [], "web": []}
    for _ in range(families):
        words = prose(rng, rng.randint(40, 200))
        for _ in range(rng.randint(1, 5)):
            source = rng.choice(["books", "web"])
            text = " ".join(edited(rng, words, rng.randint(0, 3)))
            extra = {
                "language": "en",
                "perplexity": rng.choice([None, float("nan"), rng.uniform(50, 900)]),
            }
            rows[source].append(document(rng.choice([text, text.upper() + "!"]), source) | extra)
    return {
        source: list({row["id"]: row for row in listed}.values()) for source, listed in rows.items()
    }


def test_outputs(tmp_path: Path) -> None:
    rng = random.Random(8)
    words = prose(rng, 100)
    text, near = " ".join(words), " ".join([*words, "and", "more"])
    rows = {
        "books": [
            document(text, "books", "b0") | {"perplexity": 200.0, "language": "en"},
            document(near, "books", "b1") | {"perplexity": 100.0, "language": "en"},
            document("something else", "books", "b2") | {"perplexity": 1.0, "language": "de"},
        ],
        "web": [
            document(text + " better but not eligible", "web", "w0")
            | {"reason": "langid.language"},
            document(near.title(), "web", "w1"),
            document("", "web", "w2"),
        ],
    }
    artifact, inputs = dedup(rows, tmp_path, gates={"removal_rate": None})
    fates = outcomes(artifact, inputs)
    kept = {"duplicate_of": None, "similarity": None, "kind": None}
    assert {
        id: row for id, row in fates.items() if id in ("b1", "b2", "w0", "w2")
    } == dict.fromkeys(("b1", "b2", "w0", "w2"), kept)
    assert fates["w1"] == {"duplicate_of": "b1", "similarity": 1.0, "kind": "exact"}
    assert fates["b0"]["duplicate_of"] == "b1" and fates["b0"]["kind"] == "near"
    assert fates["b0"]["similarity"] == pytest.approx(96 / 98)
    (cluster,) = pq.read_table(artifact.path("clusters.parquet")).to_pylist()
    assert {key: cluster[key] for key in ("representative", "source", "size", "exact", "near")} == {
        "representative": "b1",
        "source": "books",
        "size": 3,
        "exact": 1,
        "near": 1,
    }
    assert [(member["id"], member["kind"]) for member in cluster["members"]] == [
        ("b0", "near"),
        ("w1", "exact"),
    ]
    statistics = artifact.statistics
    assert (
        statistics["eligible"],
        statistics["kept"],
        statistics["exact"],
        statistics["near"],
    ) == (5, 3, 1, 1)
    assert statistics["removal_rate"] == {"books": pytest.approx(1 / 3), "web": 0.5}
    assert statistics["cluster_sizes"] == [{"from": 2, "to": 3, "clusters": 1, "documents": 3}]
    assert statistics["gates_exceeded"] == []
    ledger = artifact.ledger
    assert ledger.documents("read") == 5 and ledger.documents("kept") == 3
    assert ledger.documents("dropped", "dedup.exact", "web") == 1
    assert ledger.documents("dropped", "dedup.near", "books") == 1
    rows = artifact.manifest.data["ledger"]["rows"]
    assert {(row["source"], row["language"]) for row in rows} == {
        ("books", "en"),
        ("books", "de"),
        ("web", "und"),
    }


def test_preference_decides_and_missing_values_come_last(tmp_path: Path) -> None:
    rows = {
        "web": [
            document("same text", id="nan") | {"perplexity": float("nan")},
            document("same  text!!!", id="null") | {"perplexity": None},
            document("Same text", id="high") | {"perplexity": 900.0},
            document("same text.", id="low") | {"perplexity": 5.0},
        ]
    }
    for prefer, winner in (
        (("-perplexity",), "low"),
        (("perplexity",), "high"),
        (("length",), "null"),
        ((), "high"),
    ):
        artifact, inputs = dedup(rows, tmp_path, prefer=prefer)
        assert {id for id, row in outcomes(artifact, inputs).items() if row["kind"] is None} == {
            winner
        }
    # nan and null weigh the same: the id decides between them
    only = {"web": rows["web"][:2]}
    artifact, inputs = dedup(only, tmp_path / "only", prefer=("-perplexity",))
    assert outcomes(artifact, inputs)["nan"]["kind"] is None


@pytest.mark.parametrize("seed", [1, 2])
def test_survivors_do_not_depend_on_order_or_sharding(tmp_path: Path, seed: int) -> None:
    rows = planted(seed)
    artifact, inputs = dedup(rows, tmp_path / "0")
    expected = outcomes(artifact, inputs)
    assert sum(row["kind"] == "near" for row in expected.values()) > 10
    assert sum(row["kind"] == "exact" for row in expected.values()) >= 3
    for number, part_rows in enumerate((7, 23), 1):
        rng = random.Random(number)
        shuffled = {
            source: rng.sample(listed, len(listed)) for source, listed in reversed(rows.items())
        }
        again, given = dedup(shuffled, tmp_path / str(number), part_rows=part_rows)
        assert outcomes(again, given) == expected
        assert data_digests(again)["clusters.parquet"] == data_digests(artifact)["clusters.parquet"]


def test_only_eligible_documents_take_part(tmp_path: Path) -> None:
    rows = planted(3)
    all_at_once, inputs = dedup(rows, tmp_path / "whole")
    gone = {id for id, row in outcomes(all_at_once, inputs).items() if row["kind"]}
    cut = {
        source: [row | {"reason": "x" if row["id"] in gone else None} for row in listed]
        for source, listed in rows.items()
    }
    again, given = dedup(cut, tmp_path / "again")
    assert all(row["kind"] is None for row in outcomes(again, given).values())
    assert again.statistics["eligible"] == all_at_once.statistics["kept"]


def test_gate_on_the_largest_cluster_shows_examples(tmp_path: Path) -> None:
    rows = {
        "web": [document("all the same text" + "." * number) for number in range(10)]
        + [document("apart")]
    }
    gates = Gates(largest_cluster=9, removal_rate=None)
    with pytest.raises(GateError) as stopped:
        dedup(rows, tmp_path, gates=gates)
    message = str(stopped.value)
    assert "stands for 10 documents, dedup.gates.largest_cluster is 9" in message
    assert "all the same text" in message and "dedup.accept: true" in message
    artifact, _ = dedup(rows, tmp_path, gates=gates, accept=True)
    assert artifact.statistics["gates_exceeded"] == [
        "one document stands for 10 documents, dedup.gates.largest_cluster is 9"
    ]
    assert (
        dedup(rows, tmp_path, gates=Gates(largest_cluster=10, removal_rate=None))[0].statistics[
            "gates_exceeded"
        ]
        == []
    )


def test_gates_show_texts_as_they_were_compared(tmp_path: Path) -> None:
    """After the edits of line_dedup, as the signatures stage read them."""
    rows = [
        document(
            f"the same line on every page\na text of its own{'!' * number}", id=f"{number:032x}"
        )
        for number in range(5)
    ]
    inputs = dedup_inputs({"web": rows}, tmp_path)
    (documents,) = inputs["documents"]
    lines = run_stage(
        LINE_DEDUP,
        LineDedupParameters(keep="none", normalise="none"),
        {"documents": documents},
        "web",
        tmp_path=tmp_path,
    )
    roles = {"documents": documents, "line_dedup": lines}
    inputs["signatures"] = run_stage(
        SIGNATURES, SignaturesParameters(), roles, "web", tmp_path=tmp_path
    )
    inputs["line_dedup"] = lines
    with pytest.raises(GateError, match=r"web 0{32} \(kept\): a text of its own\n") as stopped:
        run_stage(STAGE, DedupParameters(prefer=()), inputs, tmp_path=tmp_path)
    assert "every page" not in str(stopped.value)


def test_gate_on_the_removal_rate_names_the_source(tmp_path: Path) -> None:
    rows = {
        "books": [document(f"a text of its own {number}", "books") for number in range(4)],
        "web": [document(f"a text of its own {number}!", "web") for number in range(4)],
    }
    with pytest.raises(
        GateError, match=r"4 of 4 eligible documents of source 'books' would go \(100.0%\)"
    ):
        dedup(rows, tmp_path, prefer=("length",))
    artifact, _ = dedup(rows, tmp_path, gates=Gates(removal_rate=1.0))
    assert artifact.statistics["kept"] == 4


def test_signatures_with_other_parameters_are_an_error(tmp_path: Path) -> None:
    inputs = dedup_inputs(
        {"web": [document("text")]}, tmp_path, signatures=SignaturesParameters(bands=20)
    )
    with pytest.raises(StageError, match="bands = 20, but dedup needs 14"):
        run_stage(STAGE, DedupParameters(), inputs, tmp_path=tmp_path)
    artifact = run_stage(STAGE, DedupParameters(bands=20), inputs, tmp_path=tmp_path)
    assert artifact.statistics["kept"] == 1


def test_empty_sources(tmp_path: Path) -> None:
    artifact, inputs = dedup(
        {"none": [], "web": [document("x") | {"reason": "quality.c4"}]}, tmp_path
    )
    assert list(outcomes(artifact, inputs).values()) == [
        {"duplicate_of": None, "similarity": None, "kind": None}
    ]
    assert artifact.statistics["eligible"] == 0
    assert artifact.files() == [
        "clusters.parquet",
        "none/part-00000.parquet",
        "web/part-00000.parquet",
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"prefer": ["-loss"]},
            "'-loss' is not a column that dedup.prefer knows; it knows length, perplexity, "
            "language_score, failed",
        ),
        ({"prefer": ["length", "-length"]}, "'length' is named more than once"),
        ({"history": ["artifact:x/cut/web@latest"]}, "is not artifact:RECIPE/select/NAME@TAG"),
        ({"history": ["artifact:x/select/web"] * 2}, "named more than once"),
        ({"crawls": [["a", "b"], ["b"]]}, "sources named twice in dedup.crawls: b"),
        ({"memory": "1M"}, "greater than or equal to 10000000"),
        ({"gates": {"saturated_band": 1}}, "greater than or equal to 2"),
        ({"verify": 0}, "greater than 0"),
        ({"verify": 1.1}, "less than or equal to 1"),
        ({"gates": {"removal_rate": 2}}, "less than or equal to 1"),
    ],
)
def test_invalid_parameters_are_errors(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DedupParameters(**wrong)


@pytest.mark.real
@pytest.mark.parametrize("articles", [100, 1000])
def test_planted_pairs_of_real_articles_are_found(
    tmp_path: Path, real_data: Path, articles: int
) -> None:
    folder = real_data / "dedup" / "mccormick-minhash"
    rows = []
    for line in (folder / f"articles_{articles}.train").read_text(encoding="utf-8").splitlines():
        name, _, text = line.partition(" ")
        rows.append(document(text, "news", name))
    pairs = [
        set(line.split())
        for line in (folder / f"articles_{articles}.truth").read_text().splitlines()
    ]
    artifact, inputs = dedup({"news": rows}, tmp_path, part_rows=300, prefer=("length",))
    removed = {id: row for id, row in outcomes(artifact, inputs).items() if row["kind"]}
    removed_pairs = [{id, row["duplicate_of"]} for id, row in removed.items()]
    assert sorted(map(sorted, removed_pairs)) == sorted(map(sorted, pairs))


@pytest.mark.real
def test_licence_texts_with_small_differences(tmp_path: Path, real_data: Path) -> None:
    """A published fixture: two MIT licences are near duplicates, a third text is not."""
    folder = real_data / "dedup" / "cs336-a4-fixtures" / "documents_with_fuzzy_duplicates"
    rows = [
        document(path.read_text(encoding="utf-8"), "code", path.stem)
        for path in sorted(folder.glob("*.txt"))
    ]
    artifact, inputs = dedup({"code": rows}, tmp_path, prefer=("length",))
    fates = {id: row["duplicate_of"] for id, row in outcomes(artifact, inputs).items()}
    assert fates == {
        "pytorch_license": None,
        "rails_mit_license": "react_mit_license",
        "react_mit_license": None,
    }
