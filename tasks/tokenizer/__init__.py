"""Stage tokenizer: the base's tokenizer, as it is, grown by further merges, or trained from bytes."""
