"""Spherical k-means over a sample (Dhillon and Modha, 2001), and which clusters a vector is near.

Everything is a function of the sample and its order. Lloyd's rounds see the whole sample, as a
sample of 64 a cluster fits in memory; mini-batches would save nothing. Sums are in float64.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from infra.one_thread import one_thread

Matrix = npt.NDArray[np.float32]

ROUNDS = 8
SAMPLE_PER_CLUSTER = 64
EXHAUSTIVE = 2_048
"""Up to so many documents one cluster is best: all pairs are compared in a second."""

_BLOCK = 4_096


def count_for(documents: int, stated: int | None) -> int:
    """Number of clusters: as stated, else such that finding a vector's cluster and comparing it
    with those inside cost about the same.
    """
    if stated is not None:
        return max(1, min(stated, documents))
    return 1 if documents <= EXHAUSTIVE else int(np.ceil(documents**0.5))


def train(sample: Matrix, clusters: int) -> Matrix:
    """Centroids of unit length, shape (clusters or fewer, D), from (N, D) in a random order.

    The first vectors of the sample are the first centroids; a cluster that becomes empty keeps its
    centroid.
    """
    centroids = sample[:clusters].copy()
    for _ in range(ROUNDS if len(centroids) > 1 else 0):
        labels = nearest(sample, centroids, 1)[:, 0]
        order = np.argsort(labels, kind="stable")
        found, starts = np.unique(labels[order], return_index=True)
        sums = np.add.reduceat(sample[order].astype(np.float64), starts, axis=0)
        lengths = np.sqrt((sums**2).sum(axis=1))
        moved = lengths > 0
        centroids[found[moved]] = (sums[moved] / lengths[moved, None]).astype(np.float32)
    return centroids


def nearest(vectors: Matrix, centroids: Matrix, probes: int) -> npt.NDArray[np.uint32]:
    """The `probes` nearest centroids of every vector, the nearest first: shape (N, probes).

    Of equally near ones the lower number comes first. Fewer where there are fewer centroids.
    """
    probes = min(probes, len(centroids))
    found = np.empty((len(vectors), probes), np.uint32)
    with one_thread():
        for first in range(0, len(vectors), _BLOCK):
            cosines = vectors[first : first + _BLOCK] @ centroids.T
            for probe in range(probes):
                best = cosines.argmax(axis=1)
                found[first : first + len(best), probe] = best
                cosines[np.arange(len(best)), best] = -np.inf
    return found
