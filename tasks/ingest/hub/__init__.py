"""Data sets of the Hugging Face hub: which files a configuration's split is, and reading them."""
