"""Ingest: WARC, WET, JSONL and text files to documents; damage costs a record, never a file."""
