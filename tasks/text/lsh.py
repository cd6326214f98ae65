"""Bands and rows of a locality-sensitive hash: what they find, and which fit a threshold.

Documents whose signatures agree in all `rows` values of at least one of `bands` are candidates. At
Jaccard similarity s that happens with probability 1 - (1 - s**rows)**bands (Leskovec, Rajaraman,
Ullman: Mining of Massive Datasets, 3.4).
"""

from __future__ import annotations

_STEPS = 500
"""Slices that each area is summed over; with ten times as many, no choice up to 256 hashes changes.
"""


def probability(similarity: float, bands: int, rows: int) -> float:
    """Probability that two documents of this Jaccard similarity become candidates."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def bands_for(threshold: float, hashes: int, *, miss_weight: float = 0.95) -> tuple[int, int]:
    """(bands, rows) of at most `hashes` values that fit a threshold best.

    Best is the least weighted sum of two areas: candidates below the threshold, which cost a
    comparison each, and pairs above it that are missed; `miss_weight`, between 0 and 1, is the
    weight of the second. It is high by default: a candidate too many is found out by verification,
    a missed pair is never seen again. (0.8 and 112 hashes give 14 bands of 8 rows.) datasketch's
    `MinHashLSH(threshold, weights=(1 - miss_weight, miss_weight))` chooses the same. Raises
    ValueError for a threshold, weight or number of hashes out of range.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold {threshold} is not between 0 and 1; a usual one is 0.8")
    if not 0 <= miss_weight <= 1:
        raise ValueError(
            f"miss_weight {miss_weight} is not within 0 and 1; 0.5 weighs both errors alike"
        )
    if hashes < 1:
        raise ValueError(f"{hashes} hashes make no band; use at least 1")
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
