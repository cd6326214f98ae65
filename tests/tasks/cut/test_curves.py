"""Sampling curves in cut: exact shares whatever the scores, per language, copies as stated."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.engine import EngineConfig, start
from infra.stage import StageError
from infra.store import Artifact
from tasks.cut import scored
from tasks.cut.stage import STAGE, CutParameters, SourceCut
from tests.stage_harness import data_digests, run_stage
from tests.tables import artifact, column, documents

Scores = st.lists(
    st.floats(-8, 8, width=32) | st.sampled_from([0.0, -0.0, 1.0]), min_size=1, max_size=60
)


@settings(max_examples=200, deadline=None)
@given(Scores, st.lists(st.sampled_from([1.0, 10, 33.3, 50, 80, 99]), min_size=1, unique=True))
def test_cutoffs_divide_any_scores_into_the_stated_shares(
    scores: list[float], percents: list[float]
) -> None:
    percents = sorted(percents)
    values = np.array(scores, np.float64)
    half = len(values) // 2
    bins: Counter[int] = Counter()
    for part in (values[:half], values[half:]):
        bins.update(scored.count_bins(part))
    near = scored.values_in_bins(values, scored.wanted_bins(bins, percents))
    ties = (np.arange(len(values)) + 0.5) / len(values)
    limits = scored.cutoffs(bins, near, percents)
    for percent, limit in zip(percents, limits, strict=True):
        below = limit.below(values, ties)
        assert values[below].max(initial=-np.inf) <= values[~below].min(initial=np.inf)
        equal = np.count_nonzero(values == limit.value)
        lower = np.count_nonzero(values < limit.value)
        assert lower + equal * limit.share == pytest.approx(len(values) * percent / 100)
    assert (np.diff([0, *scored.steps_of(values, ties, limits)[np.argsort(values)]]) >= 0).any()


def made(folder: Path, scores: list[list[float | None]], languages: Any = None) -> dict[str, Any]:
    """Inputs of cut: a source `web` with a classifier `edu`."""
    given: dict[str, Any] = {
        "documents": [documents(folder, "web", [["text"] * len(part) for part in scores])],
        "scores": [
            artifact(
                folder,
                "scores",
                "web~edu",
                {
                    f"part-{n:05d}.parquet": pa.table({"score": pa.array(part, pa.float32())})
                    for n, part in enumerate(scores)
                },
                {"classifier": "edu@1"},
            )
        ],
    }
    if languages:
        tables = {
            f"part-{n:05d}.parquet": pa.table(
                {
                    "language": pa.array(part),
                    "language_score": pa.array([1.0] * len(part), pa.float32()),
                }
            )
            for n, part in enumerate(languages)
        }
        given["langid"] = [artifact(folder, "langid", "web", tables)]
    return given


def parameters(keep: Any, **more: Any) -> CutParameters:
    section = {"keep": keep, **more}
    source = SourceCut.model_validate({"category": "web", "classifiers": {"edu": section}})
    return CutParameters(sources={"web": source})


def counted(cut: Artifact) -> Counter[tuple[str | None, int]]:
    return Counter(zip(column(cut, "reason"), column(cut, "repeats"), strict=True))


CURVE = {"curve": {0: "drop", 40: 1, 80: 2, 95: 4}}


def test_a_curve_repeats_the_stated_shares(tmp_path: Path) -> None:
    scores = [[float(n) for n in range(60)], [float(n) for n in range(60, 100)]]
    cut = run_stage(STAGE, parameters(CURVE), made(tmp_path, scores), tmp_path=tmp_path)
    assert counted(cut) == {
        ("classifier.edu", 0): 40,
        (None, 1): 40,
        (None, 2): 15,
        (None, 4): 5,
    }
    assert column(cut, "repeats") == [0] * 40 + [1] * 40 + [2] * 15 + [4] * 5
    (told,) = cut.statistics["curves"]
    assert told["documents"] == [40, 40, 15, 5]
    assert told["copies"] == [0, 40, 30, 20]
    assert [value for value, _ in told["limits"]] == [40, 80, 95]
    assert cut.ledger.documents("dropped", "classifier.edu") == 40


def test_equal_scores_are_divided_by_a_hash(tmp_path: Path) -> None:
    """As isotonic scores and empty documents have them: a cut-off there would keep all or none."""
    cut = run_stage(
        STAGE, parameters({"top": 0.25}), made(tmp_path, [[0.5] * 1_000]), tmp_path=tmp_path
    )
    assert abs(counted(cut)[(None, 1)] - 250) < 50


def test_percentiles_are_by_language_and_of_documents_that_pass_the_other_checks(
    tmp_path: Path,
) -> None:
    scores: list[list[float | None]] = [[*range(10), *range(100, 110), *range(50)]]
    languages = [["en"] * 10 + ["zh"] * 10 + ["fr"] * 50]
    source = SourceCut.model_validate(
        {
            "langid": {"languages": ["en", "zh"]},
            "category": "web",
            "classifiers": {"edu": {"keep": {"top": 0.5}}},
        }
    )
    cut = run_stage(
        STAGE,
        CutParameters(sources={"web": source}),
        made(tmp_path, scores, languages),
        tmp_path=tmp_path,
    )
    kept = [row for row, reason in enumerate(column(cut, "reason")) if reason is None]
    assert kept == [*range(5, 10), *range(15, 20)]


@pytest.mark.parametrize(
    ("unscored", "reason"), [("drop", "classifier.edu.unscored"), ("keep", None)]
)
@pytest.mark.parametrize("keep", [">=0.5", {"top": 0.5}])
def test_documents_without_a_score(tmp_path: Path, unscored: str, reason: Any, keep: Any) -> None:
    cut = run_stage(
        STAGE,
        parameters(keep, unscored=unscored),
        made(tmp_path, [[None, 0.2, 0.8]]),
        tmp_path=tmp_path,
    )
    assert column(cut, "reason") == [reason, "classifier.edu", None]
    assert column(cut, "repeats") == [0 if reason else 1, 0, 1]


def test_a_later_crawl_keeps_the_cutoffs_of_the_same_classifier_and_curve(tmp_path: Path) -> None:
    first = run_stage(
        STAGE, parameters({"top": 0.5}), made(tmp_path / "1", [[*range(10)]]), tmp_path=tmp_path
    )
    later = made(tmp_path / "2", [[*range(5, 15)]])
    again = run_stage(
        STAGE, parameters({"top": 0.5}), {**later, "calibration": [first]}, tmp_path=tmp_path
    )
    assert column(again, "repeats") == [1] * 10
    other = run_stage(
        STAGE, parameters({"top": 0.2}), {**later, "calibration": [first]}, tmp_path=tmp_path
    )
    assert column(other, "repeats") == [0] * 8 + [1] * 2


def test_workers_do_not_change_the_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = made(tmp_path, [rng.random(50).round(1).tolist() for _ in range(4)])
    alone = run_stage(STAGE, parameters(CURVE), given, tmp_path=tmp_path / "a")
    with start(EngineConfig(kind="processes", workers=2)) as engine:
        together = run_stage(
            STAGE, parameters(CURVE), given, tmp_path=tmp_path / "b", engine=engine
        )
    assert data_digests(alone) == data_digests(together)


def test_a_keep_without_scores_and_scores_of_other_documents_are_refused(tmp_path: Path) -> None:
    given = made(tmp_path, [[0.1, 0.2]])
    with pytest.raises(StageError, match="keep for classifier 'edu' but no scores"):
        run_stage(STAGE, parameters(">=0"), {**given, "scores": []}, tmp_path=tmp_path)
    other = made(tmp_path / "other", [[0.1, 0.2, 0.3]])
    with pytest.raises(StageError, match="3 scores in row group 0, but 2 documents"):
        run_stage(STAGE, parameters(">=0"), {**given, "scores": other["scores"]}, tmp_path=tmp_path)
