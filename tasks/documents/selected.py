"""Folders of a select artifact: one for each category, and two of its own. Light: parameters check names by them."""

HELD_OUT_FOLDER = "heldout"
"""Text by category that no tokenizer, language model or bin reads."""

INDEX_FOLDER = "index"
"""What deduplication of later crawls reads."""

RESERVED_FOLDERS = (HELD_OUT_FOLDER, INDEX_FOLDER)
"""No category may be called so."""
