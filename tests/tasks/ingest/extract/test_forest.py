"""Log-odds of the forest are those of walks from the roots, bit by bit."""

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.ingest.extract import content
from tasks.ingest.extract.features import FEATURES
from tasks.ingest.extract.forest import load, log_odds

TABLE = Path(content.__file__).with_name("forest.json")


@pytest.mark.parametrize("count", [1, 64, 150])
def test_no_walk_ends_elsewhere(count: int) -> None:
    table = json.loads(TABLE.read_text("utf-8"))
    forest = load(TABLE, FEATURES)
    rng = np.random.default_rng(count)
    rows = rng.normal(0, 3, (count, len(FEATURES))).astype(np.float32)
    node = rng.integers(0, len(forest.feature), (40, count))  # many values are at a threshold
    rows[np.arange(count), forest.feature[node]] = forest.threshold[node]

    walked = np.zeros(count, np.float32)
    for row in range(count):
        value = dict(zip(FEATURES, rows[row], strict=True))
        for root in table["roots"]:
            at = root
            while table["feature"][at] >= 0:
                name, limit = table["features"][table["feature"][at]], table["threshold"][at]
                at = at + 1 if value[name] <= np.float32(limit) else table["right"][at]
            walked[row] += np.float32(table["threshold"][at])
    odds = np.zeros(count, np.float32)
    log_odds(*forest, rows, odds)
    assert odds.tobytes() == walked.tobytes() and (count == 1 or len(set(odds.tolist())) > 1)


def test_a_tree_of_too_many_leaves_is_refused(tmp_path: Path) -> None:
    inner, leaf = [0, -1], [-1]
    table = {
        "features": ["a"],
        "roots": [0],
        "feature": inner * 32 + leaf,
        "threshold": [0.0] * 65,
        "right": [at + 2 if at % 2 == 0 else 0 for at in range(64)] + [0],
    }
    path = tmp_path / "forest.json"
    path.write_text(json.dumps(table))
    with pytest.raises(ValueError, match="tree 0 has 33 leaves, and 32 are the most"):
        load(path, ("a",))
