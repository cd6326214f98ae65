"""Scores documents with the language model of their language, as cc_net does."""
