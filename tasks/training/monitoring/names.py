"""Names of the files that a phase writes for those who watch it, and a time in words. Light."""

from __future__ import annotations

METRICS = "metrics.jsonl"
EVALUATIONS = "evaluations.jsonl"
SAMPLES = "samples.jsonl"
TENSORBOARD = "tensorboard"
"""Folder of event files."""


def in_words(seconds: float) -> str:
    """A time left, coarsely: `40 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"
