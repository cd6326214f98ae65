"""Training: multi-phase continued pretraining of a Llama, one node per phase (design part 6)."""
