"""What several stages know of text: normalisers, scripts, shingles."""
