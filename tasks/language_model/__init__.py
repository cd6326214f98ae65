"""Trains the SentencePiece and n-gram model of one language, by which perplexity scores
documents.
"""
