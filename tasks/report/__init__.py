"""One self-contained HTML page for a run: funnel, languages, perplexity, duplicates, compression,
loss, benchmarks.
"""
