"""Benchmarks as their publishers give them: what `decontaminate` looks for and `evaluation`
scores.
"""
