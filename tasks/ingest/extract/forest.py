"""Boosted regression trees: log-odds from a committed table, in one compiled loop.

The table, `forest.json`, is written by `tests/benchmarks/fit_extraction.py`: the names of the
features, and for every node, tree after tree in preorder, the feature (-1: a leaf), the threshold
(at most goes left, which is the next node; at a leaf: its log-odds) and the place of the right
child.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from tasks.text.compiled import compiled

_INTS = types.Array(types.int32, 1, "C", readonly=True)
_FLOATS = types.Array(types.float32, 1, "C", readonly=True)


class Forest(NamedTuple):
    """`roots` int32 (trees,); `feature`, `right` int32 and `threshold` float32 (nodes,)."""

    roots: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float32]
    right: npt.NDArray[np.int32]


def load(path: Path, names: tuple[str, ...]) -> Forest:
    """The forest of a table. `names`: the features in the order in which they are computed."""
    table = json.loads(path.read_text("utf-8"))
    column = [names.index(name) for name in table["features"]]
    return Forest(
        np.array(table["roots"], np.int32),
        np.array([column[at] if at >= 0 else -1 for at in table["feature"]], np.int32),
        np.array(table["threshold"], np.float32),
        np.array(table["right"], np.int32),
    )


@compiled(types.void(_INTS, _INTS, _FLOATS, _INTS, types.float32[:, ::1], types.float32[::1]))
def log_odds(roots: Any, feature: Any, threshold: Any, right: Any, rows: Any, out: Any) -> None:
    """Add to `out`, float32 (B,), what every tree says of each of the `rows`, float32 (B, F)."""
    for row in range(rows.shape[0]):
        total = np.float32(0)
        for tree in range(roots.shape[0]):
            node = roots[tree]
            while feature[node] >= 0:
                node = node + 1 if rows[row, feature[node]] <= threshold[node] else right[node]
            total += threshold[node]
        out[row] += total
