"""Boosted regression trees: log-odds from a committed table, in one compiled loop.

The table, `forest.json`, is written by `tests/benchmarks/fit_extraction.py`: the names of the
features, and for every node, tree after tree in preorder, the feature (-1: a leaf), the threshold
(at most goes left, which is the next node; at a leaf: its log-odds) and the place of the right
child.

No tree is walked, since where a walk turns is hard to predict (QuickScorer: Lucchese and others,
SIGIR 2015). Each tree has a word with a bit for each of its leaves, from left to right. A node
whose threshold is below the value clears the leaves on its left; when all such nodes have, the
lowest bit that is left is the leaf where a walk would have ended. Nodes are sorted by feature and
threshold, so that those that have nothing to clear are passed over together.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from tasks.text.compiled import compiled

MAX_LEAVES = 32
"""Of one tree: the bits of a word."""

_INTS = types.Array(types.int32, 1, "C", readonly=True)
_WORDS = types.Array(types.uint32, 1, "C", readonly=True)
_FLOATS = types.Array(types.float32, 1, "C", readonly=True)
_TABLE = types.Array(types.float32, 2, "C", readonly=True)
_ROWS = 64  # at once; fewer are not compiled to vector instructions
_ALL, _NONE, _ONE = np.uint32(0xFFFFFFFF), np.uint32(0), np.uint32(1)
_DE_BRUIJN, _SHIFT = np.uint32(0x077CB531), np.uint32(27)
"""The highest five bits of a power of two times this number tell it from the 31 others."""


class Forest(NamedTuple):
    """Nodes, ascending by feature and threshold: `feature`, `tree` int32, `threshold` float32,
    `kept` uint32 (nodes,), the leaves of the tree that a larger value leaves. `leaves` float32
    (trees, 32): log-odds of the lowest leaf, by its bit times the number of de Bruijn.
    """

    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float32]
    tree: npt.NDArray[np.int32]
    kept: npt.NDArray[np.uint32]
    leaves: npt.NDArray[np.float32]


def load(path: Path, names: tuple[str, ...]) -> Forest:
    """The forest of a table. `names`: the features in the order in which they are computed.

    Raises ValueError for a tree of more than MAX_LEAVES leaves.
    """
    table = json.loads(path.read_text("utf-8"))
    column = [names.index(name) for name in table["features"]]
    roots, thresholds, right = table["roots"], table["threshold"], table["right"]
    leaves = np.zeros((len(roots), MAX_LEAVES), np.float32)
    nodes: list[tuple[int, float, int, int]] = []
    for tree, (root, end) in enumerate(zip(roots, [*roots[1:], len(right)], strict=True)):
        number = np.cumsum(
            [table["feature"][at] < 0 for at in range(root, end)]
        )  # of leaves, to at
        if number[-1] > MAX_LEAVES:
            raise ValueError(
                f"{path}: tree {tree} has {number[-1]} leaves, and {MAX_LEAVES} are the most: fit "
                "it with fewer"
            )
        for at in range(root, end):
            if (feature := table["feature"][at]) < 0:
                bit = np.array(1 << int(number[at - root] - 1), np.uint32)
                leaves[tree, bit * _DE_BRUIJN >> _SHIFT] = thresholds[at]
            else:
                first, behind = int(number[at - root]), int(number[right[at] - root - 1])
                cleared = (1 << behind) - (1 << first)
                nodes.append((column[feature], thresholds[at], tree, int(_ALL) - cleared))
    feature, threshold, tree_, kept = zip(*sorted(nodes), strict=True)
    return Forest(
        np.array(feature, np.int32),
        np.array(threshold, np.float32),
        np.array(tree_, np.int32),
        np.array(kept, np.uint32),
        leaves,
    )


@compiled(
    types.void(
        _INTS,
        _FLOATS,
        _INTS,
        _WORDS,
        _TABLE,
        types.Array(types.float32, 2, "C"),
        types.float32[::1],
    )
)
def log_odds(
    feature: Any, threshold: Any, tree: Any, kept: Any, leaves: Any, rows: Any, out: Any
) -> None:
    """Add to `out`, float32 (B,), what every tree says of each of the `rows`, float32 (B, F), none
    of whose values is NaN.
    """
    nodes = feature.shape[0]
    column, above = np.empty(_ROWS, np.float32), np.empty(_ROWS, np.uint32)
    words = np.empty((leaves.shape[0], _ROWS), np.uint32)
    for start in range(0, rows.shape[0], _ROWS):
        size = min(_ROWS, rows.shape[0] - start)
        words[:] = _ALL
        at = 0
        while at < nodes:
            read = feature[at]
            highest = rows[start, read]
            column[:] = highest
            for row in range(1, size):
                column[row] = rows[start + row, read]
                highest = max(highest, column[row])
            while at < nodes and feature[at] == read and threshold[at] < highest:
                limit = threshold[at]
                for row in range(_ROWS):
                    above[row] = _NONE if column[row] > limit else _ALL
                while at < nodes and feature[at] == read and threshold[at] == limit:
                    word, left = words[tree[at]], kept[at]
                    for row in range(_ROWS):
                        word[row] &= above[row] | left
                    at += 1
            while at < nodes and feature[at] == read:
                at += 1
        column[:] = 0
        for number in range(leaves.shape[0]):
            word, values = words[number], leaves[number]
            for row in range(_ROWS):
                lowest = word[row] & (~word[row] + _ONE)
                column[row] += values[np.uint32(lowest * _DE_BRUIJN) >> _SHIFT]
        for row in range(size):
            out[start + row] += column[row]
