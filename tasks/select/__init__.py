"""Selection: documents that passed every cut and deduplication, as JSONL by category."""
