"""Which scores fell, beyond what: by paired differences, on the same items and documents."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.io.files import sha256_file
from infra.store import Artifact
from infra.store.backends import open_directory
from infra.store.manifest import Manifest
from tasks.benchmarks.samples import paired_ratio
from tasks.report.blocks import Text
from tasks.report.scorecard import scorecard
from tasks.scorecard.compare import quantile, share_below
from tasks.scorecard.scores import Change, changes, unmatched
from tasks.scorecard.stage import ScorecardParameters
from tests.tasks.report.sample_run import CARD


def evaluation(
    folder: Path,
    name: str,
    scores: Mapping[str, Any],
    answers: Mapping[str, Sequence[bool]],
    bits: Mapping[str, Sequence[float]] | None = None,
) -> Artifact:
    """An evaluation with these rows, answers by task, and bits of documents of 100 bytes."""
    samples = {
        f"{task}.jsonl": [
            {"id": str(n), "group": "", "correct": right, "correct_norm": right}
            for n, right in enumerate(given)
        ]
        for task, given in answers.items()
    }
    samples |= {
        f"{row.replace('/', '__')}.jsonl": [
            {"id": str(n), "bits": one, "bytes": 100} for n, one in enumerate(given)
        ]
        for row, given in (bits or {}).items()
    }
    home, outputs = folder / name, []
    for file, rows in samples.items():
        path = home / "a" / "data" / "samples" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        size, sha256 = path.stat().st_size, sha256_file(path)
        outputs.append({"path": f"samples/{file}", "bytes": size, "sha256": sha256})
    manifest = {"attempt": "a", "outputs": outputs, "statistics": {"scores": dict(scores)}}
    return Artifact("evaluation", name, "1", open_directory(str(home)), Manifest(manifest))


def compared(folder: Path, before: Sequence[bool], now: Sequence[bool], may_fall: Any) -> Change:
    """The change of a task's accuracy."""

    def made(name: str, right: Sequence[bool]) -> Artifact:
        accuracy = sum(right) / len(right)
        quiz = {"acc": accuracy, "acc_norm": accuracy, "n": len(right)}
        rows = {"quiz": quiz, "quiz/group": {"acc": 0.0, "n": 1}}
        return evaluation(folder, name, rows, {"quiz": right})

    parameters = ScorecardParameters(may_fall=may_fall)
    (change,) = changes(made("base", before), made("last", now), parameters)
    return change


def test_equal_items_tell_small_falls_apart_from_noise(tmp_path: Path) -> None:
    before = [n % 2 == 0 for n in range(200)]
    now = [right and n >= 20 for n, right in enumerate(before)]  # ten of them are lost
    change = compared(tmp_path, before, now, "3 errors")
    assert change.paired and change.difference == pytest.approx(-0.05) and change.n == "200"
    variance = (10 * 0.95**2 + 190 * 0.05**2) / 199
    assert change.error == pytest.approx(math.sqrt(variance / 200))
    assert change.refused  # 3.2 paired errors, and one of unpaired ones
    assert change.reason() == (
        "quiz (acc) fell by 0.0500 ± 0.0154, from 0.5000 to 0.4500; loop.may_fall allows 3 "
        "standard errors, 0.0463"
    )
    assert not compared(tmp_path, before, now, "4 errors").refused
    assert not compared(tmp_path, before, now, 0.05001).refused
    assert compared(tmp_path, before, now, 0.04999).refused
    assert not compared(tmp_path, before, now, {"quiz": None}).refused
    assert not compared(tmp_path, now, before, 0).refused  # it rose


def test_one_item_has_no_error_and_refuses_by_an_absolute_limit_only(tmp_path: Path) -> None:
    assert not compared(tmp_path, [True], [False], "3 errors").refused
    assert compared(tmp_path, [True], [False], 0.5).refused


def test_the_metric_that_a_benchmark_names_is_judged_alone(tmp_path: Path) -> None:
    about = {"shots": 0, "bos": True, "metric": "acc_norm", "suite": ""}
    rows = [
        {"quiz": {"acc": acc, "acc_norm": norm, "n": 4, "about": about}, "sums": sums}
        for acc, norm, sums in (
            (1.0, 0.5, {"exact_match": 0.5, "exact_match_last": 0.5, "exact_match_n": 4, "n": 4}),
            (0.0, 0.25, {"exact_match": 0.5, "exact_match_last": 0.0, "exact_match_n": 4, "n": 4}),
        )
    ]
    before, now = (evaluation(tmp_path, f"{n}", row, {}) for n, row in enumerate(rows))
    found = changes(before, now, ScorecardParameters())
    assert [(change.row, change.metric, change.difference) for change in found] == [
        ("quiz", "acc_norm", -0.25),
        ("sums", "exact_match", 0.0),
    ]


def test_scores_that_only_one_evaluation_has_are_told(tmp_path: Path) -> None:
    rows = [
        {
            "quiz": {"acc": 0.5, "n": 4},
            "quiz/group": {"acc": 0.5, "n": 2},
            "lost": {"acc": 0.5, "acc_norm": 0.5, "n": 4},
            "heldout/web": {"bits_per_byte": 1.0},
        },
        {
            "quiz": {"acc": 0.5, "n": 4},
            "new": {"acc": 0.5, "n": 4},
            "heldout/web": {"bits_per_byte": None, "reason": "no text"},
            "long-text/web": {"bits_per_byte": 1.0},
        },
    ]
    before, now = (evaluation(tmp_path, f"{n}", row, {}) for n, row in enumerate(rows))
    assert [change.row for change in changes(before, now, ScorecardParameters())] == ["quiz"]
    alone = unmatched(before, now)
    assert alone == {
        "promoted": ["lost (acc)", "heldout/web (bits_per_byte)"],
        "now": ["new (acc)"],
    }
    card = CARD | {"unmatched": alone}
    page = scorecard({"scorecard": card})
    assert page is not None
    told = [block.text for block in page.blocks if isinstance(block, Text)]
    assert (
        "Not compared, as only the promoted model has them: lost (acc), heldout/web "
        "(bits_per_byte)." in told
    )
    assert "Not compared, as only the last phase has them: new (acc)." in told


def test_bits_per_byte_fall_when_they_rise(tmp_path: Path) -> None:
    rows = [
        {"earlier/web": {"bits_per_byte": value}, "long-text/web": {"bits_per_byte": 9 * value}}
        for value in (1.0, 1.5)
    ]
    before = evaluation(tmp_path, "base", rows[0], {}, {"earlier/web": [90, 100, 110]})
    now = evaluation(tmp_path, "last", rows[1], {}, {"earlier/web": [140, 150, 160]})
    (change,) = changes(before, now, ScorecardParameters())
    assert (change.row, change.difference, change.error) == ("earlier/web", 0.5, 0.0)
    assert change.refused and "rose by 0.5000" in change.reason()
    (better,) = changes(now, before, ScorecardParameters())
    assert better.fall == 0 and not better.refused


def test_the_error_of_a_ratio_is_that_of_the_delta_method() -> None:
    before, now = [(10.0, 10), (30.0, 20)], [(12.0, 10), (33.0, 20)]
    change, error = paired_ratio(before, now) or (0.0, 0.0)
    assert change == pytest.approx(5 / 30)
    residuals = (2 - change * 10) ** 2 + (3 - change * 20) ** 2
    assert error == pytest.approx(math.sqrt(2 * residuals) / 30)
    assert paired_ratio(before, [(12.0, 10), (33.0, 21)]) is None  # another document


def test_shares_and_quantiles_of_histograms() -> None:
    bars = {"low": [1.0, 2.0, 4.0], "documents": [10, 20, 10]}
    assert share_below(bars, 2.0) == 0.25 and share_below(bars, 4.0) == 0.75
    assert share_below(bars, math.sqrt(8)) == pytest.approx(0.5)
    assert quantile(bars, 0.5) == pytest.approx(math.sqrt(8))
    assert quantile({"low": [], "documents": []}, 0.5) is None
