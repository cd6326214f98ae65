"""Bands and rows of a locality-sensitive hash: what they find, and which fit a threshold.

1. A MinHash signature has bands * rows values; two signatures agree in each of them with the
   probability s, the Jaccard similarity of the documents' shingle sets (Broder, 1997).
2. It is split into `bands` bands of `rows` values. Two documents are candidates where all values of
   at least one band agree.
3. One band agrees with probability s**rows, so at least one does with 1 - (1 - s**rows)**bands: a
   steep S-shaped curve in s, which `bands_for` places at a threshold (Leskovec, Rajaraman, Ullman,
   "Mining of Massive Datasets", 3.4).

Example, 14 bands of 8 rows: candidates are 5 % of the pairs at s = 0.5, 56 % at 0.7, 92 % at 0.8
and 99.96 % at 0.9.
"""

from __future__ import annotations

_STEPS = 500
"""Slices over which each area is summed; ten times as many change no choice up to 256 hashes."""


def probability(similarity: float, bands: int, rows: int) -> float:
    """Probability that two documents of this Jaccard similarity become candidates."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def bands_for(threshold: float, hashes: int, *, miss_weight: float = 0.95) -> tuple[int, int]:
    """(bands, rows) with bands * rows <= `hashes` that fit a threshold best.

    They minimise the weighted sum of two areas under the curve: false candidates below the
    threshold, each of which costs a comparison, and missed pairs above it. `miss_weight`, between 0
    and 1, is the weight of the second; it is high by default, since verification rejects a false
    candidate while a missed pair is lost. (0.8 and 112 hashes give 14 bands of 8 rows.)
    datasketch's `MinHashLSH(threshold, weights=(1 - miss_weight, miss_weight))` chooses the same.
    Raises ValueError for a threshold, weight or number of hashes out of range.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold {threshold} is not between 0 and 1; a usual one is 0.8")
    if not 0 <= miss_weight <= 1:
        raise ValueError(
            f"miss_weight {miss_weight} is not between 0 and 1; 0.5 weighs both errors equally"
        )
    if hashes < 1:
        raise ValueError(f"{hashes} hashes are too few for a band; use at least 1")
    below = [(step + 0.5) * threshold / _STEPS for step in range(_STEPS)]
    above = [threshold + (step + 0.5) * (1 - threshold) / _STEPS for step in range(_STEPS)]
    best = (float("inf"), 1, 1)
    for rows in range(1, hashes + 1):
        missed_below = [1.0 - similarity**rows for similarity in below]
        missed_above = [1.0 - similarity**rows for similarity in above]
        for bands in range(1, hashes // rows + 1):
            false = 1.0 - sum(share**bands for share in missed_below) / _STEPS
            missed = sum(share**bands for share in missed_above) / _STEPS
            error = (1 - miss_weight) * threshold * false + miss_weight * (1 - threshold) * missed
            best = min(best, (error, bands, rows))
    return best[1], best[2]
