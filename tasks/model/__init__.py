"""Makes a model for the tokenizer: a base with grown embeddings, or a new Llama."""
