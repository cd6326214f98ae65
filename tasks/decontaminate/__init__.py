"""Decontaminate: which documents contain a benchmark's questions, which question and where."""
