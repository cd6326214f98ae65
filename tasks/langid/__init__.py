"""Language identification with fastText: a label and a score beside every document."""
