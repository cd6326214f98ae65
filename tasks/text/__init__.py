"""Text processing shared by several stages: normalisers, scripts, shingles, n-grams."""
