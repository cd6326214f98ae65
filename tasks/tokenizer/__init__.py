"""Stage tokenizer: the base's tokenizer unchanged, extended, or one trained from bytes."""
