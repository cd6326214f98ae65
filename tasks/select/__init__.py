"""Writes the documents that every cut and deduplication left, as JSONL by category, some of them
held out.
"""
