"""Classifiers: they separate held-out documents, are calibrated, hold near copies out together,
and refuse what they cannot learn from.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest

from infra.engine import EngineConfig, start
from infra.stage import StageError
from infra.store import Artifact
from tasks.classifier.stage import STAGE, ClassifierParameters
from tasks.scorers.meta import ScorerMeta
from tasks.scores.stage import STAGE as SCORES
from tasks.scores.stage import ScoresParameters
from tests.stage_harness import data_digests, run_stage
from tests.tables import column, documents
from tests.tasks.classifier.corpora import corpora, labelled, languages, text, vectors

FAST = {"dim": 8, "epochs": 20, "buckets": 2_000, "min_count": 1}
SOURCES = {"good": ("wiki",), "bad": ("web",), "fasttext": FAST, "minimum": 20}


def train(folder: Path, inputs: dict[str, Any], **parameters: Any) -> Artifact:
    given = ClassifierParameters.model_validate({**SOURCES, **parameters})
    return run_stage(STAGE, given, inputs, name="edu", tmp_path=folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("classifier")
    sources = corpora(folder / "in")
    return {"folder": folder, "sources": sources, "edu": train(folder, {"documents": sources})}


def test_it_separates_held_out_documents_and_says_how_well(made: dict[str, Any]) -> None:
    statistics = made["edu"].statistics
    low, high = statistics["auc_interval"]
    assert 0.95 < low <= statistics["auc"] <= high <= 1
    assert 0.5 <= statistics["auc_of_length"] < statistics["auc"]
    documents_ = statistics["documents"]
    held = sum(documents_["held_out"].values())
    assert 30 < held < 110 and held == len(column(made["edu"], "id", "heldout"))
    assert held == sum(row["documents"] for row in statistics["reliability"])
    assert statistics["calibration_error"] < 0.15
    assert statistics["languages"] is None
    scores = np.array(column(made["edu"], "score", "heldout"))
    assert ((scores > 0) & (scores < 1)).all()


def test_a_classifier_that_cannot_tell_is_said_to(made: dict[str, Any], tmp_path: Path) -> None:
    assert "notes" not in made["edu"].statistics
    rng = random.Random(3)
    alike = [
        documents(tmp_path, name, [[text(rng, good=True) for _ in range(80)]])
        for name in ("wiki", "web")
    ]
    (note,) = train(tmp_path, {"documents": alike}).statistics["notes"]
    assert "does not differ from chance, 0.5" in note and "label more documents" in note


def test_near_copies_are_on_one_side(made: dict[str, Any]) -> None:
    edu = made["edu"]
    held = set(column(edu, "id", "heldout"))
    sampled = dict(zip(column(edu, "id", "sample/"), column(edu, "text", "sample/"), strict=True))
    copies = 0
    for id_, found in sampled.items():
        if found.endswith(" and more."):
            original = next(i for i, t in sampled.items() if t == found.removesuffix(" and more."))
            assert (id_ in held) == (original in held)
            copies += 1
    assert copies == 30
    assert edu.statistics["groups"] == len(sampled) - copies


def test_disagreements_are_shown_with_their_text(made: dict[str, Any]) -> None:
    shown = made["edu"].statistics["disagreements"]
    missed = [row["score"] for row in shown["missed"]]
    mistaken = [row["score"] for row in shown["mistaken"]]
    assert missed == sorted(missed) and mistaken == sorted(mistaken, reverse=True)
    assert all(row["source"] == "wiki" and row["text"] for row in shown["missed"])


def test_it_is_trained_to_the_same_bytes_by_any_engine(
    made: dict[str, Any], tmp_path: Path
) -> None:
    given = ClassifierParameters.model_validate(SOURCES)
    with start(EngineConfig(kind="processes", workers=2)) as engine:
        again = run_stage(
            STAGE,
            given,
            {"documents": made["sources"]},
            name="edu",
            tmp_path=tmp_path,
            engine=engine,
        )
    assert data_digests(again) == data_digests(made["edu"])


def score(made: dict[str, Any], folder: Path, source: Artifact, **more: Any) -> Artifact:
    return run_stage(
        SCORES,
        ScoresParameters(),
        {"documents": source, "classifier": more.pop("classifier", made["edu"]), **more},
        name=f"{source.name}~edu",
        tmp_path=folder,
    )


def test_scores_are_row_aligned_and_empty_documents_have_none(
    made: dict[str, Any], tmp_path: Path
) -> None:
    rng = random.Random(9)
    source = documents(
        tmp_path,
        "new",
        [[text(rng, True), " ", text(rng, False)], [text(rng, True)], []],
    )
    scored = score(made, tmp_path, source)
    found = column(scored, "score")
    assert found[1] is None and found[0] > 0.5 > found[2] and found[3] > 0.5
    assert scored.files() == source.files()
    assert scored.statistics["scored"] == 3 and scored.statistics["unscored"] == {"und": 1}
    assert scored.ledger.documents("kept") == 4
    with start(EngineConfig(kind="processes", workers=2)) as engine:
        again = run_stage(
            SCORES,
            ScoresParameters(),
            {"documents": source, "classifier": made["edu"]},
            name="new~edu",
            tmp_path=tmp_path / "again",
            engine=engine,
        )
    assert data_digests(again) == data_digests(scored)


def test_languages_that_it_has_not_seen_have_no_score(tmp_path: Path) -> None:
    sources = corpora(tmp_path / "in")
    langid = [languages(tmp_path / "in", one, "en") for one in sources]
    edu = train(tmp_path, {"documents": sources, "langid": langid})
    assert edu.statistics["languages"] == ["en"]
    foreign = languages(tmp_path / "zh", sources[1], "zh")
    scored = score({"edu": edu}, tmp_path, sources[1], langid=foreign)
    assert set(column(scored, "score")) == {None}
    (note,) = scored.statistics["notes"]
    assert (
        "165 of 165 documents are in languages that classifier edu has not learned (zh 165" in note
    )


def test_labels_with_a_threshold(tmp_path: Path) -> None:
    sources = corpora(tmp_path / "in")
    labels = labelled(tmp_path / "in", sources, 4.0, 1.0)
    edu = train(tmp_path, {"documents": sources, "labels": labels}, good=(), bad=())
    assert edu.statistics["auc"] > 0.95
    counted = edu.statistics["documents"]
    assert sum(counted[s][k] for s in counted for k in counted[s]) == 298
    assert edu.statistics["disagreements"]["missed"][0]["label"] == 4.0


@pytest.mark.parametrize(
    ("good", "bad", "changes", "why"),
    [
        (1.0, 1.0, {}, r"0 good documents to train on and 0 to measure on.*the scores are 1: 298"),
        (4.0, 4.0, {}, r"0 other documents.*documents from 3 on are good; set another threshold"),
        (4.0, 1.0, {"minimum": 500}, r"needs at least 500"),
    ],
)
def test_labels_of_one_class_and_too_few_are_refused(
    tmp_path: Path, good: float, bad: float, changes: Any, why: str
) -> None:
    sources = corpora(tmp_path / "in")
    labels = labelled(tmp_path / "in", sources, good, bad)
    with pytest.raises(StageError, match=why):
        train(tmp_path, {"documents": sources, "labels": labels}, good=(), bad=(), **changes)
    assert not list((tmp_path / "store").glob("classifier/*/*/manifest.json"))


@pytest.mark.parametrize("target", ["probability", "score"])
def test_a_linear_probe_on_vectors(tmp_path: Path, target: str) -> None:
    sources = corpora(tmp_path / "in")
    embeddings = [vectors(tmp_path / "in", one) for one in sources]
    labels = labelled(tmp_path / "in", sources, 4.0, 1.0)
    inputs = {"documents": sources, "labels": labels, "embeddings": embeddings}
    edu = train(tmp_path, inputs, good=(), bad=(), kind="linear", target=target)
    assert edu.statistics["auc"] > 0.9
    if target == "score":
        assert edu.statistics["correlation"] > 0.7 and edu.statistics["error"] < 1.2
    scored = score({"edu": edu}, tmp_path, sources[0], embeddings=embeddings[0])
    low, high = (0, 1) if target == "probability" else (0, 5)
    assert low < np.median(column(scored, "score")) < high
    assert np.median(column(scored, "score")) > (0.5 if target == "probability" else 2.5)
    other = vectors(tmp_path / "other", sources[0], fingerprint="b")
    with pytest.raises(StageError, match="vectors of different models cannot be compared"):
        score({"edu": edu}, tmp_path / "o", sources[0], embeddings=other)
    with pytest.raises(StageError, match="reads vectors, and the source has none"):
        score({"edu": edu}, tmp_path / "n", sources[0])
    with pytest.raises(StageError, match="its sources have none"):
        train(tmp_path / "x", {**inputs, "embeddings": []}, good=(), bad=(), kind="linear")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"good": ("a",), "bad": ("a",)}, "a is in `good` and in `bad`"),
        ({"target": "score"}, "target: score needs kind: linear"),
        ({"heldout": 0}, "greater than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: Any, why: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=why):
        ClassifierParameters.model_validate({**SOURCES, **changes})


def test_a_learning_rate_that_diverges_is_a_sentence(tmp_path: Path) -> None:
    sources = corpora(tmp_path / "in")
    try:
        made = train(tmp_path, {"documents": sources}, fasttext={**FAST, "lr": 10, "epochs": 60})
    except StageError as error:
        assert "lower fasttext.lr" in str(error)
    else:  # fastText survives it on this machine
        assert ScorerMeta.read(made).kind == "fasttext"
