"""Ingest: WARC, WET, JSONL and text files to documents; a bad byte costs a record, never a file."""
