"""One self-contained HTML page per run, from the documents read to the benchmark scores."""
