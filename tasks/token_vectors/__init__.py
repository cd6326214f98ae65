"""Token vectors: a base's input embeddings, weighted so that their sums tell documents apart."""
