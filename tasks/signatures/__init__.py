"""Signatures: what deduplication compares documents by, computed once per source."""
