"""Semantic deduplication: of documents that say the same, by their vectors, the best one stays."""
