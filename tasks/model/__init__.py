"""Stage model: the base with embeddings grown to the tokenizer, or a new Llama."""
