"""Benchmarks as published: what `decontaminate` searches for and `evaluation` scores."""
