"""Ingest: WARC, WET, JSONL and plain text files to documents; one bad byte costs a record, never a
file.
"""
