"""Trains one language's SentencePiece and n-gram models, which the perplexity stage scores with."""
