"""Language identification with fastText: a label and a score for every document."""
