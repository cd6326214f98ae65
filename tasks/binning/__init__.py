"""Stage binning: tokenize a category's documents, deal them into bins, pack rows; nothing lost."""
