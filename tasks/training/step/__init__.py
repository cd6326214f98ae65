"""One optimizer step: rows, gradients, AdamW, and the guard that watches its loss."""
