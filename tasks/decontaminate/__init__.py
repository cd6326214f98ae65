"""Decontamination: which documents contain questions of benchmarks, which ones, and where."""
