"""Embeddings: a vector for every document, by which stages tell what is about the same."""
