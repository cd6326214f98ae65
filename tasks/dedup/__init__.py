"""Deduplication: which eligible documents go because a better copy of them stays."""
