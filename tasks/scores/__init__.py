"""Scores of documents by a quality classifier."""
