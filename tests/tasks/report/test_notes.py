"""Notes at the end of a run on what was learned: classifiers, scores, searches for a mixture."""

from __future__ import annotations

from pathlib import Path

from tasks.report.notes import notes_of
from tests.tables import artifact


def test_doubtful_classifiers_and_proxies_left_out_are_told(tmp_path: Path) -> None:
    inputs = {
        "classifier": [artifact(tmp_path, "classifier", "edu", {}, {"notes": ["AUC is 0.5"]})],
        "scores": [artifact(tmp_path, "scores", "web~edu", {}, {"notes": ["3 have no score"]})],
        "mixture": [
            artifact(
                tmp_path,
                "mixture",
                "main",
                {},
                {"notes": ["proxy~main~0-01 is left out of the fit: it diverged", "web is at 0.3"]},
            )
        ],
    }
    assert notes_of(inputs) == [
        "classifier/edu: AUC is 0.5",
        "scores/web~edu: 3 have no score",
        "warning: mixture/main: proxy~main~0-01 is left out of the fit: it diverged",
    ]
