"""Signatures: the hashes by which deduplication compares documents, computed once per source."""
